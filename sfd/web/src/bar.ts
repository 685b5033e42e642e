// The bar at the top: whose map it is, is it live, where one is, search, and the buttons.

import { button, h, replace } from "./dom";
import { shown } from "./paths";
import { Search } from "./search";
import type { StreamState } from "./stream";
import type { Bricks } from "./types";

export interface BarActions {
  home: () => void;
  list: () => void;
  theme: () => void;
  help: () => void;
}

export class Bar {
  readonly search = new Search();
  readonly #host = h("span", { class: "host" });
  readonly #live = h("span", { class: "live", role: "status" }, "connecting");
  readonly #where = h("bdi", { class: "where" });
  readonly #list: HTMLButtonElement;

  constructor(root: HTMLElement, actions: BarActions) {
    this.#list = button({ "aria-pressed": "false", title: "List instead of map (l)" }, actions.list, "List");
    replace(
      root,
      button({ class: "brand", title: "Everything (0)" }, actions.home, h("b", {}, "sfd"), this.#host),
      this.#live,
      this.#where,
      this.search.element,
      this.#list,
      button({ class: "icon", "aria-label": "Light or dark", title: "Light or dark (t)" }, actions.theme, "◐"),
      button({ class: "icon", "aria-label": "Help", title: "Help (?)" }, actions.help, "?"),
    );
  }

  setHost(bricks: Bricks): void {
    this.#host.textContent = shown(bricks.host);
    document.title = `${shown(bricks.host)} - sfd map`;
  }

  setLive(state: StreamState): void {
    this.#live.textContent = state.live ? "live" : state.heard_ms === null && state.why === null ? "connecting" : "not live";
    this.#live.classList.toggle("on", state.live);
    this.#live.classList.toggle("off", !state.live && state.why !== null);
  }

  setWhere(path: string): void {
    const text = shown(path);
    if (this.#where.textContent !== text) this.#where.textContent = text;
  }

  setList(open: boolean): void {
    this.#list.setAttribute("aria-pressed", String(open));
    this.#list.textContent = open ? "Map" : "List";
  }
}
