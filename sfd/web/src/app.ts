// The map as a whole: what it knows, and who is told of what.

import type { Renderer } from "pixi.js";
import { Container } from "pixi.js";
import { api, ApiError, areaOf, messageOf, usedPart } from "./api";
import type { Bar } from "./bar";
import { Camera } from "./camera";
import { CatchUp } from "./catchup";
import { byId } from "./dom";
import { Hover } from "./hover";
import { Legend } from "./legend";
import { Names } from "./names";
import { coverEmpty, notWatched, showBanner } from "./notices";
import { Overlay } from "./overlay";
import type { Ink } from "./overlay";
import { Panel } from "./panel";
import { brickOfPath, hashOf, keyOf, pathOfHash } from "./paths";
import { cellAt, districtRect, intersects, toPlane, union } from "./plane";
import { Recent } from "./recent";
import { Stream } from "./stream";
import { TileLayer } from "./tiles";
import { TimeBar } from "./timebar";
import { Tree } from "./tree";
import type { Brick, Bricks, Burst, Change, Mode, Palette, PathRef, Rect, StreamEvent, Theme } from "./types";
import { MODES } from "./types";

/** Changes that came while nobody was here: as many as the list keeps. */
const HISTORY_FIRST = 200;
/** The list of changes is written anew this often, however many come. */
const LIST_MS = 250;
/** The panel reads its artifact again when it rests this long after a change. */
const PANEL_REST_MS = 120;
/** The colours of age, and what changed since a moment of which the distance is shown, are made anew this often. */
const AGE_MS = 60_000;
/** Where nothing but a pulse moves, 25 pictures a second are enough. */
const PULSE_FRAME_MS = 40;
/** Without a graphics card a picture takes longer than this; then pulses rest four times as long as one took, so that what
    changed is not kept waiting by its own pulse. */
const FRAME_MS_SLOW = 34;
const PULSE_REST = 4;
/** Around what a flight goes to, on the screen. */
const MARGIN = 0.3;
/** A small file is shown with what is around it, not as large as the screen. */
const FLY_SCALE_MAX = 26;
/** Changes that leave every name and place as they were. */
const QUIET_VERBS: ReadonlySet<string> = new Set(["modified", "attributes"]);

const INKS: Record<Theme, Ink> = {
  light: { line: 0x101820, halo: 0xffffff, frame: 0x9aa6b2, pulse: 0xd6006c },
  dark: { line: 0xffffff, halo: 0x000000, frame: 0x4a5664, pulse: 0xff5fa2 },
};
const BACKGROUND: Record<Theme, number> = { light: 0xe4e8ed, dark: 0x0b0f14 };

export class App {
  readonly camera: Camera;
  readonly tiles = new TileLayer();
  readonly names = new Names(byId("names"));
  readonly overlay = new Overlay();
  readonly stream = new Stream();
  readonly #catchUp = new CatchUp();
  readonly #hover = new Hover(byId("tip"));
  readonly #legend = new Legend(byId("legend"));
  readonly #panel = new Panel(byId("panel"));
  readonly #recent = new Recent(byId("recent"));
  readonly #tree = new Tree(byId("list"));
  readonly #time = new TimeBar(byId("time"));
  readonly #stage = new Container();
  readonly #used = new Map<string, Rect>();
  bricks: Brick[] = [];
  #palette: Palette | null = null;
  #mode: Mode = "kind";
  #theme: Theme = "light";
  #since: string | null = null;
  #last_ms = performance.now();
  #drawn_ms = 0;
  #drewLast = false;
  /** What the last picture cost: the time to the next chance to draw. */
  #cost_ms = 0;
  #redraw = true;
  #layoutDue = true;
  #panelTimer = 0;
  /** What the panel's artifact covers, on the plane. */
  #selectedArea: Rect | null = null;
  #tileTrouble: string | null = null;
  #refreshing = false;
  /** What is watched but not up to date, and why. */
  #closed: string[] = [];
  /** Of frames in which the view moved, the newest last, in milliseconds; for measurements: since the one before, and the
      page's own work in it. */
  readonly frames: { since: number; work: number }[] = [];

