// Names on the map: asked for as one looks, and put on the screen as lines of text in screen space, so that they are
// crisp at any zoom.

import { api, isAbort } from "./api";
import type { Camera } from "./camera";
import { h } from "./dom";
import { keyOf, shown } from "./paths";
import { place } from "./place";
import type { Candidate, Placed } from "./place";
import { districtRect, intersection, toBrick, toPlane } from "./plane";
import type { Brick, Label, Rect } from "./types";

/** Things with a shorter side of fewer CSS pixels are not asked for: their names would not fit. */
const SIDE_MIN = 24;
/** Labels asked for in one brick: a screen of squares of 26 pixels has more, but their names are at most 140. */
const LABELS_MAX = 500;
/** Between two requests about one brick, in milliseconds. */
const ASK_MS_MIN = 150;
/** What is around the screen is asked for, too, so that a small move needs no request: this part of its size on each side. */
const MARGIN = 0.3;

interface Known {
  rect: Rect;
  min: number;
  /** Something came, went or moved since. */
  stale: boolean;
  labels: Label[];
  loading: AbortController | null;
  asked_ms: number;
  failures: number;
}

export class Names {
  /** Called when names have come. */
  onready: () => void = () => undefined;
  readonly #layer: HTMLElement;
  readonly #known = new Map<string, Known>();
  readonly #elements = new Map<string, HTMLElement>();
  #pool: HTMLElement[] = [];
  #widths = new Map<string, number>();
  readonly #context = document.createElement("canvas").getContext("2d");
  #placed: Placed[] = [];
  #origin = { x: 0, y: 0, scale: 0 };
  /** The directories whose names are on the screen, on the plane. */
  directories: Rect[] = [];
  /** Files that are large enough on the screen to be told apart by an outline, on the plane. */
  files: Rect[] = [];

  constructor(layer: HTMLElement) {
    this.#layer = layer;
  }

