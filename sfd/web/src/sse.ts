// The text/event-stream format, from pieces of any size. Not EventSource: that hides the comments which say that the
// connection lives, and its reconnecting cannot be told to wait longer each time.

export interface Message {
  event: string;
  data: string;
}

/** An event is never longer than this many characters: the server coalesces long before. */
export const EVENT_CHARS_MAX = 4 << 20;

export class Parser {
  #rest = "";
  #event = "";
  #data: string[] = [];
  #length = 0;

  /**
   * Takes the next piece; returns the events that it completes.
   * @throws RangeError when an event is too long: the connection is of no use any more.
   */
  push(piece: string): Message[] {
    this.#rest += piece;
    const out: Message[] = [];
    for (;;) {
      const end = /\r\n|\n|\r(?!$)/.exec(this.#rest);
      if (end === null) break;
      const line = this.#rest.slice(0, end.index);
      this.#rest = this.#rest.slice(end.index + end[0].length);
      const message = this.#line(line);
      if (message !== null) out.push(message);
    }
    if (this.#rest.length + this.#length > EVENT_CHARS_MAX) throw new RangeError("an event is too long");
    return out;
  }

  #line(line: string): Message | null {
    if (line === "") {
      const message = { event: this.#event || "message", data: this.#data.join("\n") };
      const complete = this.#data.length > 0;
      this.#event = "";
      this.#data = [];
      this.#length = 0;
      return complete ? message : null;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#event = value;
    if (field === "data") {
      this.#data.push(value);
      this.#length += value.length;
    }
    return null;
  }
}

/** Seconds to wait before the n-th try in a row, n from 0: 1, 2, 4, ... at most 30, less up to a quarter of it at random. */
export function backoffSeconds(n: number, random: number): number {
  return Math.min(30, 2 ** Math.min(n, 5)) * (1 - random / 4);
}
