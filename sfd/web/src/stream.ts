// The daemon's events, for as long as the page lives: reconnecting, with longer and longer pauses, and honest about
// how long nothing was heard.

import { isAbort, messageOf, request } from "./api";
import { backoffSeconds, Parser } from "./sse";
import type { StreamEvent } from "./types";

/** The server says something every 15 s; after this many milliseconds of silence the connection is dead. */
const SILENCE_MS_MAX = 40_000;

export interface StreamState {
  live: boolean;
  /** When something was last heard, in milliseconds since 1970; null before the first time. */
  heard_ms: number | null;
  /** When the next try begins, while not live. */
  retry_ms: number | null;
  why: string | null;
}

export class Stream {
  onevent: (event: StreamEvent) => void = () => undefined;
  onstate: (state: StreamState) => void = () => undefined;
  #state: StreamState = { live: false, heard_ms: null, retry_ms: null, why: null };
  #tries = 0;
  #abort: AbortController | null = null;
  #timer = 0;
  #watchdog = 0;

  constructor() {
    window.addEventListener("online", () => this.retry());
    document.addEventListener("visibilitychange", () => {
      // A machine that slept has a connection that only looks alive.
      const heard = this.#state.heard_ms ?? 0;
      if (document.visibilityState === "visible" && Date.now() - heard > SILENCE_MS_MAX) this.retry();
    });
  }

  /** Connects now, whatever the pause. */
  retry(): void {
    this.#tries = 0;
    this.#abort?.abort();
    window.clearTimeout(this.#timer);
    void this.#connect();
  }

  async #connect(): Promise<void> {
    const abort = new AbortController();
    this.#abort = abort;
    let why = "the daemon ended the connection";
    try {
      this.#listen(abort);
      const response = await request("/api/events", abort.signal);
      if (response.body === null) throw new Error("an answer without a body");
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const parser = new Parser();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        this.#listen(abort);
        for (const message of parser.push(value)) this.#take(message.event, message.data);
        this.#set({ live: true, heard_ms: Date.now(), retry_ms: null, why: null });
        this.#tries = 0;
      }
    } catch (error) {
      if (this.#abort !== abort) return;
      why = isAbort(error) ? "nothing was heard for 40 s" : messageOf(error);
    } finally {
      window.clearTimeout(this.#watchdog);
      abort.abort();
    }
    if (this.#abort !== abort) return;
    const pause_ms = backoffSeconds(this.#tries, Math.random()) * 1000;
    this.#tries += 1;
    this.#set({ ...this.#state, live: false, retry_ms: Date.now() + pause_ms, why });
    this.#timer = window.setTimeout(() => void this.#connect(), pause_ms);
  }

  #listen(abort: AbortController): void {
    window.clearTimeout(this.#watchdog);
    this.#watchdog = window.setTimeout(() => abort.abort(), SILENCE_MS_MAX);
  }

  #take(event: string, data: string): void {
    if (event !== "hello" && event !== "change" && event !== "burst" && event !== "state") return;
    this.onevent({ kind: event, data: JSON.parse(data) } as StreamEvent);
  }

  #set(state: StreamState): void {
    const before = this.#state;
    this.#state = state;
    if (before.live !== state.live || before.retry_ms !== state.retry_ms || before.why !== state.why) this.onstate(state);
  }

  get state(): StreamState {
    return this.#state;
  }
}
