// The list of recent changes: newest first, bounded, repeated ones counted instead of listed.

import { button, h, replace } from "./dom";
import { ago, clock, count, writerText } from "./format";
import { keyOf, nameOf, parentOf, shown } from "./paths";
import type { Burst, HistoryRow } from "./types";

/** Rows kept; the whole history is behind `sfd log`. */
export const ROWS_MAX = 200;
/** Rows in the page at once: more than a screen shows, and `more` brings the rest. */
const ROWS_SHOWN = 60;
/** The same thing by the same writer within this time is one row with a count. */
const SAME_MS = 30_000;

export interface Row {
  row: HistoryRow;
  times: number;
}

export interface BurstRow {
  burst: { brick: string; count: number; at_ns: number };
}

export type Entry = Row | BurstRow;

/** Puts a change in front of the list; pure, so that the counting can be tested. */
export function add(entries: readonly Entry[], row: HistoryRow): Entry[] {
  const at = entries.findIndex((entry) => "row" in entry && same(entry.row, row));
  const known = at < 0 ? undefined : entries[at];
  if (known !== undefined && "row" in known) {
    const rest = entries.filter((_, index) => index !== at);
    return [{ row, times: known.times + 1 }, ...rest];
  }
  return [{ row, times: 1 }, ...entries].slice(0, ROWS_MAX);
}

/** Adds to the burst at the head, or begins one. */
export function addBurst(entries: readonly Entry[], burst: Burst, at_ns: number): Entry[] {
  const [head, ...rest] = entries;
  if (head !== undefined && "burst" in head && head.burst.brick === burst.brick) {
    return [{ burst: { brick: burst.brick, count: head.burst.count + burst.count, at_ns } }, ...rest];
  }
  return [{ burst: { brick: burst.brick, count: burst.count, at_ns } }, ...entries].slice(0, ROWS_MAX);
}

function same(a: HistoryRow, b: HistoryRow): boolean {
  return (
    a.brick === b.brick &&
    keyOf(a) === keyOf(b) &&
    a.verb === b.verb &&
    a.risk === b.risk &&
    a.writers[0]?.comm === b.writers[0]?.comm &&
    Math.abs(b.at_ns - a.at_ns) / 1e6 < SAME_MS
  );
}

/** One change as an element: also what a panel shows as history, then without its path. */
export function changeText(row: HistoryRow, withPath: boolean): HTMLElement {
  const now = Date.now();
  return h(
    "span",
    { class: "change" },
    h(
      "span",
      { class: "change-line" },
      h("span", { class: `verb verb-${/^[a-z_]+$/.test(row.verb) ? row.verb : "other"}` }, shown(row.verb)),
      withPath ? h("bdi", { class: "change-name" }, shown(nameOf(row.path))) : null,
      row.risk >= 2 ? h("span", { class: `badge risk-${row.risk}` }, RISK_WORDS[row.risk] ?? "risk") : null,
      h("time", { title: clock(row.at_ns / 1e6, now), "data-ns": row.at_ns }, ago(row.at_ns, now)),
    ),
    h(
      "span",
      { class: "quiet change-who" },
      "by ",
      h("bdi", {}, shown(writerText(row.writers, row.more_writers))),
      withPath ? h("bdi", { class: "change-dir" }, ` in ${shown(parentOf(row.path))}`) : null,
    ),
    row.from === undefined ? null : h("span", { class: "quiet" }, "was ", h("bdi", {}, shown(row.from))),
    row.detail ? h("span", { class: "quiet" }, shown(row.detail)) : null,
    ...row.meaning.slice(0, 3).map((line) => h("span", { class: "meaning" }, shown(line))),
  );
}

export const RISK_WORDS = ["none", "low", "medium", "high", "critical"] as const;

export class Recent {
  ongo: (row: HistoryRow) => void = () => undefined;
  readonly #root: HTMLElement;
  #entries: Entry[] = [];
  #all = false;
  #dirty = true;
  #since_ns = 0;
  #open = true;

  constructor(root: HTMLElement) {
    this.#root = root;
  }

