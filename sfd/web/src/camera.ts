// Where one looks: pixi-viewport for drag, wheel and pinch; flights and keys on top of it.

import type { Container, EventSystem } from "pixi.js";
import { Viewport } from "pixi-viewport";
import { eased, flight } from "./flight";
import type { Flight, View } from "./flight";
import { union } from "./plane";
import type { Rect } from "./types";

/** A cell is never wider than this many CSS pixels: a byte then fills a fingertip. */
export const SCALE_MAX = 48;
/** Seen from furthest away, everything takes at least this part of the screen. */
const WHOLE_PART_MIN = 0.35;
/** The part of the screen's width that a held arrow key moves in a second. */
const PAN_A_SECOND = 0.9;
/** A held + or - doubles or halves this many times in a second. */
const ZOOM_A_SECOND = 2.2;

export interface Insets {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

export class Camera {
  readonly viewport: Viewport;
  /** What floats over the map at its edges, in CSS pixels: flights put their goal into the middle of the rest. */
  insets: Insets = { left: 0, right: 0, top: 0, bottom: 0 };
  readonly #held = new Set<string>();
  #flight: { path: Flight; start_ms: number } | null = null;
  #world: Rect = { x: 0, y: 0, w: 1, h: 1 };
  #moved = true;

  constructor(events: EventSystem, content: Container) {
    this.viewport = new Viewport({ events, noTicker: true, disableOnContextMenu: true, passiveWheel: false });
    this.viewport.addChild(content);
    this.viewport.drag().pinch().wheel({ smooth: 6, percent: 0.15 }).decelerate({ friction: 0.93 });
    const stop = (): void => {
      this.#flight = null;
    };
    for (const event of ["drag-start", "pinch-start", "wheel-start"] as const) this.viewport.on(event, stop);
    this.viewport.on("moved", () => (this.#moved = true));
    this.viewport.on("wheel-start", stop);
  }

  get scale(): number {
    return this.viewport.scale.x;
  }

  /** What is seen, on the plane. */
  get view(): Rect {
    const { left, top, worldScreenWidth, worldScreenHeight } = this.viewport;
    return { x: left, y: top, w: worldScreenWidth, h: worldScreenHeight };
  }

  resize(width: number, height: number): void {
    const { x, y } = this.viewport.center;
    this.viewport.resize(width, height, this.#world.w, this.#world.h);
    this.viewport.moveCenter(x, y);
    this.#clamp();
    this.#moved = true;
  }

  /** Everything there is; one cannot get lost outside of it. */
  setWorld(rects: readonly Rect[]): void {
    this.#world = union(rects) ?? { x: 0, y: 0, w: 256, h: 256 };
    this.#clamp();
    this.#moved = true;
  }

  #clamp(): void {
    const { screenWidth, screenHeight } = this.viewport;
    const { x, y, w, h } = this.#world;
    const smallest = Math.min(screenWidth / w, screenHeight / h) * WHOLE_PART_MIN;
    this.viewport.clampZoom({ minScale: Math.min(smallest, SCALE_MAX / 2), maxScale: SCALE_MAX });
    // The middle of the screen stays over the world.
    const slackX = w / 2;
    const slackY = h / 2;
    this.viewport.clamp({
      left: x - Math.max(slackX, screenWidth),
      right: x + w + Math.max(slackX, screenWidth),
      top: y - Math.max(slackY, screenHeight),
      bottom: y + h + Math.max(slackY, screenHeight),
      underflow: "none",
    });
  }

  toScreen(rect: Rect): Rect {
    const { scale, view } = this;
    return { x: (rect.x - view.x) * scale, y: (rect.y - view.y) * scale, w: rect.w * scale, h: rect.h * scale };
  }

  toPlane(x: number, y: number): { x: number; y: number } {
    return { x: this.view.x + x / this.scale, y: this.view.y + y / this.scale };
  }

  /** The view that shows `rect` with a margin, in the part of the screen that nothing covers. */
  viewOf(rect: Rect, margin: number, scaleMax = SCALE_MAX): View {
    const { screenWidth, screenHeight } = this.viewport;
    const { left, right, top, bottom } = this.insets;
    const width = Math.max(80, screenWidth - left - right);
    const height = Math.max(80, screenHeight - top - bottom);
    const fit = Math.min(width / rect.w, height / rect.h) * (1 - margin);
    const scale = Math.min(fit, scaleMax);
    return {
      x: rect.x + rect.w / 2 + (right - left) / 2 / scale,
      y: rect.y + rect.h / 2 + (bottom - top) / 2 / scale,
      w: screenWidth / scale,
    };
  }

  jump(view: View): void {
    this.#flight = null;
    this.viewport.plugins.get("decelerate")?.reset();
    this.#set(view);
  }

  fly(view: View): void {
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
      this.jump(view);
      return;
    }
    const { x, y } = this.viewport.center;
    this.viewport.plugins.get("decelerate")?.reset();
    const from = { x, y, w: this.viewport.worldScreenWidth };
    this.#flight = { path: flight(from, view), start_ms: performance.now() };
  }

  get flying(): boolean {
    return this.#flight !== null;
  }

  hold(key: string): void {
    this.#flight = null;
    this.#held.add(key);
  }

  release(key?: string): void {
    if (key === undefined) this.#held.clear();
    else this.#held.delete(key);
  }

  /** Zooms around the middle of what nothing covers. */
  zoomBy(factor: number): void {
    const { x, y } = this.viewport.center;
    this.fly({ x, y, w: this.viewport.screenWidth / this.#clampScale(this.scale * factor) });
  }

  /** Moves on by `dt_ms`; true when the view is another one than a frame ago. */
  frame(dt_ms: number): boolean {
    const seconds = Math.min(dt_ms, 100) / 1000;
    if (this.#flight !== null) {
      const t = (performance.now() - this.#flight.start_ms) / this.#flight.path.duration_ms;
      this.#set(this.#flight.path.at(eased(Math.min(1, t))));
      if (t >= 1) this.#flight = null;
    }
    this.#keys(seconds);
    this.viewport.update(Math.min(dt_ms, 100));
    const moved = this.#moved || this.viewport.dirty;
    this.viewport.dirty = false;
    this.#moved = false;
    return moved;
  }

  /** Something goes on moving by itself. */
  get busy(): boolean {
    return this.#flight !== null || this.#held.size > 0;
  }

  #keys(seconds: number): void {
    if (this.#held.size === 0) return;
    const step = this.viewport.worldScreenWidth * PAN_A_SECOND * seconds;
    const sign = (plus: string, minus: string): number => Number(this.#held.has(plus)) - Number(this.#held.has(minus));
    const { x, y } = this.viewport.center;
    const zoom = 2 ** (sign("+", "-") * ZOOM_A_SECOND * seconds);
    this.#set({
      x: x + sign("ArrowRight", "ArrowLeft") * step,
      y: y + sign("ArrowDown", "ArrowUp") * step,
      w: this.viewport.screenWidth / this.#clampScale(this.scale * zoom),
    });
  }

  #clampScale(scale: number): number {
    const { screenWidth, screenHeight } = this.viewport;
    const smallest = Math.min(screenWidth / this.#world.w, screenHeight / this.#world.h) * WHOLE_PART_MIN;
    return Math.min(SCALE_MAX, Math.max(Math.min(smallest, SCALE_MAX / 2), scale));
  }

  #set(view: View): void {
    this.viewport.setZoom(this.viewport.screenWidth / view.w, false);
    this.viewport.moveCenter(view.x, view.y);
    this.#moved = true;
  }
}
