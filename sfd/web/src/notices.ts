// What is said when something is missing or wrong, and what to do about it.

import { append, button, byId, h, replace } from "./dom";
import { clock } from "./format";
import { shown } from "./paths";
import type { StreamState } from "./stream";
import type { Brick, Bricks, PathRef } from "./types";

/** When there is nothing to draw, says why, and what to do; takes it away when there is. */
export function coverEmpty({ bricks }: Bricks, empty: boolean): void {
  const cover = byId("cover");
  cover.hidden = !empty;
  if (!empty) return;
  if (bricks.length === 0) {
    replace(
      cover,
      h("p", {}, "Nothing is watched yet."),
      h("p", { class: "quiet" }, "Start the daemon with what you want to see:"),
      h("code", {}, "sudo sfd run --watch /etc,/proc"),
    );
    return;
  }
  replace(
    cover,
    h("p", {}, "No picture is open at the moment."),
    h("ul", {}, ...bricks.map((b) => h("li", {}, h("bdi", {}, shown(b.root)), `: ${shown(b.closed ?? "it is being opened")}`))),
    h("p", { class: "quiet" }, "It appears here when it is open; sfd status tells more."),
  );
}

/** An address that leads nowhere: what there is instead. */
export function notWatched(ref: PathRef, bricks: readonly Brick[], close: () => void, open: (root: string) => void): void {
  const panel = byId("panel");
  panel.hidden = false;
  replace(
    panel,
    h(
      "div",
      { class: "panel-top" },
      h("h2", {}, h("bdi", {}, shown(ref.path))),
      button({ class: "icon", "aria-label": "Close" }, close, "×"),
    ),
    h("p", { class: "note" }, "It is not under a watched directory. Watched are:"),
    h("ul", {}, ...bricks.map((b) => h("li", {}, button({}, () => open(b.root), shown(b.root))))),
  );
}

export interface Trouble {
  stream: StreamState;
  /** The daemon answers, but no longer to this page. */
  keyIsGone: boolean;
  /** What is watched but not up to date, and why. */
  closed: readonly string[];
  /** Why tiles do not come. */
  tiles: string | null;
  retry: () => void;
}

/** The line below the bar: the worst of what is wrong, or nothing. Called every second, for its count-down. */
export function showBanner({ stream, keyIsGone, closed, tiles, retry }: Trouble): void {
  const banner = byId("banner");
  const { live, heard_ms, retry_ms, why } = stream;
  const now = Date.now();
  let text = "";
  if (keyIsGone) {
    text = "sfd was started anew, and this page's key is no longer good. Run `sfd map` and open the address that it prints.";
  } else if (!live && why !== null) {
    const since = heard_ms === null ? "Not live" : `Not live since ${clock(heard_ms, now)}`;
    const next = retry_ms === null ? "" : ` Trying again in ${Math.max(0, Math.ceil((retry_ms - now) / 1000))} s.`;
    text = `${since}: ${why}.${next}`;
  } else if (closed.length > 0) {
    text = shown(closed.join("; "));
  } else if (tiles !== null) {
    text = `A part of the picture could not be loaded: ${tiles}. Trying again.`;
  }
  banner.hidden = text === "";
  if (banner.dataset["text"] === text) return;
  banner.dataset["text"] = text;
  // The button stays the same one while the count goes down: it may have the focus.
  const span = banner.querySelector("span");
  const wantsButton = text !== "" && !live && !keyIsGone;
  if (span !== null && (banner.querySelector("button") !== null) === wantsButton) {
    span.textContent = text;
    return;
  }
  replace(banner, h("span", {}, text));
  if (wantsButton) append(banner, button({}, retry, "Now"));
}
