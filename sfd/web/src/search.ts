// The search box: a combobox whose list is what the daemon finds.

import { api, isAbort, messageOf } from "./api";
import { h, replace } from "./dom";
import { nameOf, parentOf, shown } from "./paths";
import type { Hit } from "./types";

/** Hits shown; whoever needs more writes more of the name. */
const HITS_MAX = 20;
/** Letters come faster than this many milliseconds; a pause asks. */
const PAUSE_MS = 120;

export class Search {
  ongo: (hit: Hit) => void = () => undefined;
  readonly input: HTMLInputElement;
  readonly element: HTMLElement;
  readonly #list: HTMLElement;
  readonly #says: HTMLElement;
  #hits: Hit[] = [];
  #active = -1;
  #abort = new AbortController();
  #timer = 0;
  #enterWhenFound = false;

  constructor() {
    this.input = h("input", {
      type: "text",
      id: "search",
      role: "combobox",
      placeholder: "Search  /",
      "aria-label": "Search names, kinds, risks, tags",
      "aria-expanded": "false",
      "aria-controls": "hits",
      "aria-autocomplete": "list",
      autocomplete: "off",
      spellcheck: "false",
    });
    this.#list = h("ul", { id: "hits", role: "listbox", "aria-label": "Found" });
    this.#says = h("p", { class: "quiet", role: "status" });
    const drop = h("div", { class: "card drop" }, this.#list, this.#says);
    this.element = h("div", { class: "search" }, this.input, drop);
    this.input.addEventListener("input", () => {
      window.clearTimeout(this.#timer);
      this.#timer = window.setTimeout(() => void this.#ask(), PAUSE_MS);
    });
    this.input.addEventListener("keydown", (event) => this.#key(event));
    this.input.addEventListener("focus", () => this.#open(this.input.value.trim() !== ""));
    this.element.addEventListener("focusout", (event) => {
      if (!this.element.contains(event.relatedTarget as Node | null)) this.#open(false);
    });
    this.#open(false);
  }

  #open(open: boolean): void {
    this.element.classList.toggle("open", open);
    this.input.setAttribute("aria-expanded", String(open && this.#hits.length > 0));
  }

  async #ask(): Promise<void> {
    this.#abort.abort();
    this.#abort = new AbortController();
    const q = this.input.value.trim();
    if (q === "") {
      this.#show([], "");
      this.#open(false);
      return;
    }
    this.#says.textContent = this.#hits.length === 0 ? "Searching ..." : "";
    this.#open(true);
    try {
      const { hits, more } = await api.search(q, HITS_MAX, this.#abort.signal);
      let says = more ? "There are more: write more of the name, or kind:secret, risk:high." : "";
      if (hits.length === 0) says = "Nothing is called so. Try a part of the name, a kind such as kind:key, or risk:high.";
      this.#show(hits, says);
      const [first] = hits;
      if (this.#enterWhenFound && first !== undefined) this.#go(first);
    } catch (error) {
      if (!isAbort(error)) this.#show([], `Could not search: ${messageOf(error)}`);
    }
    this.#enterWhenFound = false;
  }

  #show(hits: Hit[], says: string): void {
    this.#hits = hits;
    this.#active = hits.length > 0 ? 0 : -1;
    const items = hits.map((hit, index) => {
      const item = h(
        "li",
        { role: "option", id: `hit-${index}`, "aria-selected": String(index === this.#active), "data-path": hit.path },
        h("bdi", { class: "hit-name" }, shown(nameOf(hit.path))),
        hit.risk.level >= 2 ? h("span", { class: `badge risk-${hit.risk.level}` }, shown(hit.risk.word)) : null,
        h("bdi", { class: "quiet hit-dir" }, shown(parentOf(hit.path))),
        h("span", { class: "quiet hit-title" }, shown(hit.title)),
      );
      // A press would take the focus away, and with it the list, before the click.
      item.addEventListener("pointerdown", (event) => event.preventDefault());
      item.addEventListener("click", () => this.#go(hit));
      return item;
    });
    replace(this.#list, ...items);
    this.#says.textContent = says;
    this.#says.hidden = says === "";
    this.#list.hidden = hits.length === 0;
    this.#mark();
    this.#open(this.input.value.trim() !== "" && document.activeElement === this.input);
  }

  #mark(): void {
    Array.from(this.#list.children).forEach((item, index) => {
      item.setAttribute("aria-selected", String(index === this.#active));
      if (index === this.#active) item.scrollIntoView({ block: "nearest" });
    });
    if (this.#active >= 0) this.input.setAttribute("aria-activedescendant", `hit-${this.#active}`);
    else this.input.removeAttribute("aria-activedescendant");
  }

  #key(event: KeyboardEvent): void {
    // The map's keys are letters here.
    event.stopPropagation();
    const n = this.#hits.length;
    if ((event.key === "ArrowDown" || event.key === "ArrowUp") && n > 0) {
      event.preventDefault();
      this.#active = (this.#active + (event.key === "ArrowDown" ? 1 : n - 1)) % n;
      this.#mark();
    } else if (event.key === "Enter") {
      event.preventDefault();
      const hit = this.#hits[this.#active];
      if (hit !== undefined) this.#go(hit);
      else {
        // Typed faster than the answer: the first hit when it comes.
        this.#enterWhenFound = true;
        window.clearTimeout(this.#timer);
        void this.#ask();
      }
    } else if (event.key === "Escape") {
      if (this.input.value === "") this.input.blur();
      this.input.value = "";
      this.#show([], "");
    }
  }

  #go(hit: Hit): void {
    this.#open(false);
    this.input.blur();
    this.ongo(hit);
  }
}
