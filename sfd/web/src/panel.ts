// Everything about one artifact.

import { api, ApiError, isAbort, messageOf } from "./api";
import { Content } from "./content";
import { append, button, h, replace } from "./dom";
import { ago, clock, modeBits, size } from "./format";
import { hashOf, keyOf, nameOf, parentOf, shown } from "./paths";
import { changeText, RISK_WORDS } from "./recent";
import type { Artifact, Brick, PathRef } from "./types";

/** Rows of history in the panel; the rest is behind `sfd log PATH`. */
const HISTORY_MAX = 50;

export class Panel {
  onclose: () => void = () => undefined;
  /** Somebody wants another artifact: one of the directories above. */
  onopen: (ref: PathRef) => void = () => undefined;
  onfly: () => void = () => undefined;
  readonly #root: HTMLElement;
  #abort = new AbortController();
  #brick: Brick | null = null;
  #ref: PathRef | null = null;
  #shown: Artifact | null = null;
  #content: Content | null = null;

  constructor(root: HTMLElement) {
    this.#root = root;
  }

  get ref(): PathRef | null {
    return this.#ref;
  }

  close(): void {
    this.#abort.abort();
    this.#ref = null;
    this.#shown = null;
    this.#root.hidden = true;
    this.#root.replaceChildren();
  }

