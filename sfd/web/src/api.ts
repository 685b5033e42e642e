// Requests to the daemon. Every one can be given up (AbortSignal), and every failure says what it was about.

import { keyOf, queryOf } from "./paths";
import type {
  Artifact,
  Brick,
  Bricks,
  Hit,
  HistoryRow,
  Label,
  Palette,
  PathRef,
  Rect,
  Short,
} from "./types";

export class ApiError extends Error {
  constructor(
    /** The HTTP status; 0 when there was no answer. */
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

type Query = Record<string, string | number | undefined>;

function address(path: string, query: Query = {}): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) params.set(name, String(value));
  const text = params.toString();
  return text === "" ? path : `${path}?${text}`;
}

/** @throws ApiError for every answer but 2xx, and for none; a given-up request's AbortError passes. */
export async function request(url: string, signal?: AbortSignal): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { credentials: "same-origin", ...(signal ? { signal } : {}) });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ApiError(0, "the daemon does not answer (is sfd still running?)");
  }
  if (response.ok) return response;
  let why = `${response.status} ${response.statusText}`;
  try {
    const body: unknown = await response.json();
    if (body !== null && typeof body === "object" && "error" in body) why = String(body.error);
  } catch {
    // Not JSON: the status says what there is to say.
  }
  throw new ApiError(response.status, why);
}

async function json<T>(url: string, signal?: AbortSignal): Promise<T> {
  return (await (await request(url, signal)).json()) as T;
}

const ofBrick = (brick: string, what: string): string => `/api/bricks/${encodeURIComponent(brick)}/${what}`;

export const api = {
  bricks: (signal?: AbortSignal) => json<Bricks>("/api/bricks", signal),
  palette: (signal?: AbortSignal) => json<Palette>("/api/palette", signal),

  tile(brick: string, z: number, x: number, y: number, look: Query, signal: AbortSignal): Promise<Response> {
    return request(address(ofBrick(brick, `tile/${z}/${x}/${y}.png`), look), signal);
  },
  nodes: (brick: string, z: number, signal?: AbortSignal) =>
    json<{ tree: string; z: number; nodes: string[] }>(address(ofBrick(brick, "nodes"), { z }), signal),
  labels: (brick: string, rect: Rect, min: number, limit: number, signal?: AbortSignal) =>
    json<{ labels: Label[]; more: boolean }>(address(ofBrick(brick, "labels"), { ...rect, min, limit }), signal),
  at: (brick: string, x: number, y: number, signal?: AbortSignal) =>
    json<Short | { path: null }>(address(ofBrick(brick, "at"), { x, y }), signal),
  artifact: (brick: string, ref: PathRef, signal?: AbortSignal) =>
    json<Artifact>(address(ofBrick(brick, "artifact"), queryOf(ref)), signal),
  content: (brick: string, ref: PathRef, offset: number, len: number, signal?: AbortSignal) =>
    json<{ len: number; offset: number; base64: string }>(
      address(ofBrick(brick, "content"), { ...queryOf(ref), offset, len }),
      signal,
    ),
  children: (brick: string, ref: PathRef, offset: number, limit: number, signal?: AbortSignal) =>
    json<{ children: Short[]; total: number }>(
      address(ofBrick(brick, "children"), { ...queryOf(ref), offset, limit }),
      signal,
    ),
  search: (q: string, limit: number, signal?: AbortSignal) =>
    json<{ hits: Hit[]; more: boolean }>(address("/api/search", { q, limit }), signal),
  history: (
    query: { brick?: string; since_ns?: string; limit: number } & Partial<Record<"path" | "path_bytes", string>>,
    signal?: AbortSignal,
  ) => json<{ rows: HistoryRow[]; more: boolean }>(address("/api/history", query), signal),
};

/** Where the used part of a brick is: what its root's name covers. The rest of the curve is free. */
export async function usedPart(brick: Brick, signal?: AbortSignal): Promise<Rect> {
  const whole = { x: 0, y: 0, w: brick.side, h: brick.side };
  const { labels } = await api.labels(brick.name, whole, 1, 1, signal);
  const [root] = labels;
  return root?.path === brick.root ? root : whole;
}

/** Names around a directory's own block that are looked through for its area: those of everything above it, and it. */
const ABOVE_MAX = 256;

/** What an artifact covers: its own block, or of a directory what is below it. */
export async function areaOf(brick: Brick, artifact: Short, signal?: AbortSignal): Promise<Rect> {
  if (artifact.type !== "dir") return artifact;
  const { x, y, w, h } = artifact;
  const { labels } = await api.labels(brick.name, { x, y, w, h }, 1, ABOVE_MAX, signal);
  return labels.find((label) => keyOf(label) === keyOf(artifact)) ?? artifact;
}
