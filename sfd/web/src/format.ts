// Numbers, times and bytes as people read them.

import type { Writer } from "./types";

export function size(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes;
  let unit = -1;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}

/** 1234567 as 1 234 567. */
export function count(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** `1 file`, `2 files`. */
export function plural(value: number, one: string, many: string): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** How long ago, in one unit, rounded down: `12 s`, `5 min`, `3 h`, `8 d`. */
export function ago(ns: number, nowMs: number): string {
  const s = Math.max(0, Math.floor(nowMs / 1000 - ns / 1e9));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86_400)} d`;
}

/** Local time to the second, with the date unless it is today. */
export function clock(ms: number, nowMs: number): string {
  const at = new Date(ms);
  const two = (n: number): string => String(n).padStart(2, "0");
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  if (at.toDateString() === new Date(nowMs).toDateString()) return time;
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`;
}

/** Milliseconds as the nanoseconds of a query: a number of that size would lose its last digits. */
export function nsOfMs(ms: number): string {
  return `${Math.max(0, Math.round(ms))}000000`;
}

/** `-rw-r--r--` and its octal. */
export function modeBits(mode: number): string {
  const letters = "rwxrwxrwx";
  let out = "";
  for (let i = 0; i < 9; i++) out += mode & (1 << (8 - i)) ? letters[i] : "-";
  const at = (index: number, bit: number, on: string, off: string): void => {
    if (mode & bit) out = out.slice(0, index) + (out[index] === "x" ? on : off) + out.slice(index + 1);
  };
  at(2, 0o4000, "s", "S");
  at(5, 0o2000, "s", "S");
  at(8, 0o1000, "t", "T");
  return `${out} (0${(mode & 0o7777).toString(8)})`;
}

/** Who did it, in a line; `more` are those that are known only as a number. */
export function writerText(writers: readonly Writer[], more = 0): string {
  const [first] = writers;
  if (first === undefined) return "nobody that was seen";
  const pid = first.pid === undefined ? "" : `[${first.pid}]`;
  const others = writers.length - 1 + more;
  return `${first.comm}${pid}${others > 0 ? ` and ${others} more` : ""}`;
}

/** Bytes in a row of a hex view. */
export const HEX_ROW = 16;

/** Rows of `offset  16 bytes  characters`. `offset` is where `bytes` begin; a multiple of a row. */
export function hexRows(bytes: Uint8Array, offset: number): string {
  const rows: string[] = [];
  for (let at = 0; at < bytes.length; at += HEX_ROW) {
    const row = bytes.subarray(at, at + HEX_ROW);
    const hex = Array.from(row, (b) => b.toString(16).padStart(2, "0"));
    const chars = Array.from(row, (b) => (b >= 0x20 && b < 0x7f ? String.fromCharCode(b) : "·")).join("");
    const left = hex.slice(0, 8).join(" ").padEnd(23);
    const right = hex.slice(8).join(" ").padEnd(23);
    rows.push(`${(offset + at).toString(16).padStart(8, "0")}  ${left}  ${right}  ${chars}`);
  }
  return rows.join("\n");
}

/** Is it text that a person can read? Judged by the first bytes: no zero byte, few control characters. */
export function looksLikeText(bytes: Uint8Array): boolean {
  const head = bytes.subarray(0, 4096);
  let odd = 0;
  for (const byte of head) {
    if (byte === 0) return false;
    if (byte < 0x20 && byte !== 0x0a && byte !== 0x09 && byte !== 0x0d) odd += 1;
  }
  return odd * 20 <= head.length;
}

/** Text for a `<pre>`: control characters but tab and newline are visible, and none turns the direction of writing. */
export function visible(text: string): string {
  return text
    .replace(/\r\n/g, "\n")
    .replace(/[\u0000-\u0008\u000b-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/[\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
}
