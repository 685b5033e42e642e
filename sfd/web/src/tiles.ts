// The picture: tiles of the level that the screen can show, and coarser ones in their place until they are there.

import { Container, ImageSource, Sprite, Texture } from "pixi.js";
import { api, ApiError, isAbort, messageOf } from "./api";
import { Lru } from "./lru";
import { districtRect, intersection, intersects, levelFor, levelMax, TILE, tileCells, tileRect, tilesIn, toBrick } from "./plane";
import type { Tile } from "./plane";
import type { Brick, Mode, Rect, Theme } from "./types";

/** Textures kept, 256 KiB each on the GPU: 96 MiB. A screen of 2560x1440 shows about 80 at once. */
const TEXTURES_MAX = 384;
/** Requests at once: a browser opens six connections to a host, and the stream of events keeps one. */
const REQUESTS_MAX = 5;
/** Textures given to the GPU in one frame: each costs about a millisecond there. */
const UPLOADS_A_FRAME = 4;
/** A tile is asked for again at most this often, however often it changes: five pictures a second look live. */
const RELOAD_MS_MIN = 200;
/** After a failure: 1 s, 2 s, 4 s, ... at most 15 s. */
const RETRY_MS_MAX = 15_000;

/** How the tiles are coloured; `since` is nanoseconds as text, or null. */
export interface Look {
  mode: Mode;
  theme: Theme;
  since: string | null;
}

interface Entry {
  brick: Brick;
  tile: Tile;
  sprite: Sprite;
  bitmap: ImageBitmap | null;
  /** The look of the texture, or "" while there is none. */
  look: string;
  /** Raised by each change; a texture is as new as the number it was asked for with. */
  version: number;
  loadedVersion: number;
  loading: AbortController | null;
  asked_ms: number;
  failures: number;
  retry_ms: number;
  /** The last frame that showed or wanted it. */
  seen: number;
}

interface Arrived {
  entry: Entry;
  bitmap: ImageBitmap;
  look: string;
  version: number;
}

export class TileLayer {
  readonly container = new Container();
  /** Called when there is something new to show. */
  onready: () => void = () => undefined;
  /** Called with what is wrong, and with null when tiles come again. */
  ontrouble: (why: string | null) => void = () => undefined;
  /** Called when the server says that there is no such tile: the brick is another one now. */
  onmissing: () => void = () => undefined;

  readonly #cache = new Lru<Entry>(TEXTURES_MAX, (entry) => this.#destroy(entry));
  readonly #districts = new Map<string, Container>();
  #bricks: Brick[] = [];
  #look: Look = { mode: "kind", theme: "light", since: null };
  #lookKey = "";
  #frame = 0;
  #queue: Entry[] = [];
  #inFlight = 0;
  #arrived: Arrived[] = [];
  #wakeup = 0;
  #inTrouble = false;
  /** Tiles fetched since the start, for the tests. */
  fetched = 0;

  get textures(): number {
    return this.#cache.size;
  }

  /** Nothing that the screen needs is on its way. */
  get settled(): boolean {
    return this.#inFlight === 0 && this.#queue.length === 0 && this.#arrived.length === 0;
  }