  /** What is known of a brick may be wrong now. */
  forget(brick?: string): void {
    for (const [name, known] of this.#known) if (brick === undefined || name === brick) known.stale = true;
  }

  get settled(): boolean {
    return [...this.#known.values()].every((known) => known.loading === null);
  }

  /** Asks for names that the view needs and that are not there. */
  ask(camera: Camera, bricks: readonly Brick[]): void {
    const { view, scale } = camera;
    for (const brick of bricks) {
      const whole = { x: 0, y: 0, w: brick.side, h: brick.side };
      const local = toBrick(brick, view);
      const seen = intersection(local, whole);
      if (seen.w <= 0 || seen.h <= 0) continue;
      const min = Math.max(1, Math.floor(SIDE_MIN / scale));
      const known = this.#known.get(brick.name);
      if (known !== undefined) {
        const covers = intersection(seen, known.rect);
        const enough = covers.w >= seen.w && covers.h >= seen.h && known.min <= min * 1.15 && known.min >= min * 0.55;
        if (enough && !known.stale) continue;
        const wait = known.asked_ms + ASK_MS_MIN * 2 ** Math.min(known.failures, 6) - performance.now();
        if (known.loading !== null || wait > 0) {
          if (known.loading === null) window.setTimeout(this.onready, wait + 5);
          continue;
        }
      }
      const margin = { w: local.w * MARGIN, h: local.h * MARGIN };
      const rect = intersection(
        { x: local.x - margin.w, y: local.y - margin.h, w: local.w + 2 * margin.w, h: local.h + 2 * margin.h },
        whole,
      );
      void this.#load(brick, outward(rect), Math.max(1, Math.floor(min * 0.8)));
    }
  }

  async #load(brick: Brick, rect: Rect, min: number): Promise<void> {
    const abort = new AbortController();
    let known = this.#known.get(brick.name);
    if (known === undefined) {
      known = { rect: { x: 0, y: 0, w: 0, h: 0 }, min: 0, stale: true, labels: [], loading: null, asked_ms: 0, failures: 0 };
      this.#known.set(brick.name, known);
    }
    known.loading = abort;
    known.asked_ms = performance.now();
    known.stale = false;
    try {
      const { labels } = await api.labels(brick.name, rect, min, LABELS_MAX, abort.signal);
      Object.assign(known, { rect, min, labels, failures: 0 });
    } catch (error) {
      // Names are not worth a banner: the tiles and the stream say it when the daemon is gone.
      known.stale = true;
      if (!isAbort(error)) known.failures += 1;
    } finally {
      known.loading = null;
      this.onready();
    }
  }

  /** Puts names where they fit. */
  layout(camera: Camera, bricks: readonly Brick[], inset: { top: number }): void {
    const screen: Rect = {
      x: 0,
      y: inset.top,
      w: camera.viewport.screenWidth,
      h: camera.viewport.screenHeight - inset.top,
    };
    const before = new Set(this.#placed.map((p) => p.key));
    const rects = new Map<string, Rect>();
    const candidates: Candidate[] = [];
    const looks = new Map<string, Label>();
    this.files = [];
    for (const brick of bricks) {
      const key = `district:${brick.name}`;
      const rect = camera.toScreen(districtRect(brick));
      const closed = brick.closed === null ? "" : " (closed)";
      candidates.push({ key, text: shown(brick.root) + closed, rank: "district", rect, shown: before.has(key) });
      for (const label of this.#known.get(brick.name)?.labels ?? []) {
        if (label.path === brick.root) continue;
        const labelKey = `${brick.name}:${keyOf(label)}`;
        const plane = toPlane(brick, label);
        const rank = label.type === "dir" ? "dir" : "file";
        if (rank === "file") this.files.push(plane);
        candidates.push({
          key: labelKey,
          text: shown(label.name) + (rank === "dir" ? "/" : ""),
          rank,
          rect: camera.toScreen(plane),
          shown: before.has(labelKey),
        });
        rects.set(labelKey, plane);
        looks.set(labelKey, label);
      }
    }
    this.#placed = place(candidates, screen, (text, rank) => this.#width(text, rank));
    this.directories = this.#placed.flatMap((p) => (p.rank === "dir" ? [rects.get(p.key) ?? []].flat() : []));
    this.#show(looks);
    this.#origin = { x: camera.view.x, y: camera.view.y, scale: camera.scale };
    this.#layer.style.transform = "";
  }

  /** Moves what is there with the picture: cheap, for the frames between two layouts. False when that is not possible. */
  follow(camera: Camera): boolean {
    if (camera.scale !== this.#origin.scale) return false;
    const x = (this.#origin.x - camera.view.x) * camera.scale;
    const y = (this.#origin.y - camera.view.y) * camera.scale;
    if (Math.abs(x) > 48 || Math.abs(y) > 48) return false;
    this.#layer.style.transform = `translate(${Math.round(x)}px, ${Math.round(y)}px)`;
    return true;
  }

  /** The directory that one looks into: the smallest known one that fills most of the view around its middle. */
  here(camera: Camera, bricks: readonly Brick[]): string {
    const { view } = camera;
    const middle = { x: view.x + view.w / 2, y: view.y + view.h / 2, w: 0, h: 0 };
    let best = "";
    let bestSize = Infinity;
    for (const brick of bricks) {
      if (!covers(districtRect(brick), middle)) continue;
      best = brick.root;
      for (const label of this.#known.get(brick.name)?.labels ?? []) {
        const rect = toPlane(brick, label);
        const size = rect.w * rect.h;
        if (label.type !== "dir" || size >= bestSize || !covers(rect, middle)) continue;
        const seen = intersection(rect, view);
        if (seen.w * seen.h < view.w * view.h * 0.5) continue;
        best = label.path;
        bestSize = size;
      }
    }
    return best;
  }

  /** What is on the screen, for the tests. */
  get texts(): string[] {
    return this.#placed.map((p) => p.text);
  }

  #show(looks: Map<string, Label>): void {
    const wanted = new Set(this.#placed.map((p) => p.key));
    for (const [key, element] of this.#elements) {
      if (wanted.has(key)) continue;
      element.hidden = true;
      this.#pool.push(element);
      this.#elements.delete(key);
    }
    for (const placed of this.#placed) {
      let element = this.#elements.get(placed.key);
      if (element === undefined) {
        element = this.#pool.pop();
        if (element === undefined) {
          element = h("div");
          this.#layer.appendChild(element);
        }
        this.#elements.set(placed.key, element);
        element.hidden = false;
      }
      const look = looks.get(placed.key);
      const classes = ["name", `name-${placed.rank}`];
      if (look !== undefined && look.risk >= 2) classes.push(`name-risk-${look.risk}`);
      if (look?.redacted === true) classes.push("name-redacted");
      const className = classes.join(" ");
      if (element.className !== className) element.className = className;
      if (element.textContent !== placed.text) element.textContent = placed.text;
      element.style.transform = `translate(${Math.round(placed.x)}px, ${Math.round(placed.y)}px)`;
    }
  }

  #width(text: string, rank: Candidate["rank"]): number {
    const key = `${rank}${text}`;
    let width = this.#widths.get(key);
    if (width === undefined) {
      if (this.#context === null) return text.length * 7;
      this.#context.font = FONTS[rank];
      width = this.#context.measureText(text).width;
      if (this.#widths.size > 20_000) this.#widths.clear();
      this.#widths.set(key, width);
    }
    return width;
  }
}

/** As in map.css. */
const FAMILY = 'system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif';
const FONTS: Record<Candidate["rank"], string> = {
  district: `650 16px ${FAMILY}`,
  dir: `600 12px ${FAMILY}`,
  file: `500 11.5px ${FAMILY}`,
};

function covers(outer: Rect, inner: Rect): boolean {
  return (
    outer.x <= inner.x && outer.y <= inner.y && outer.x + outer.w >= inner.x + inner.w && outer.y + outer.h >= inner.y + inner.h
  );
}

function outward(rect: Rect): Rect {
  const x = Math.max(0, Math.floor(rect.x));
  const y = Math.max(0, Math.floor(rect.y));
  return { x, y, w: Math.ceil(rect.x + rect.w) - x, h: Math.ceil(rect.y + rect.h) - y };
}
