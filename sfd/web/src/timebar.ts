// The time slider: what changed since a moment; everything else is grey.

import { h, replace } from "./dom";
import { clock, nsOfMs } from "./format";

interface Stop {
  text: string;
  /** How long ago; null: all time. "opened": since this page was opened. */
  ms: number | null | "opened";
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** From everything to the last minute: to the right it gets more recent. */
const STOPS: readonly Stop[] = [
  { text: "everything", ms: null },
  { text: "a year", ms: 365 * DAY },
  { text: "90 days", ms: 90 * DAY },
  { text: "30 days", ms: 30 * DAY },
  { text: "7 days", ms: 7 * DAY },
  { text: "a day", ms: DAY },
  { text: "6 hours", ms: 6 * HOUR },
  { text: "an hour", ms: HOUR },
  { text: "15 minutes", ms: 15 * MINUTE },
  { text: "5 minutes", ms: 5 * MINUTE },
  { text: "a minute", ms: MINUTE },
  { text: "opened", ms: "opened" },
];

/** A dragged slider asks for a picture when it rests this long. */
const REST_MS = 160;

export class TimeBar {
  /** The moment, in nanoseconds as text, or null for everything. */
  onsince: (since: string | null) => void = () => undefined;
  readonly #input: HTMLInputElement;
  readonly #text: HTMLOutputElement;
  readonly #opened_ms = Date.now();
  #timer = 0;

  constructor(root: HTMLElement) {
    this.#input = h("input", {
      type: "range",
      id: "since",
      min: 0,
      max: STOPS.length - 1,
      step: 1,
      value: 0,
    });
    this.#text = h("output", { for: "since" });
    replace(root, h("label", { for: "since" }, "Changed"), this.#input, this.#text);
    this.#input.addEventListener("input", () => {
      this.#describe();
      window.clearTimeout(this.#timer);
      this.#timer = window.setTimeout(() => this.onsince(this.#since()), REST_MS);
    });
    this.#describe();
  }

  reset(): void {
    this.#input.value = "0";
    this.#describe();
    this.onsince(null);
  }

  #stop(): Stop {
    return STOPS[Number(this.#input.value)] ?? { text: "everything", ms: null };
  }

  #moment(): number | null {
    const { ms } = this.#stop();
    if (ms === null) return null;
    return ms === "opened" ? this.#opened_ms : Date.now() - ms;
  }

  #since(): string | null {
    const moment = this.#moment();
    return moment === null ? null : nsOfMs(moment);
  }

  #describe(): void {
    const stop = this.#stop();
    const moment = this.#moment();
    let text = "at any time";
    if (moment !== null) {
      const at = clock(moment, Date.now());
      const last = stop.text.replace(/^an? /, "");
      text = stop.ms === "opened" ? `since you opened this, ${at}` : `in the last ${last}, since ${at}`;
    }
    this.#text.textContent = text;
    this.#input.setAttribute("aria-valuetext", text);
  }
}