  setBricks(bricks: Brick[]): void {
    for (const old of this.#bricks) {
      const now = bricks.find((b) => b.name === old.name);
      if (now !== undefined && now.side === old.side) continue;
      for (const [key, entry] of [...this.#cache.entries()]) if (entry.brick.name === old.name) this.#cache.delete(key);
      this.#districts.get(old.name)?.destroy();
      this.#districts.delete(old.name);
    }
    for (const brick of bricks) {
      let district = this.#districts.get(brick.name);
      if (district === undefined) {
        district = new Container({ sortableChildren: true });
        this.#districts.set(brick.name, district);
        this.container.addChild(district);
      }
      district.position.set(brick.district.x, brick.district.y);
    }
    for (const [, entry] of this.#cache.entries()) {
      entry.brick = bricks.find((b) => b.name === entry.brick.name) ?? entry.brick;
    }
    this.#bricks = bricks;
  }

  setLook(look: Look): void {
    this.#look = look;
    this.#lookKey = `${look.mode}|${look.theme}|${look.since ?? ""}`;
  }

  /** What is in these rectangles of cells is not what it was. */
  invalidate(name: string, rects: readonly Rect[]): void {
    for (const [, entry] of this.#cache.entries()) {
      if (entry.brick.name !== name) continue;
      const rect = tileRect(entry.tile, entry.brick.side);
      if (rects.some((changed) => intersects(changed, rect))) entry.version += 1;
    }
  }

  /**
   * Chooses what to show for a view: `view` on the plane, `scale` device pixels for each cell. Asks for what is missing, the
   * middle of the view first.
   */
  update(view: Rect, scale: number): void {
    this.#frame += 1;
    for (const [, entry] of this.#cache.entries()) entry.sprite.visible = false;
    const missing: Entry[] = [];
    const old: Entry[] = [];
    for (const brick of this.#bricks) {
      const seen = intersection(districtRect(brick), view);
      if (seen.w <= 0 || seen.h <= 0) continue;
      // The whole brick in one tile is always there to fall back on.
      const base = this.#entry(brick, { z: 0, x: 0, y: 0 });
      if (base.look === "") missing.push(base);
      const z = levelFor(brick, scale);
      const wanted = tilesIn(toBrick(brick, seen), brick.side, z).map((tile) => this.#entry(brick, tile));
      wanted.sort((a, b) => this.#distance(a, view) - this.#distance(b, view));
      for (const entry of wanted) {
        this.#want(entry, missing, old);
        if (entry.look !== "") entry.sprite.visible = true;
        else this.#placeholders(entry);
      }
    }
    const queue = [...missing, ...old];
    for (const [, entry] of this.#cache.entries()) {
      if (entry.loading !== null && entry.seen !== this.#frame) entry.loading.abort();
    }
    this.#queue = queue;
    this.#cache.trim((entry) => entry.seen === this.#frame || entry.tile.z === 0);
    this.#pump();
  }

  /** Hands what has arrived to the GPU, a few at a time; true when the picture is another one. */
  admit(): boolean {
    const batch = this.#arrived.splice(0, UPLOADS_A_FRAME);
    for (const { entry, bitmap, look, version } of batch) {
      const gone = this.#cache.peek(keyOf(entry.brick.name, entry.tile)) !== entry;
      if (gone || look !== this.#lookKey) {
        bitmap.close();
        continue;
      }
      this.#dress(entry, bitmap);
      entry.look = look;
      entry.loadedVersion = version;
    }
    if (this.#arrived.length > 0) this.onready();
    return batch.length > 0;
  }

  #entry(brick: Brick, tile: Tile): Entry {
    const key = keyOf(brick.name, tile);
    const known = this.#cache.use(key);
    if (known !== undefined) {
      known.seen = this.#frame;
      return known;
    }
    const sprite = new Sprite({ texture: Texture.EMPTY, visible: false, zIndex: tile.z });
    const cells = tileCells(brick.side, tile.z);
    sprite.position.set(tile.x * cells, tile.y * cells);
    this.#districts.get(brick.name)?.addChild(sprite);
    const entry: Entry = {
      brick,
      tile,
      sprite,
      bitmap: null,
      look: "",
      version: 0,
      loadedVersion: -1,
      loading: null,
      asked_ms: 0,
      failures: 0,
      retry_ms: 0,
      seen: this.#frame,
    };
    this.#cache.set(key, entry);
    return entry;
  }

  #want(entry: Entry, missing: Entry[], old: Entry[]): void {
    if (entry.look === "") missing.push(entry);
    else if (entry.look !== this.#lookKey || entry.loadedVersion !== entry.version) old.push(entry);
  }

  /** Shows the nearest coarser tile that is there, and what is there of the next finer level above it. */
  #placeholders(entry: Entry): void {
    const { brick, tile } = entry;
    for (let up = 1; up <= tile.z; up++) {
      const parent = this.#cache.use(keyOf(brick.name, { z: tile.z - up, x: tile.x >> up, y: tile.y >> up }));
      if (parent === undefined || parent.look === "") continue;
      parent.seen = this.#frame;
      parent.sprite.visible = true;
      break;
    }
    for (let i = 0; i < 4; i++) {
      const tileBelow = { z: tile.z + 1, x: tile.x * 2 + (i & 1), y: tile.y * 2 + (i >> 1) };
      const child = this.#cache.use(keyOf(brick.name, tileBelow));
      if (child === undefined || child.look === "") continue;
      child.seen = this.#frame;
      child.sprite.visible = true;
    }
  }

  #distance(entry: Entry, view: Rect): number {
    const rect = tileRect(entry.tile, entry.brick.side);
    const x = rect.x + rect.w / 2 + entry.brick.district.x - view.x - view.w / 2;
    const y = rect.y + rect.h / 2 + entry.brick.district.y - view.y - view.h / 2;
    return x * x + y * y;
  }

  #pump(): void {
    const now = performance.now();
    let soonest = Infinity;
    const later: Entry[] = [];
    while (this.#inFlight < REQUESTS_MAX) {
      const entry = this.#queue.shift();
      if (entry === undefined) break;
      if (entry.loading !== null) continue;
      const due = Math.max(entry.retry_ms, entry.look === this.#lookKey ? entry.asked_ms + RELOAD_MS_MIN : 0);
      if (due > now) {
        soonest = Math.min(soonest, due);
        later.push(entry);
        continue;
      }
      void this.#load(entry);
    }
    this.#queue.push(...later);
    if (soonest < Infinity) {
      window.clearTimeout(this.#wakeup);
      this.#wakeup = window.setTimeout(() => this.#pump(), Math.max(10, soonest - now));
    }
  }

  async #load(entry: Entry): Promise<void> {
    const abort = new AbortController();
    const look = this.#lookKey;
    const version = entry.version;
    entry.loading = abort;
    entry.asked_ms = performance.now();
    this.#inFlight += 1;
    try {
      const { z, x, y } = entry.tile;
      const { mode, theme, since } = this.#look;
      const query = { mode, theme, ...(since === null ? {} : { since_ns: since }) };
      const response = await api.tile(entry.brick.name, z, x, y, query, abort.signal);
      const bitmap = await createImageBitmap(await response.blob(), { premultiplyAlpha: "none" });
      this.fetched += 1;
      entry.failures = 0;
      this.#arrived.push({ entry, bitmap, look, version });
      if (this.#inTrouble) {
        this.#inTrouble = false;
        this.ontrouble(null);
      }
    } catch (error) {
      if (!isAbort(error)) this.#failed(entry, error);
    } finally {
      entry.loading = null;
      this.#inFlight -= 1;
      this.onready();
    }
  }

  #failed(entry: Entry, error: unknown): void {
    entry.failures += 1;
    entry.retry_ms = performance.now() + Math.min(RETRY_MS_MAX, 500 * 2 ** entry.failures);
    this.#inTrouble = true;
    this.ontrouble(messageOf(error));
    if (error instanceof ApiError && (error.status === 404 || error.status === 400)) this.onmissing();
    window.setTimeout(() => this.onready(), entry.retry_ms - performance.now() + 20);
  }

  #dress(entry: Entry, bitmap: ImageBitmap): void {
    const finest = entry.tile.z === levelMax(entry.brick.order);
    const source = new ImageSource({
      resource: bitmap,
      alphaMode: "no-premultiply-alpha",
      // Cells have edges; what is coarser than cells is a mean and may be smooth.
      magFilter: finest ? "nearest" : "linear",
      minFilter: "linear",
      autoGarbageCollect: false,
    });
    const { texture } = entry.sprite;
    const cells = tileCells(entry.brick.side, entry.tile.z);
    entry.sprite.texture = new Texture({ source });
    entry.sprite.scale.set(cells / TILE);
    if (texture !== Texture.EMPTY) texture.destroy(true);
    entry.bitmap?.close();
    entry.bitmap = bitmap;
  }

  #destroy(entry: Entry): void {
    entry.loading?.abort();
    const { texture } = entry.sprite;
    entry.sprite.destroy();
    if (texture !== Texture.EMPTY) texture.destroy(true);
    entry.bitmap?.close();
    entry.bitmap = null;
  }
}

function keyOf(name: string, tile: Tile): string {
  return `${tile.z}/${tile.x}/${tile.y}/${name}`;
}