  seed(rows: readonly HistoryRow[]): void {
    // Changes that came meanwhile are newer than all of these.
    let entries: Entry[] = [];
    for (const row of [...rows].reverse()) entries = add(entries, row);
    const newest = rows[0]?.at_ns ?? 0;
    this.#entries = [
      ...this.#entries.filter((e) => ("row" in e ? e.row.at_ns : e.burst.at_ns) > newest),
      ...entries,
    ].slice(0, ROWS_MAX);
    this.#dirty = true;
  }

  add(row: HistoryRow): void {
    this.#entries = add(this.#entries, row);
    this.#dirty = true;
  }

  addBurst(burst: Burst): void {
    this.#entries = addBurst(this.#entries, burst, Date.now() * 1e6);
    this.#dirty = true;
  }

  setSince(since: string | null): void {
    this.#since_ns = since === null ? 0 : Number(since);
    this.#dirty = true;
  }

  /** Writes the list anew if something came; call it a few times a second. */
  draw(): void {
    if (!this.#dirty) {
      this.#age();
      return;
    }
    // Not under the fingers of somebody who moves through it.
    if (this.#root.querySelector("ol")?.contains(document.activeElement) === true) return;
    this.#dirty = false;
    const entries = this.#entries.filter((e) => ("row" in e ? e.row.at_ns : e.burst.at_ns) >= this.#since_ns);
    const part = this.#all ? entries : entries.slice(0, ROWS_SHOWN);
    const list = h("ol", { "aria-label": "Recent changes, newest first", tabindex: -1 });
    for (const entry of part) list.appendChild(h("li", {}, this.#entry(entry)));
    const toggle = button(
      { class: "fold", "aria-expanded": String(this.#open), "aria-controls": "recent-body" },
      () => {
        this.#open = !this.#open;
        this.#dirty = true;
        this.draw();
        this.#root.querySelector<HTMLElement>(".fold")?.focus();
      },
      h("h2", {}, "Recent changes"),
      h("span", { class: "quiet" }, entries.length === 0 ? "" : count(entries.length)),
    );
    const body = h("div", { id: "recent-body", class: "scroll" });
    body.hidden = !this.#open;
    const before = this.#root.querySelector("#recent-body")?.scrollTop ?? 0;
    if (entries.length === 0) {
      const none = this.#since_ns > 0 ? "Nothing changed in that time. Move the slider to the left to see more." : "";
      body.appendChild(h("p", { class: "quiet" }, none || "Nothing has changed yet. Write to a watched file, and it appears here."));
    } else body.appendChild(list);
    if (part.length < entries.length) {
      const more = button({ class: "more" }, () => this.#showAll(), `Show ${entries.length - part.length} more`);
      body.appendChild(more);
    } else if (entries.length >= ROWS_MAX) {
      body.appendChild(h("p", { class: "quiet" }, "Older ones: sfd log"));
    }
    replace(this.#root, toggle, body);
    body.scrollTop = before;
  }

  #showAll(): void {
    this.#all = true;
    this.#dirty = true;
    this.draw();
  }

  #entry(entry: Entry): HTMLElement {
    if ("burst" in entry) {
      const { burst } = entry;
      return h(
        "div",
        { class: "burst" },
        `${count(burst.count)} more changes in ${shown(burst.brick)}, too fast to list `,
        h("time", { "data-ns": burst.at_ns }, ago(burst.at_ns, Date.now())),
      );
    }
    const item = button(
      { class: "row", "data-path": entry.row.path },
      () => this.ongo(entry.row),
      changeText(entry.row, true),
    );
    if (entry.times > 1) {
      item.querySelector(".verb")?.appendChild(h("span", { class: "times" }, ` ×${count(entry.times)}`));
    }
    return item;
  }

  #age(): void {
    const now = Date.now();
    for (const time of this.#root.querySelectorAll<HTMLElement>("time[data-ns]")) {
      const text = ago(Number(time.dataset["ns"]), now);
      if (time.textContent !== text) time.textContent = text;
    }
  }
}
