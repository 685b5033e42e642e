// The plane: every brick has its district on it. A unit is one cell; arithmetic only.

import type { Brick, Rect } from "./types";

/** Tiles have this many texels on a side. */
export const TILE = 256;

/** The finest level that the server makes: one cell is one texel. */
export function levelMax(order: number): number {
  return Math.max(0, order - 8);
}

/** Cells along one side of a tile of level `z`. */
export function tileCells(side: number, z: number): number {
  return side / 2 ** z;
}

/**
 * The level to show where a cell is `scale` device pixels wide. A texel is then between 0.66 and 1.32 pixels, and larger only
 * beyond the finest level: finer tiles would be four times as many, for nothing that a screen shows.
 */
export function levelFor(brick: Pick<Brick, "order" | "side">, scale: number): number {
  const wanted = Math.ceil(Math.log2((brick.side * scale) / TILE) - 0.4);
  return Math.min(Math.max(wanted, 0), levelMax(brick.order));
}

export interface Tile {
  z: number;
  x: number;
  y: number;
}

/** The tiles of level `z` that a rectangle of cells touches. */
export function tilesIn(rect: Rect, side: number, z: number): Tile[] {
  const cells = tileCells(side, z);
  const last = 2 ** z - 1;
  const x0 = Math.max(0, Math.floor(rect.x / cells));
  const y0 = Math.max(0, Math.floor(rect.y / cells));
  const x1 = Math.min(last, Math.ceil((rect.x + rect.w) / cells) - 1);
  const y1 = Math.min(last, Math.ceil((rect.y + rect.h) / cells) - 1);
  const tiles: Tile[] = [];
  for (let y = y0; y <= y1; y++) for (let x = x0; x <= x1; x++) tiles.push({ z, x, y });
  return tiles;
}

export function tileRect(tile: Tile, side: number): Rect {
  const cells = tileCells(side, tile.z);
  return { x: tile.x * cells, y: tile.y * cells, w: cells, h: cells };
}

export function intersects(a: Rect, b: Rect): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

/** The common part, which may have no width or height. */
export function intersection(a: Rect, b: Rect): Rect {
  const x = Math.max(a.x, b.x);
  const y = Math.max(a.y, b.y);
  return {
    x,
    y,
    w: Math.max(0, Math.min(a.x + a.w, b.x + b.w) - x),
    h: Math.max(0, Math.min(a.y + a.h, b.y + b.h) - y),
  };
}

/** The smallest rectangle around all of them; null for none. */
export function union(rects: readonly Rect[]): Rect | null {
  const [first, ...rest] = rects;
  if (first === undefined) return null;
  let { x, y } = first;
  let right = x + first.w;
  let bottom = y + first.h;
  for (const rect of rest) {
    x = Math.min(x, rect.x);
    y = Math.min(y, rect.y);
    right = Math.max(right, rect.x + rect.w);
    bottom = Math.max(bottom, rect.y + rect.h);
  }
  return { x, y, w: right - x, h: bottom - y };
}

export function districtRect(brick: Pick<Brick, "district" | "side">): Rect {
  return { x: brick.district.x, y: brick.district.y, w: brick.side, h: brick.side };
}

/** A rectangle of cells of a brick, on the plane. */
export function toPlane(brick: Pick<Brick, "district">, rect: Rect): Rect {
  return { x: rect.x + brick.district.x, y: rect.y + brick.district.y, w: rect.w, h: rect.h };
}

/** A rectangle of the plane, in cells of a brick; it may reach out of it. */
export function toBrick(brick: Pick<Brick, "district">, rect: Rect): Rect {
  return { x: rect.x - brick.district.x, y: rect.y - brick.district.y, w: rect.w, h: rect.h };
}

/** The brick and the cell at a point of the plane. */
export function cellAt<B extends Pick<Brick, "district" | "side">>(
  bricks: readonly B[],
  x: number,
  y: number,
): { brick: B; x: number; y: number } | null {
  for (const brick of bricks) {
    const cx = Math.floor(x - brick.district.x);
    const cy = Math.floor(y - brick.district.y);
    if (cx >= 0 && cy >= 0 && cx < brick.side && cy < brick.side) return { brick, x: cx, y: cy };
  }
  return null;
}

/** The nodes of level `z` whose hashes differ, as rectangles of cells. Lists of different length differ everywhere. */
export function changedNodes(before: readonly string[], after: readonly string[], z: number, side: number): Rect[] {
  if (before.length !== after.length) return [{ x: 0, y: 0, w: side, h: side }];
  const n = 2 ** z;
  const cells = side / n;
  const out: Rect[] = [];
  for (let i = 0; i < after.length; i++) {
    if (before[i] === after[i]) continue;
    out.push({ x: (i % n) * cells, y: Math.floor(i / n) * cells, w: cells, h: cells });
  }
  return out;
}

/** Where on the curve a cell is (see docs/brick-format.md). */
export function curveIndex(order: number, x: number, y: number): number {
  let d = 0;
  for (let s = 2 ** (order - 1); s >= 1; s /= 2) {
    const rx = Math.floor(x / s) % 2;
    const ry = Math.floor(y / s) % 2;
    d += s * s * ((3 * rx) ^ ry);
    x %= s;
    y %= s;
    if (ry === 0) {
      if (rx === 1) {
        x = s - 1 - x;
        y = s - 1 - y;
      }
      [x, y] = [y, x];
    }
  }
  return d;
}
