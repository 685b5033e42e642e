// What is drawn over the picture and keeps its thickness at any zoom: frames of districts, outlines, pulses.

import { Graphics } from "pixi.js";
import type { Camera } from "./camera";
import { districtRect, intersects } from "./plane";
import type { Brick, Rect } from "./types";

/** A pulse is seen this long. */
const PULSE_MS = 2_400;
/** At most this many at once; the oldest go first. What changes faster is a burst, which the list counts. */
const PULSES_MAX = 96;
/** Small things pulse as something of this many pixels: they are seen from far away, too. */
const PULSE_SIDE_MIN = 18;

interface Pulse {
  rect: Rect;
  start_ms: number;
}

/** Colours that stand out from every palette: both are drawn, one around the other. */
export interface Ink {
  line: number;
  halo: number;
  frame: number;
  pulse: number;
}

export class Overlay {
  readonly graphics = new Graphics();
  ink: Ink = { line: 0x000000, halo: 0xffffff, frame: 0x888888, pulse: 0xff3d7f };
  hover: Rect | null = null;
  selected: Rect | null = null;
  /** Directories whose names are on the screen, on the plane. */
  directories: Rect[] = [];
  /** Files that are large enough for an outline, on the plane. */
  files: Rect[] = [];
  #pulses: Pulse[] = [];

  pulse(rects: readonly Rect[]): void {
    const start_ms = performance.now();
    for (const rect of rects) this.#pulses.push({ rect, start_ms });
    if (this.#pulses.length > PULSES_MAX) this.#pulses.splice(0, this.#pulses.length - PULSES_MAX);
  }

  get pulsing(): boolean {
    return this.#pulses.length > 0;
  }

  draw(camera: Camera, bricks: readonly Brick[]): void {
    const g = this.graphics.clear();
    const screen: Rect = { x: 0, y: 0, w: camera.viewport.screenWidth, h: camera.viewport.screenHeight };
    const outline = (rect: Rect, by: number, width: number, color: number, alpha = 1): void => {
      const { x, y, w, h } = clip(rect, screen);
      g.rect(Math.round(x) - by, Math.round(y) - by, Math.round(w) + 2 * by, Math.round(h) + 2 * by);
      g.stroke({ width, color, alpha, alignment: 0.5 });
    };
    for (const brick of bricks) {
      const rect = camera.toScreen(districtRect(brick));
      if (intersects(rect, screen)) outline(rect, 0.5, 1, this.ink.frame);
    }
    for (const file of this.files) {
      const rect = camera.toScreen(file);
      if (intersects(rect, screen)) g.rect(Math.round(rect.x) + 0.5, Math.round(rect.y) + 0.5, Math.round(rect.w), Math.round(rect.h));
    }
    // One path: five hundred strokes of their own would cost a frame.
    if (this.files.length > 0) g.stroke({ width: 1, color: this.ink.line, alpha: 0.22, alignment: 0.5 });
    for (const directory of this.directories) {
      const rect = camera.toScreen(directory);
      if (!intersects(rect, screen)) continue;
      outline(rect, 0.5, 1, this.ink.halo, 0.35);
      outline(rect, -0.5, 1, this.ink.line, 0.35);
    }
    if (this.hover !== null) {
      outline(camera.toScreen(this.hover), 1.5, 3, this.ink.halo, 0.8);
      outline(camera.toScreen(this.hover), 1.5, 1, this.ink.line);
    }
    if (this.selected !== null) {
      outline(camera.toScreen(this.selected), 2.5, 5, this.ink.halo, 0.9);
      outline(camera.toScreen(this.selected), 2.5, 2, this.ink.line);
    }
    this.#drawPulses(camera, screen);
  }

  #drawPulses(camera: Camera, screen: Rect): void {
    const now = performance.now();
    this.#pulses = this.#pulses.filter((pulse) => now - pulse.start_ms < PULSE_MS);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    for (const pulse of this.#pulses) {
      const rect = camera.toScreen(pulse.rect);
      if (!intersects({ x: rect.x - 40, y: rect.y - 40, w: rect.w + 80, h: rect.h + 80 }, screen)) continue;
      const grow = (least: number): Rect => {
        const w = Math.max(rect.w, least);
        const h = Math.max(rect.h, least);
        return { x: rect.x + rect.w / 2 - w / 2, y: rect.y + rect.h / 2 - h / 2, w, h };
      };
      const t = (now - pulse.start_ms) / PULSE_MS;
      const core = clip(grow(PULSE_SIDE_MIN), screen);
      this.graphics
        .rect(core.x, core.y, core.w, core.h)
        .fill({ color: this.ink.pulse, alpha: 0.35 * (1 - t) })
        .stroke({ width: 2, color: this.ink.pulse, alpha: 1 - t });
      if (still) continue;
      // Two rings, one after the other.
      for (const phase of [t * 2, t * 2 - 0.5]) {
        if (phase <= 0 || phase >= 1) continue;
        const reach = 34 * phase;
        this.graphics
          .roundRect(core.x - reach, core.y - reach, core.w + 2 * reach, core.h + 2 * reach, 4 + reach / 2)
          .stroke({ width: 2.5, color: this.ink.pulse, alpha: 0.8 * (1 - phase) });
      }
    }
  }
}

/** The rectangle cut off well outside of the screen: huge numbers lose their last digits on a GPU. */
function clip(rect: Rect, screen: Rect): Rect {
  const far = 200;
  const x = Math.max(rect.x, screen.x - far);
  const y = Math.max(rect.y, screen.y - far);
  return {
    x,
    y,
    w: Math.min(rect.x + rect.w, screen.x + screen.w + far) - x,
    h: Math.min(rect.y + rect.h, screen.y + screen.h + far) - y,
  };
}
