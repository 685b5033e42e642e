// What is under the pointer, in a line or two beside it.

import { api, isAbort } from "./api";
import { h, replace } from "./dom";
import { size } from "./format";
import { keyOf, shown } from "./paths";
import { curveIndex } from "./plane";
import type { Brick, Short } from "./types";

/** A pointer that moves on within this many milliseconds asks nothing. */
const REST_MS = 45;
/** From this many pixels for a cell on, the tooltip tells which byte it is. */
const BYTE_SCALE_MIN = 6;

export interface Under {
  brick: Brick;
  short: Short;
}

export class Hover {
  onunder: (under: Under | null) => void = () => undefined;
  readonly #tip: HTMLElement;
  #abort = new AbortController();
  #timer = 0;
  #last: Under | null = null;

  constructor(tip: HTMLElement) {
    this.#tip = tip;
  }

  /** The pointer is over this cell; x and y are where on the screen. */
  move(at: { brick: Brick; x: number; y: number } | null, x: number, y: number, scale: number): void {
    window.clearTimeout(this.#timer);
    if (at === null) {
      this.hide();
      return;
    }
    this.#placeAt(x, y);
    // In a file's block the answer is known. A directory's rectangle has other things in it.
    if (this.#last !== null && this.#last.brick === at.brick && this.#last.short.type !== "dir" && inside(this.#last.short, at)) {
      this.#show(this.#last, at, scale);
      return;
    }
    this.#timer = window.setTimeout(() => void this.#ask(at, scale), REST_MS);
  }

  async #ask(at: { brick: Brick; x: number; y: number }, scale: number): Promise<void> {
    this.#abort.abort();
    this.#abort = new AbortController();
    try {
      const short = await api.at(at.brick.name, at.x, at.y, this.#abort.signal);
      if (short.path === null) {
        this.hide();
        return;
      }
      const under = { brick: at.brick, short };
      const before = this.#last;
      this.#last = under;
      this.#show(under, at, scale);
      if (before === null || keyOf(before.short) !== keyOf(short)) this.onunder(under);
    } catch (error) {
      if (!isAbort(error)) this.hide();
    }
  }

  #show({ short }: Under, at: { brick: Brick; x: number; y: number }, scale: number): void {
    const byte = byteAt(short, at);
    replace(
      this.#tip,
      h("bdi", { class: "tip-path" }, shown(short.path)),
      h(
        "span",
        { class: "quiet" },
        shown(short.kind.replaceAll("_", " ")),
        short.type === "dir" ? "" : ` · ${size(short.size)}`,
        short.risk.level > 0 ? ` · risk ${shown(short.risk.word)}` : "",
        short.redacted ? " · redacted" : "",
        short.unverified ? " · not verified" : "",
        scale >= BYTE_SCALE_MIN && byte !== null ? ` · byte ${byte}` : "",
      ),
      h("span", { class: "tip-says" }, shown(short.summary || short.title)),
    );
    this.#tip.hidden = false;
    this.#fit();
  }

  hide(): void {
    window.clearTimeout(this.#timer);
    this.#abort.abort();
    this.#tip.hidden = true;
    if (this.#last === null) return;
    this.#last = null;
    this.onunder(null);
  }

  #x = 0;
  #y = 0;

  #placeAt(x: number, y: number): void {
    this.#x = x;
    this.#y = y;
    if (!this.#tip.hidden) this.#fit();
  }

  /** Beside the pointer, on the side where there is room. */
  #fit(): void {
    const { offsetWidth: w, offsetHeight: height } = this.#tip;
    const x = this.#x + 16 + w > window.innerWidth - 8 ? this.#x - w - 12 : this.#x + 16;
    const y = this.#y + 18 + height > window.innerHeight - 8 ? this.#y - height - 12 : this.#y + 18;
    this.#tip.style.transform = `translate(${Math.round(Math.max(8, x))}px, ${Math.round(Math.max(8, y))}px)`;
  }
}

function inside(rect: Short, at: { x: number; y: number }): boolean {
  return at.x >= rect.x && at.y >= rect.y && at.x < rect.x + rect.w && at.y < rect.y + rect.h;
}

/** Which byte of a file a cell shows; null where it is not one byte of it. */
function byteAt(short: Short, at: { brick: Brick; x: number; y: number }): number | null {
  if (short.type !== "file" || short.redacted || short.size > short.cells || short.cells < 1) return null;
  // A block is an aligned run of the curve.
  const byte = curveIndex(at.brick.order, at.x, at.y) % short.cells;
  return byte < short.size ? byte : null;
}