  constructor(
    readonly renderer: Renderer,
    readonly bar: Bar,
  ) {
    this.camera = new Camera(renderer.events, this.tiles.container);
    this.#stage.addChild(this.camera.viewport, this.overlay.graphics);
    this.tiles.onready = () => (this.#redraw = true);
    this.tiles.ontrouble = (why) => {
      this.#tileTrouble = why;
      this.#banner();
    };
    this.tiles.onmissing = () => void this.refresh();
    this.names.onready = () => {
      this.#layoutDue = true;
    };
    this.#hover.onunder = (under) => {
      this.overlay.hover = under === null ? null : toPlane(under.brick, under.short);
      this.#redraw = true;
    };
    this.#wireParts();
    this.#wirePointer();
    window.addEventListener("resize", () => this.#resize());
    window.addEventListener("hashchange", () => void this.#followHash("fly"));
    window.setInterval(() => this.#recent.draw(), LIST_MS);
    window.setInterval(() => this.#banner(), 1000);
    window.setInterval(() => this.#growOlder(), AGE_MS);
  }

  #wireParts(): void {
    this.#legend.onmode = (mode) => this.setMode(mode);
    this.#time.onsince = (since) => {
      this.#since = since;
      this.#recent.setSince(since);
      this.#recent.draw();
      this.#look();
    };
    this.#panel.onclose = () => this.closePanel();
    this.#panel.onopen = (ref) => void this.select(ref, "fly");
    this.#panel.onfly = () => {
      this.showMap();
      this.flyToSelected();
    };
    this.#recent.ongo = (row) => {
      this.showMap();
      void this.select(row, "fly");
    };
    this.#tree.onopen = (brick, ref) => void this.select(ref, "stay", brick);
    this.bar.search.ongo = (hit) => {
      this.showMap();
      void this.select(hit, "fly", this.bricks.find((b) => b.name === hit.brick));
    };
    this.stream.onevent = (event) => void this.#event(event);
    this.stream.onstate = (state) => {
      this.bar.setLive(state);
      this.#banner();
      if (!state.live && state.why !== null) void this.#probe();
    };
  }

  #wirePointer(): void {
    const { canvas } = this.renderer;
    let pressed: { x: number; y: number } | null = null;
    canvas.addEventListener("pointerdown", (event) => {
      pressed = { x: event.clientX, y: event.clientY };
      this.#hover.hide();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons !== 0 || event.pointerType === "touch") return;
      const at = this.camera.toPlane(event.offsetX, event.offsetY);
      this.#hover.move(cellAt(this.bricks, at.x, at.y), event.clientX, event.clientY, this.camera.scale);
    });
    canvas.addEventListener("pointerleave", () => this.#hover.hide());
    canvas.addEventListener("wheel", () => this.#hover.hide(), { passive: true });
    canvas.addEventListener("click", (event) => {
      // A drag ends in a click, too.
      const moved = pressed === null ? 0 : Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y);
      if (moved < 6) void this.#clicked(event.offsetX, event.offsetY);
    });
    canvas.addEventListener("dblclick", () => this.flyToSelected());
  }

  /** Asks for everything that there is to show. @throws ApiError */
  async start(theme: Theme): Promise<void> {
    this.#theme = theme;
    this.setTheme(theme);
    const [bricks, palette] = await Promise.all([api.bricks(), api.palette()]);
    this.#palette = palette;
    await this.#apply(bricks);
    this.#resize();
    this.#look();
    await this.#measure();
    this.#resize();
    const whole = this.#wholeView();
    if (whole !== null) this.camera.jump(whole);
    this.#frame(performance.now());
    await this.#followHash("jump");
    this.stream.retry();
    void this.#seed();
    for (const brick of this.bricks) void this.#catchUp.note(brick).catch(() => undefined);
  }

  async #seed(): Promise<void> {
    try {
      const { rows } = await api.history({ limit: HISTORY_FIRST });
      this.#recent.seed(rows);
    } catch {
      // The list then begins with what comes; that the daemon does not answer is said by the banner.
    }
  }

