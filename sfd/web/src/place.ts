// Which names fit on the screen, and where. Pure: rectangles and text widths in, positions out, all in CSS pixels.

import { intersection, intersects } from "./plane";
import type { Rect } from "./types";

/** At most this many names at once: more than a person reads, and each costs the browser a line of text. */
export const NAMES_MAX = 140;

export interface Candidate {
  key: string;
  text: string;
  /** Districts come first, then directories by size, then files by size. */
  rank: "district" | "dir" | "file";
  /** Where the thing is on the screen. */
  rect: Rect;
  /** It was shown a moment ago: it stays rather than that another takes its place. */
  shown: boolean;
}

export interface Placed {
  key: string;
  text: string;
  rank: Candidate["rank"];
  x: number;
  y: number;
  w: number;
}

export const LINE_HEIGHT: Record<Candidate["rank"], number> = { district: 26, dir: 19, file: 17 };
/** On both sides of a name together. */
const PADDING = 10;
/** Between two names. */
const GAP = 3;
/** Names are not shortened below this many characters. */
const CHARS_MIN = 5;
/** Files need this many pixels on the shorter side before their names are worth reading. */
const FILE_SIDE_MIN = 26;
const DIR_SIDE_MIN = 34;
/** A district is named as soon as it is more than a dot. */
const DISTRICT_SIDE_MIN = 4;
/** The name of a directory may reach this far from its left edge, out of it if need be: "trust…d/" says nothing. */
const DIR_ROOM_MIN = 120;

/** The width of a text, in pixels. */
export type Measure = (text: string, rank: Candidate["rank"]) => number;

export function place(candidates: readonly Candidate[], screen: Rect, measure: Measure): Placed[] {
  const taken = new Grid(screen);
  const out: Placed[] = [];
  for (const candidate of [...candidates].sort(byWeight)) {
    if (out.length >= NAMES_MAX) break;
    const placed = placeOne(candidate, screen, measure, taken);
    if (placed === null) continue;
    taken.add({ x: placed.x, y: placed.y, w: placed.w, h: LINE_HEIGHT[placed.rank] });
    out.push(placed);
  }
  return out;
}

const ORDER: Record<Candidate["rank"], number> = { district: 0, dir: 1, file: 2 };

function weight(candidate: Candidate): number {
  return candidate.rect.w * candidate.rect.h * (candidate.shown ? 1.5 : 1);
}

function byWeight(a: Candidate, b: Candidate): number {
  return ORDER[a.rank] - ORDER[b.rank] || weight(b) - weight(a) || (a.key < b.key ? -1 : 1);
}

function placeOne(candidate: Candidate, screen: Rect, measure: Measure, taken: Grid): Placed | null {
  const { rank, rect, key } = candidate;
  const height = LINE_HEIGHT[rank];
  if (rank === "district") {
    const w = measure(candidate.text, rank) + PADDING;
    // Above its district; while that is above the screen's edge, at the edge.
    const seen = intersection(rect, screen);
    if (seen.w < DISTRICT_SIDE_MIN || seen.h < DISTRICT_SIDE_MIN) return null;
    // Deep inside, the bar names it.
    if (seen.w >= screen.w && seen.h >= screen.h) return null;
    const y = Math.max(rect.y - height - 2, screen.y + 4);
    const x = Math.max(rect.x, screen.x + 4);
    return fits({ x, y, w, h: height }, taken) ? { key, text: candidate.text, rank, x, y, w } : null;
  }
  const seen = intersection(rect, screen);
  const side = rank === "dir" ? DIR_SIDE_MIN : FILE_SIDE_MIN;
  if (Math.min(seen.w, seen.h) < side) return null;
  // What is all around says nothing here; the line at the top names it.
  if (rank === "dir" && seen.w >= screen.w && seen.h >= screen.h) return null;
  const room = Math.max(seen.w - 6, rank === "dir" ? DIR_ROOM_MIN : 0);
  const text = shorten(candidate.text, Math.min(room, screen.x + screen.w - seen.x - 6) - PADDING, (t) => measure(t, rank));
  if (text === null) return null;
  const w = measure(text, rank) + PADDING;
  for (const [x, y] of spots(rank, seen, w, height)) {
    if (fits({ x, y, w, h: height }, taken)) return { key, text, rank, x, y, w };
  }
  return null;
}

function spots(rank: Candidate["rank"], seen: Rect, w: number, h: number): [number, number][] {
  const middle: [number, number] = [seen.x + Math.max(3, (seen.w - w) / 2), seen.y + (seen.h - h) / 2];
  if (rank === "file") return [middle];
  return [
    [seen.x + 3, seen.y + 3],
    [middle[0], seen.y + 3],
    middle,
    [seen.x + 3, seen.y + seen.h - h - 3],
  ];
}

function fits(rect: Rect, taken: Grid): boolean {
  return !taken.hits({ x: rect.x - GAP, y: rect.y - GAP, w: rect.w + 2 * GAP, h: rect.h + 2 * GAP });
}

/** The text, or its beginning and end around an ellipsis, in `room` pixels; null when hardly anything would be left. */
export function shorten(text: string, room: number, width: (text: string) => number): string | null {
  if (width(text) <= room) return text;
  const chars = Array.from(text);
  let low = 0;
  let high = chars.length - 1;
  const cut = (n: number): string => {
    const head = Math.ceil(n * 0.6);
    const tail = n - head;
    return `${chars.slice(0, head).join("")}…${tail > 0 ? chars.slice(-tail).join("") : ""}`;
  };
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (width(cut(middle)) <= room) low = middle;
    else high = middle - 1;
  }
  return low >= CHARS_MIN ? cut(low) : null;
}

/** Rectangles by the 64-pixel squares of the screen that they touch, so that a test looks at few. */
class Grid {
  static readonly #SIDE = 64;
  readonly #cells = new Map<number, Rect[]>();
  readonly #screen: Rect;

  constructor(screen: Rect) {
    this.#screen = screen;
  }

  add(rect: Rect): void {
    for (const key of this.#keys(rect)) {
      const list = this.#cells.get(key);
      if (list === undefined) this.#cells.set(key, [rect]);
      else list.push(rect);
    }
  }

  hits(rect: Rect): boolean {
    for (const key of this.#keys(rect)) {
      if (this.#cells.get(key)?.some((other) => intersects(rect, other))) return true;
    }
    return false;
  }

  *#keys(rect: Rect): Generator<number> {
    const side = Grid.#SIDE;
    const column = (v: number): number => Math.floor((v - this.#screen.x) / side) + 8;
    const row = (v: number): number => Math.floor((v - this.#screen.y) / side) + 8;
    for (let y = row(rect.y); y <= row(rect.y + rect.h); y++) {
      for (let x = column(rect.x); x <= column(rect.x + rect.w); x++) yield y * 4096 + x;
    }
  }
}
