// What the daemon answers: the contract of its /api, as types. Times are nanoseconds since 1970, as numbers: their last
// 256 ns are lost to rounding, which nobody can see. Coordinates are cells of a brick: x right, y down.

/** The colour modes, in the order of the key `m`. */
export const MODES = ["kind", "content", "entropy", "risk", "age"] as const;
export type Mode = (typeof MODES)[number];
export type Theme = "light" | "dark";

export interface Rect {
  x: number;
  y: number;
  w: number;
  h: number;
}

export interface Brick {
  name: string;
  root: string;
  /** The side is 2^order cells. */
  order: number;
  side: number;
  artifacts: number;
  unverified: number;
  /** The Merkle root: equal trees have equal pixels. */
  tree: string;
  /** Where its top left corner is on the plane, in cells. */
  district: { x: number; y: number };
  /** Why it is not kept up to date at the moment. */
  closed: string | null;
}

export interface Bricks {
  host: string;
  version: string;
  now_ns: number;
  bricks: Brick[];
  llm?: { state: string; why?: string };
}

export interface PaletteEntry {
  value: number;
  label: string;
  /** Of kinds: what those of this colour have in common. */
  group?: string;
  light: string;
  dark: string;
}
export type Palette = Record<Mode, PaletteEntry[]>;

export interface PathRef {
  /** Lossy when it is not UTF-8. */
  path: string;
  /** The exact bytes, base64; only when the path is not UTF-8. */
  path_bytes?: string;
}

export type FileType = "dir" | "file" | "symlink" | "special";

export interface Label extends PathRef, Rect {
  name: string;
  type: FileType;
  kind: string;
  cells: number;
  risk: number;
  redacted: boolean;
  unverified: boolean;
}

export interface Short extends PathRef, Rect {
  type: FileType;
  kind: string;
  size: number;
  title: string;
  summary: string;
  risk: { level: number; word: string };
  cells: number;
  redacted: boolean;
  unverified: boolean;
  mtime_ns: number;
}

export interface Writer {
  comm: string;
  pid?: number;
  uid?: number;
}

export interface HistoryRow extends PathRef {
  seq?: number;
  at_ns: number;
  brick: string;
  verb: string;
  detail?: string | null;
  /** Where it was before it was renamed. */
  from?: string;
  writers: Writer[];
  /** Writers that are not listed any more, and changes of which nobody knows who made them. */
  more_writers?: number;
  unknown_writers?: number;
  risk: number;
  reasons?: string[];
  meaning: string[];
}

export interface Artifact extends Short {
  mode: number;
  uid: number;
  gid: number;
  user?: string;
  group?: string;
  content_hash?: string;
  /** The brick holds the exact bytes, not only a digest of them. */
  exact: boolean;
  target?: string;
  changed_ns?: number;
  unverified_reason?: string;
  semantics: {
    title: string;
    summary: string;
    tags: string[];
    risk: { level: number; word: string; reasons: string[] };
    source: "heuristic" | "llm";
    model?: string;
    prompt_version?: string | number;
    at_ns?: number;
  };
  facts: { name: string; value: string }[];
  history: HistoryRow[];
}

export interface Change extends HistoryRow {
  rects: Rect[];
  tree: string;
}

export interface Burst {
  brick: string;
  count: number;
  rects: Rect[];
  tree: string;
}

export interface Hit extends Short {
  brick: string;
  snippet?: string;
}

/** What an event stream brings, after parsing. */
export type StreamEvent =
  | { kind: "hello"; data: { now_ns: number; bricks: { name: string; tree: string }[] } }
  | { kind: "change"; data: Change }
  | { kind: "burst"; data: Burst }
  | { kind: "state"; data: Bricks };
