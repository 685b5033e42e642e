// What the colours mean: the mode, and what each colour and each mark of it says.

import { button, h, replace } from "./dom";
import { shown } from "./paths";
import { MODES } from "./types";
import type { Mode, Palette, Theme } from "./types";

const WORDS: Record<Mode, { name: string; says: string }> = {
  kind: { name: "Kind", says: "What each file is; paler where its bytes are no letters." },
  content: { name: "Content", says: "What each byte is." },
  entropy: { name: "Entropy", says: "How random the bytes are: high means compressed or encrypted." },
  risk: { name: "Risk", says: "How much should you care?" },
  age: { name: "Age", says: "How long ago it was changed." },
};

/** One line for each group of kinds that share a colour, else for each entry. */
function lines(entries: Palette[Mode], theme: Theme): { text: string; colour: string; members?: string }[] {
  const words = (text: string): string => shown(text.replaceAll("_", " "));
  const groups = new Map<string, { text: string; colour: string; members: string }>();
  const out: { text: string; colour: string; members?: string }[] = [];
  for (const entry of entries) {
    if (entry.group === undefined) {
      out.push({ text: words(entry.label), colour: entry[theme] });
      continue;
    }
    const known = groups.get(entry.group);
    if (known !== undefined) {
      known.members += `, ${words(entry.label)}`;
      continue;
    }
    const line = { text: words(entry.group), colour: entry[theme], members: words(entry.label) };
    groups.set(entry.group, line);
    out.push(line);
  }
  return out;
}

export class Legend {
  onmode: (mode: Mode) => void = () => undefined;
  readonly #root: HTMLElement;
  #palette: Palette | null = null;
  #mode: Mode = "kind";
  #theme: Theme = "light";

  constructor(root: HTMLElement) {
    this.#root = root;
  }

  show(palette: Palette | null, mode: Mode, theme: Theme): void {
    const sameLook = palette === this.#palette && mode === this.#mode && theme === this.#theme;
    if (sameLook && this.#root.childElementCount > 0) return;
    const focused = this.#root.contains(document.activeElement);
    this.#palette = palette;
    this.#mode = mode;
    this.#theme = theme;
    const modes = h("div", { class: "modes", role: "radiogroup", "aria-label": "Colour by" });
    for (const each of MODES) {
      const chosen = each === mode;
      const choice = button(
        { role: "radio", "aria-checked": String(chosen), tabindex: chosen ? 0 : -1, "data-mode": each },
        () => this.onmode(each),
        WORDS[each].name,
      );
      choice.addEventListener("keydown", (event) => this.#arrows(event, each));
      modes.appendChild(choice);
      if (chosen && focused) queueMicrotask(() => choice.focus());
    }
    replace(
      this.#root,
      modes,
      h("p", { class: "quiet" }, WORDS[mode].says),
      this.#swatches(palette?.[mode] ?? [], theme),
      h(
        "ul",
        { class: "marks", "aria-label": "Marks" },
        h("li", {}, h("i", { class: "swatch hatched" }), "hatched: not verified, may be outdated"),
        h("li", {}, h("i", { class: "swatch redacted" }), "dotted: redacted, its contents are not kept"),
      ),
    );
  }

  #swatches(entries: Palette[Mode], theme: Theme): HTMLElement {
    const list = h("ul", { class: "swatches", "aria-label": "Colours", tabindex: 0 });
    for (const { text, colour, members } of lines(entries, theme)) {
      const swatch = h("i", { class: "swatch" });
      swatch.style.backgroundColor = colour;
      list.appendChild(h("li", { title: members }, swatch, text));
    }
    if (entries.length === 0) list.appendChild(h("li", {}, "..."));
    return list;
  }

  #arrows(event: KeyboardEvent, from: Mode): void {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    const next = MODES[(MODES.indexOf(from) + step + MODES.length) % MODES.length];
    if (next !== undefined) this.onmode(next);
  }
}
