// Paths that may be any bytes: in the address bar, in requests, on the screen.

import type { Brick, PathRef } from "./types";

const UTF8 = new TextDecoder("utf-8", { fatal: true });

export function bytesOfBase64(text: string): Uint8Array {
  const binary = atob(text);
  return Uint8Array.from(binary, (c) => c.charCodeAt(0));
}

function base64OfBytes(bytes: Uint8Array): string {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

/** `#etc/ssh/sshd_config`: the path without its first slash; what is not plain is percent-encoded, byte by byte. */
export function hashOf(ref: PathRef): string {
  const bytes = ref.path_bytes === undefined ? new TextEncoder().encode(ref.path) : bytesOfBase64(ref.path_bytes);
  let out = "#";
  for (const byte of bytes.subarray(bytes[0] === 0x2f ? 1 : 0)) {
    const c = String.fromCharCode(byte);
    out += /[A-Za-z0-9\-._~/@:+,=]/.test(c) ? c : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return out;
}

/** The path of a fragment, or null when it names none. A browser may have left other characters in it: they are UTF-8. */
export function pathOfHash(hash: string): PathRef | null {
  const text = hash.replace(/^#\/?/, "");
  if (text === "") return null;
  const bytes: number[] = [0x2f];
  const encoder = new TextEncoder();
  for (let at = 0; at < text.length; ) {
    const coded = /^%([0-9A-Fa-f]{2})/.exec(text.slice(at, at + 3));
    if (coded?.[1] !== undefined) {
      bytes.push(parseInt(coded[1], 16));
      at += 3;
    } else {
      const c = String.fromCodePoint(text.codePointAt(at) ?? 0xfffd);
      bytes.push(...encoder.encode(c));
      at += c.length;
    }
  }
  while (bytes.length > 1 && bytes.at(-1) === 0x2f) bytes.pop();
  const raw = Uint8Array.from(bytes);
  try {
    return { path: UTF8.decode(raw) };
  } catch {
    return { path: new TextDecoder().decode(raw), path_bytes: base64OfBytes(raw) };
  }
}

/** What a request has to say to mean this path. */
export function queryOf(ref: PathRef): Record<string, string> {
  return ref.path_bytes === undefined ? { path: ref.path } : { path_bytes: ref.path_bytes };
}

/** Two references mean the same object exactly when this is equal. */
export function keyOf(ref: PathRef): string {
  return ref.path_bytes ?? ref.path;
}

/** The brick with the longest root that is the path or above it. */
export function brickOfPath<B extends Pick<Brick, "root">>(bricks: readonly B[], path: string): B | null {
  let best: B | null = null;
  for (const brick of bricks) {
    const root = brick.root === "/" ? "" : brick.root;
    if (path !== brick.root && !path.startsWith(`${root}/`)) continue;
    if (best === null || brick.root.length > best.root.length) best = brick;
  }
  return best;
}

export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1) || "/";
}

export function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}

/** A name as it may be shown: control characters and those that turn the direction of writing become U+FFFD. */
export function shown(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, "\ufffd");
}