  /** Shows an artifact; the promise is what came, or null when it did not. */
  async open(brick: Brick, ref: PathRef): Promise<Artifact | null> {
    this.#abort.abort();
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    const again = this.#ref !== null && keyOf(this.#ref) === keyOf(ref);
    this.#brick = brick;
    this.#ref = ref;
    this.#root.hidden = false;
    if (!again) {
      replace(this.#root, this.#head(ref), h("p", { class: "quiet" }, "Reading ..."));
      this.#root.scrollTop = 0;
    }
    try {
      const artifact = await api.artifact(brick.name, ref, signal);
      this.#shown = artifact;
      await this.#show(brick, artifact, signal, again);
      return artifact;
    } catch (error) {
      if (isAbort(error)) return null;
      await this.#missing(brick, ref, error, signal);
      return null;
    }
  }

  /** Something happened to a path: if it is the one that is shown, it is read again. */
  async changed(ref: PathRef): Promise<void> {
    if (this.#ref === null || this.#brick === null || keyOf(this.#ref) !== keyOf(ref)) return;
    // Whoever reads in it keeps the place.
    const { scrollTop } = this.#root;
    await this.open(this.#brick, this.#ref);
    this.#root.scrollTop = scrollTop;
  }

  #head(ref: PathRef): HTMLElement {
    const crumbs = h("nav", { "aria-label": "Directories above", class: "crumbs" });
    const root = this.#brick?.root ?? "/";
    const above: string[] = [];
    for (let path = ref.path; path !== root && path !== "/" && above.length < 64; ) {
      path = parentOf(path);
      above.unshift(path);
    }
    // The bytes of directories whose names are not UTF-8 are not known here; they can be reached on the map.
    for (const path of above) {
      const name = path === root ? shown(path) : shown(nameOf(path));
      crumbs.append(
        ref.path_bytes === undefined ? button({}, () => this.onopen({ path }), name) : h("span", {}, name),
        h("span", { "aria-hidden": "true" }, path === "/" ? "" : "/"),
      );
    }
    return h(
      "header",
      {},
      h(
        "div",
        { class: "panel-top" },
        h("h2", {}, h("bdi", {}, shown(ref.path === root ? root : nameOf(ref.path)))),
        button({ class: "icon", "aria-label": "Close", title: "Close (Escape)" }, () => this.onclose(), "×"),
      ),
      crumbs,
    );
  }

  async #show(brick: Brick, artifact: Artifact, signal: AbortSignal, again: boolean): Promise<void> {
    const { semantics } = artifact;
    const risk = semantics.risk ?? artifact.risk;
    const badges = h(
      "div",
      { class: "badges" },
      h("span", { class: "badge" }, shown(artifact.kind.replaceAll("_", " "))),
      artifact.type === "dir" ? null : h("span", { class: "badge" }, size(artifact.size)),
      risk.level > 0 ? h("span", { class: `badge risk-${risk.level}` }, `risk: ${shown(risk.word)}`) : null,
      artifact.redacted ? h("span", { class: "badge badge-redacted" }, "redacted") : null,
      artifact.unverified ? h("span", { class: "badge badge-unverified" }, "not verified") : null,
    );
    const said =
      semantics.source === "llm"
        ? `Said by a language model${semantics.model ? ` (${shown(semantics.model)})` : ""}; it may be wrong.`
        : "Said by a heuristic, from the contents and the place.";
    const about = h(
      "section",
      { class: "about" },
      h("p", { class: "title" }, shown(semantics.title || artifact.title)),
      h("p", { class: "summary" }, shown(semantics.summary || artifact.summary)),
      h("p", { class: "quiet said", "data-source": semantics.source }, said),
    );
    const tags = semantics.tags ?? [];
    if (tags.length > 0) {
      about.appendChild(h("p", { class: "tags" }, ...tags.map((tag) => h("span", { class: "tag" }, shown(tag)))));
    }
    const body = h("div", { class: "panel-body" }, badges, about);
    if (artifact.unverified) {
      append(body, h("p", { class: "note" }, `Not verified: sfd lost track and has not looked again yet; what is shown may be outdated.${
          artifact.unverified_reason ? ` (${shown(artifact.unverified_reason)})` : ""
        }`));
    }
    if ((risk.reasons ?? []).length > 0) {
      append(
        body,
        h("h3", {}, `Why the risk is ${shown(risk.word ?? RISK_WORDS[risk.level] ?? "")}`),
        h("ul", { class: "reasons" }, ...risk.reasons.map((reason) => h("li", {}, shown(reason)))),
      );
    }
    const content = new Content(brick.name, artifact, signal, again ? (this.#content?.view ?? null) : null, (ref) =>
      this.onopen(ref),
    );
    this.#content = content;
    append(body, this.#actions(artifact), content.element, facts(artifact));
    this.#history(body, artifact);
    // What is read again takes the place of what is there in one step.
    if (again) await content.ready;
    if (signal.aborted) return;
    const focused = this.#root.contains(document.activeElement) ? document.activeElement?.textContent : null;
    replace(this.#root, this.#head(artifact), body);
    if (focused == null) return;
    const same = Array.from(this.#root.querySelectorAll("button")).find((each) => each.textContent === focused);
    same?.focus({ preventScroll: true });
  }

  #actions(artifact: Artifact): HTMLElement {
    const copy = (what: string, text: string): HTMLButtonElement => {
      const element = button({}, () => void done(), what);
      const done = async (): Promise<void> => {
        try {
          await navigator.clipboard.writeText(text);
          element.textContent = "Copied";
        } catch {
          element.textContent = "The browser does not allow it";
        }
        window.setTimeout(() => (element.textContent = what), 1500);
      };
      return element;
    };
    const link = `${location.origin}${location.pathname}${hashOf(artifact)}`;
    return h(
      "div",
      { class: "actions" },
      button({}, () => this.onfly(), "Show on the map"),
      copy("Copy path", artifact.path),
      copy("Copy link", link),
    );
  }

  #history(body: HTMLElement, artifact: Artifact): void {
    const list = h("ol", { class: "history" });
    for (const row of artifact.history.slice(0, HISTORY_MAX)) list.appendChild(h("li", {}, changeText(row, false)));
    append(
      body,
      h("h3", {}, "History"),
      list.childElementCount > 0 ? list : h("p", { class: "quiet" }, "It has not changed since sfd began to watch it."),
    );
  }

  async #missing(brick: Brick, ref: PathRef, error: unknown, signal: AbortSignal): Promise<void> {
    const body = h("div", { class: "panel-body" });
    const gone = error instanceof ApiError && error.status === 404;
    append(
      body,
      h("p", { class: gone ? "note" : "bad" }, gone ? "There is no such thing now." : messageOf(error)),
      gone ? null : button({}, () => void this.open(brick, ref), "Try again"),
    );
    replace(this.#root, this.#head(ref), body);
    this.#shown = null;
    if (!gone) return;
    try {
      const query = ref.path_bytes === undefined ? { path: ref.path } : { path_bytes: ref.path_bytes };
      const { rows } = await api.history({ ...query, limit: HISTORY_MAX }, signal);
      if (rows.length === 0) append(body, h("p", { class: "quiet" }, "Its directory, above, or the search may lead on."));
      else append(body, h("h3", {}, "Its history"), h("ol", { class: "history" }, ...rows.map((row) => h("li", {}, changeText(row, false)))));
    } catch {
      // That it is gone has been said already.
    }
  }

  get artifact(): Artifact | null {
    return this.#shown;
  }
}

function facts(artifact: Artifact): HTMLElement {
  const list = h("dl");
  const now = Date.now();
  const row = (name: string, ...value: (Node | string)[]): void => {
    list.append(h("dt", {}, name), h("dd", {}, ...value));
  };
  const who = (name: string | undefined, id: number): string => (name === undefined ? String(id) : `${shown(name)} (${id})`);
  for (const fact of artifact.facts) row(shown(fact.name.replaceAll("_", " ")), h("bdi", {}, shown(fact.value)));
  if (artifact.target !== undefined) row("points to", h("bdi", {}, shown(artifact.target)));
  row("owner", `${who(artifact.user, artifact.uid)} : ${who(artifact.group, artifact.gid)}`);
  row("mode", h("code", {}, modeBits(artifact.mode)));
  row("modified", `${clock(artifact.mtime_ns / 1e6, now)}, ${ago(artifact.mtime_ns, now)} ago`);
  if (artifact.changed_ns !== undefined) row("seen changing", clock(artifact.changed_ns / 1e6, now));
  if (artifact.content_hash !== undefined && artifact.content_hash !== "") {
    row(artifact.redacted ? "keyed hash" : "BLAKE3", h("code", { class: "hash" }, shown(artifact.content_hash)));
  }
  row("in the picture", `${artifact.w} × ${artifact.h} cells at ${artifact.x}, ${artifact.y}`);
  return h("section", {}, h("h3", {}, "Facts"), list);
}