  async #apply(bricks: Bricks): Promise<void> {
    this.bar.setHost(bricks);
    const grown = bricks.bricks.filter((b) => this.bricks.find((old) => old.name === b.name)?.side !== b.side);
    // A brick that is not open has a side of one cell: nothing to draw.
    this.bricks = bricks.bricks.filter((b) => b.side > 1);
    this.tiles.setBricks(this.bricks);
    this.camera.setWorld(this.bricks.map(districtRect));
    this.#closed = bricks.bricks.flatMap((b) => (b.closed === null ? [] : [`${b.root} is not up to date: ${b.closed}`]));
    coverEmpty(bricks, this.bricks.length === 0);
    if (grown.length > 0) {
      this.names.forget();
      this.#tree.reset();
      await this.#measure();
    }
    this.#layoutDue = true;
    this.#redraw = true;
  }

  /** Where the used part of each brick is: the rest of the curve is free. */
  async #measure(): Promise<void> {
    await Promise.all(
      this.bricks.map(async (brick) => {
        try {
          this.#used.set(brick.name, await usedPart(brick));
        } catch {
          this.#used.delete(brick.name);
        }
      }),
    );
  }

  #growOlder(): void {
    if (this.#mode !== "age" && this.#since === null) return;
    for (const { name, side } of this.bricks) this.tiles.invalidate(name, [{ x: 0, y: 0, w: side, h: side }]);
    this.#redraw = true;
  }

  /** Asks anew which bricks there are. */
  async refresh(): Promise<void> {
    if (this.#refreshing) return;
    this.#refreshing = true;
    try {
      await this.#apply(await api.bricks());
    } catch {
      // The stream's banner tells.
    } finally {
      this.#refreshing = false;
    }
  }

  async #event(event: StreamEvent): Promise<void> {
    if (event.kind === "hello") {
      await this.#hello(event.data.bricks);
    } else if (event.kind === "state") {
      await this.#apply({ ...event.data });
    } else if (event.kind === "burst") {
      this.#burst(event.data);
    } else {
      this.#change(event.data);
    }
  }

  #burst(burst: Burst): void {
    const brick = this.#changed(burst.brick, burst.rects, burst.tree);
    if (brick === null) return;
    const selected = this.#selectedArea;
    if (selected !== null && burst.rects.some((rect) => intersects(toPlane(brick, rect), selected))) this.#panelSoon(null);
    // Without a count only pixels are others: a model's words, a directory's list.
    if (burst.count === 0) return;
    this.names.forget(burst.brick);
    this.#tree.stale();
    this.#recent.addBurst(burst);
  }

  /** The stream is there (again): what differs from the last time is fetched anew. */
  async #hello(trees: { name: string; tree: string }[]): Promise<void> {
    const known = new Map(this.bricks.map((b) => [b.name, b.tree]));
    if (trees.length !== known.size || trees.some((b) => !known.has(b.name))) await this.refresh();
    let missed = false;
    for (const { name, tree } of trees) {
      const brick = this.bricks.find((b) => b.name === name);
      if (brick === undefined || known.get(name) === tree) continue;
      missed = true;
      brick.tree = tree;
      try {
        this.#changed(name, await this.#catchUp.compare(brick), tree);
      } catch {
        this.#changed(name, [{ x: 0, y: 0, w: brick.side, h: brick.side }], tree);
      }
      this.names.forget(name);
    }
    if (missed) {
      await this.refresh();
      void this.#seed();
      this.#panelSoon(null);
    }
  }

  #change(change: Change): void {
    const brick = this.#changed(change.brick, change.rects, change.tree);
    if (brick === null) return;
    this.overlay.pulse(change.rects.map((rect) => toPlane(brick, rect)));
    this.#recent.add(change);
    if (!QUIET_VERBS.has(change.verb)) {
      this.names.forget(brick.name);
      this.#tree.stale();
      this.#layoutDue = true;
    }
    this.#panelSoon(change);
  }

  #changed(name: string, rects: readonly Rect[], tree: string): Brick | null {
    const brick = this.bricks.find((b) => b.name === name);
    if (brick === undefined) {
      void this.refresh();
      return null;
    }
    brick.tree = tree;
    this.tiles.invalidate(name, rects);
    this.#redraw = true;
    return brick;
  }

  /** The panel is read again soon if this is what it shows (null: it may be). */
  #panelSoon(ref: PathRef | null): void {
    const open = this.#panel.ref;
    if (open === null || (ref !== null && keyOf(ref) !== keyOf(open))) return;
    window.clearTimeout(this.#panelTimer);
    this.#panelTimer = window.setTimeout(() => void this.#panel.changed(open), PANEL_REST_MS);
  }

  // What a person does.

  setMode(mode: Mode): void {
    this.#mode = mode;
    this.#look();
  }

  nextMode(): void {
    this.setMode(MODES[(MODES.indexOf(this.#mode) + 1) % MODES.length] ?? "kind");
  }

  setTheme(theme: Theme): void {
    this.#theme = theme;
    document.documentElement.dataset["theme"] = theme;
    this.renderer.background.color = BACKGROUND[theme];
    this.overlay.ink = INKS[theme];
    this.#look();
  }

  get theme(): Theme {
    return this.#theme;
  }

  get mode(): Mode {
    return this.#mode;
  }

  #look(): void {
    document.documentElement.dataset["mode"] = this.#mode;
    this.tiles.setLook({ mode: this.#mode, theme: this.#theme, since: this.#since });
    this.#legend.show(this.#palette, this.#mode, this.#theme);
    this.#redraw = true;
  }

  /** Shows an artifact in the panel, in the address and, unless one stays, on the map. */
  async select(ref: PathRef, how: "fly" | "jump" | "stay", where?: Brick): Promise<void> {
    const brick = where ?? brickOfPath(this.bricks, ref.path);
    if (brick === null) {
      document.body.classList.add("panel-open");
      notWatched(ref, this.bricks, () => this.closePanel(), (root) => void this.select({ path: root }, "fly"));
      return;
    }
    const hash = hashOf(ref);
    if (location.hash !== hash) history.pushState(null, "", hash);
    document.body.classList.add("panel-open");
    const artifact = await this.#panel.open(brick, ref);
    if (artifact === null) {
      this.overlay.selected = null;
      this.#selectedArea = null;
    } else {
      const area = await areaOf(brick, artifact).catch(() => artifact);
      // Meanwhile it may have been closed, or another one opened.
      if (this.#panel.ref === null || keyOf(this.#panel.ref) !== keyOf(ref)) return;
      this.#selectedArea = toPlane(brick, area);
      this.overlay.selected = this.#selectedArea;
      if (how !== "stay") this.flyToSelected(how === "jump");
    }
    this.#redraw = true;
  }

  flyToSelected(jump = false): void {
    const area = this.#selectedArea;
    if (area === null || area.w <= 0) return;
    this.#insets();
    const view = this.camera.viewOf(area, MARGIN, FLY_SCALE_MAX);
    if (jump) this.camera.jump(view);
    else this.camera.fly(view);
  }

  flyToAll(): void {
    const view = this.#wholeView();
    if (view !== null) this.camera.fly(view);
  }

  #wholeView(): ReturnType<Camera["viewOf"]> | null {
    this.#insets();
    const parts = this.bricks.map((b) => toPlane(b, this.#used.get(b.name) ?? { x: 0, y: 0, w: b.side, h: b.side }));
    const whole = union(parts);
    return whole === null ? null : this.camera.viewOf(whole, 0.08);
  }

  closePanel(): void {
    this.#panel.close();
    byId("panel").replaceChildren();
    byId("panel").hidden = true;
    document.body.classList.remove("panel-open");
    this.overlay.selected = null;
    this.#selectedArea = null;
    if (location.hash !== "") history.pushState(null, "", location.pathname + location.search);
    this.#redraw = true;
  }

  get panelOpen(): boolean {
    return !byId("panel").hidden;
  }

  get listOpen(): boolean {
    return this.#tree.shown;
  }

  async showList(): Promise<void> {
    this.#hover.hide();
    document.body.classList.add("list-open");
    byId("map").inert = true;
    this.bar.setList(true);
    await this.#tree.show(this.bricks);
  }

  showMap(): void {
    if (!this.#tree.shown) return;
    this.#tree.hide();
    document.body.classList.remove("list-open");
    byId("map").inert = false;
    this.bar.setList(false);
    this.renderer.canvas.focus();
    this.#redraw = true;
  }

  async #clicked(x: number, y: number): Promise<void> {
    const at = this.camera.toPlane(x, y);
    const cell = cellAt(this.bricks, at.x, at.y);
    if (cell === null) return;
    try {
      const short = await api.at(cell.brick.name, cell.x, cell.y);
      if (short.path === null) this.closePanel();
      else await this.select(short, "stay", cell.brick);
    } catch (error) {
      this.#tileTrouble = messageOf(error);
      this.#banner();
    }
  }

  async #followHash(how: "fly" | "jump"): Promise<void> {
    const ref = pathOfHash(location.hash);
    if (ref === null) {
      if (this.panelOpen) this.closePanel();
      return;
    }
    const open = this.#panel.ref;
    if (open !== null && keyOf(open) === keyOf(ref)) return;
    await this.select(ref, how);
  }

  // What is on the screen.

  #insets(): void {
    const wide = window.innerWidth > 900;
    this.camera.insets = {
      left: wide ? byId("legend").offsetWidth + 24 : 12,
      right: wide ? byId("side").offsetWidth + 24 : 12,
      top: byId("bar").offsetHeight + 34,
      bottom: wide ? 60 : byId("side").offsetHeight + 24,
    };
  }

  #resize(): void {
    const { innerWidth, innerHeight, devicePixelRatio } = window;
    this.renderer.resize(innerWidth, innerHeight, Math.min(devicePixelRatio, 2));
    this.camera.resize(innerWidth, innerHeight);
    this.#layoutDue = true;
  }

  /** Begins to draw, as often as the screen can show it. */
  run(): void {
    const loop = (now: number): void => {
      this.#frame(now);
      requestAnimationFrame(loop);
    };
    requestAnimationFrame(loop);
  }

  #frame(now: number): void {
    const begun = performance.now();
    const dt = now - this.#last_ms;
    this.#last_ms = now;
    const moved = this.camera.frame(dt);
    const arrived = this.tiles.admit();
    if (this.#drewLast) this.#cost_ms = dt;
    this.#drewLast = false;
    const rest = this.#cost_ms > FRAME_MS_SLOW ? this.#cost_ms * PULSE_REST : PULSE_FRAME_MS;
    const pulses = this.overlay.pulsing && now - this.#drawn_ms >= rest;
    if (!moved && !arrived && !this.#redraw && !this.#layoutDue && !pulses) return;
    this.#drawn_ms = now;
    this.#drewLast = true;
    this.#redraw = false;
    this.tiles.update(this.camera.view, this.camera.scale * this.renderer.resolution);
    if (moved || this.#layoutDue) {
      this.names.ask(this.camera, this.bricks);
      if (this.#layoutDue || !this.names.follow(this.camera)) {
        this.names.layout(this.camera, this.bricks, { top: byId("bar").offsetHeight });
        this.bar.setWhere(this.names.here(this.camera, this.bricks));
      }
      this.overlay.directories = this.names.directories;
      this.overlay.files = this.names.files;
      // The frame after the last movement puts the names exactly.
      this.#layoutDue = moved;
    }
    this.overlay.draw(this.camera, this.bricks);
    this.renderer.render(this.#stage);
    if (!moved) return;
    this.frames.push({ since: dt, work: performance.now() - begun });
    if (this.frames.length > 4096) this.frames.splice(0, 2048);
  }

  /** Nothing that should be on the screen is on its way. */
  get settled(): boolean {
    return this.tiles.settled && this.names.settled && !this.camera.flying && !this.#redraw && !this.#layoutDue;
  }

  /** Is it the daemon that is gone, or only this page's key? */
  async #probe(): Promise<void> {
    try {
      await api.bricks();
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) this.#keyIsGone = true;
    }
    this.#banner();
  }

  #keyIsGone = false;

  #banner(): void {
    if (this.stream.state.live) this.#keyIsGone = false;
    showBanner({
      stream: this.stream.state,
      keyIsGone: this.#keyIsGone,
      closed: this.#closed,
      tiles: this.#tileTrouble,
      retry: () => this.stream.retry(),
    });
  }
}
