// What is in a file: as text or in hexadecimal, fetched in pages. Never asked for when it is redacted. Of a directory:
// what is below it.

import { api, ApiError, messageOf } from "./api";
import { button, h, replace } from "./dom";
import { count, hexRows, looksLikeText, size, visible } from "./format";
import { bytesOfBase64, nameOf, shown } from "./paths";
import type { Artifact, PathRef, Short } from "./types";

/** Bytes in a page; hexadecimal takes four characters for each. */
const PAGE = { text: 32 << 10, hex: 4 << 10 } as const;
/** Of a directory, this many are shown in the panel. */
const CHILDREN_MAX = 60;
/** No more than this many bytes of one file are put into the page. */
const BYTES_MAX = { text: 512 << 10, hex: 64 << 10 } as const;

export type View = keyof typeof PAGE;

export class Content {
  readonly element = h("section", { class: "content", "aria-label": "Contents" });
  readonly #brick: string;
  readonly #artifact: Artifact;
  readonly #signal: AbortSignal;
  #view: View | null;
  /** The first bytes, whichever way they are shown. */
  #first: { bytes: Uint8Array; total: number } | null = null;
  /** Resolves when there is something to see. */
  readonly ready: Promise<void>;

  /** `view` is how it was shown before; null: as its bytes suggest. `open` is for what is below a directory. */
  constructor(
    brick: string,
    artifact: Artifact,
    signal: AbortSignal,
    view: View | null,
    private readonly open: (ref: PathRef) => void,
  ) {
    this.#brick = brick;
    this.#artifact = artifact;
    this.#signal = signal;
    this.#view = view;
    this.ready = this.#begin(artifact);
  }

  /** How it is shown. */
  get view(): View | null {
    return this.#view;
  }

  async #begin(artifact: Artifact): Promise<void> {
    if (artifact.type === "dir") {
      await this.#below();
    } else if (artifact.type === "special") {
      this.#say("It has none: it is a device, a pipe or a socket.");
    } else if (artifact.redacted) {
      this.#say("Redacted. What is in it is neither in the brick nor sent to this page.");
    } else if (artifact.size === 0 && artifact.type === "file") {
      this.#say("It is empty.");
    } else if (!artifact.exact) {
      this.#say("The brick holds a digest of it, not the bytes: it is larger than its place.");
    } else {
      await this.#open();
    }
  }

  #say(text: string): void {
    replace(this.element, h("h3", {}, "Contents"), h("p", { class: "quiet" }, text));
  }

  async #open(): Promise<void> {
    try {
      this.#first = await this.#page(0, PAGE.text);
      const { bytes, total } = this.#first;
      if (total === 0) this.#say("It is empty.");
      else await this.#show(this.#view ?? (looksLikeText(bytes) ? "text" : "hex"));
    } catch (error) {
      this.#trouble(error);
    }
  }

  async #below(): Promise<void> {
    const title = h("h3", {}, "In it");
    try {
      const { children, total } = await api.children(this.#brick, this.#artifact, 0, CHILDREN_MAX, this.#signal);
      const row = (child: Short): HTMLElement => {
        const name = shown(nameOf(child.path)) + (child.type === "dir" ? "/" : "");
        const about = child.type === "dir" ? "" : size(child.size);
        return h("li", {}, button({}, () => this.open(child), h("bdi", {}, name), h("span", { class: "quiet" }, about)));
      };
      const rest = total - children.length;
      replace(
        this.element,
        title,
        total === 0 ? h("p", { class: "quiet" }, "Nothing.") : h("ul", { class: "below" }, ...children.map(row)),
        rest > 0 ? h("p", { class: "quiet" }, `and ${count(rest)} more: the list (l) has them all`) : null,
      );
    } catch (error) {
      this.#trouble(error);
    }
  }

  #trouble(error: unknown): void {
    if (this.#signal.aborted) return;
    if (error instanceof ApiError && (error.status === 403 || error.status === 404)) this.#say(error.message);
    else {
      replace(
        this.element,
        h("h3", {}, "Contents"),
        h("p", { class: "bad" }, `Could not be read: ${messageOf(error)}. `),
        button({}, () => void this.#begin(this.#artifact), "Try again"),
      );
    }
  }

  async #page(offset: number, len: number): Promise<{ bytes: Uint8Array; total: number }> {
    const { base64, len: total } = await api.content(this.#brick, this.#artifact, offset, len, this.#signal);
    return { bytes: bytesOfBase64(base64), total };
  }

  async #show(view: View): Promise<void> {
    this.#view = view;
    const pre = h("pre", { tabindex: 0, "aria-label": view === "text" ? "Text" : "Hexadecimal" });
    const foot = h("div", { class: "content-foot" });
    const choice = (each: View, text: string): HTMLElement =>
      button({ "aria-pressed": String(each === view) }, () => void this.#show(each), text);
    replace(
      this.element,
      h("div", { class: "content-head" }, h("h3", {}, "Contents"), choice("text", "Text"), choice("hex", "Hex")),
      pre,
      foot,
    );
    await this.#more(view, pre, foot, 0, new TextDecoder());
  }

  async #more(view: View, pre: HTMLElement, foot: HTMLElement, from: number, decoder: TextDecoder): Promise<void> {
    replace(foot, h("span", { class: "quiet" }, "Reading ..."));
    try {
      const page = from === 0 && this.#first !== null ? this.#first : await this.#page(from, PAGE[view]);
      const bytes = page.bytes.subarray(0, PAGE[view]);
      const { total } = page;
      if (this.#view !== view) return;
      const end = from + bytes.length;
      const last = end >= total || bytes.length === 0;
      const text = view === "text" ? visible(decoder.decode(bytes, { stream: !last })) : `${hexRows(bytes, from)}\n`;
      pre.appendChild(document.createTextNode(text));
      replace(foot);
      if (last) {
        foot.appendChild(h("span", { class: "quiet" }, `all ${size(total)}`));
      } else if (end >= BYTES_MAX[view]) {
        foot.appendChild(h("span", { class: "quiet" }, `${size(end)} of ${size(total)}; all of it: sfd extract`));
      } else {
        const more = button({}, () => void this.#more(view, pre, foot, end, decoder), "More");
        foot.append(more, h("span", { class: "quiet" }, `${size(end)} of ${size(total)}`));
      }
    } catch (error) {
      this.#trouble(error);
    }
  }
}
