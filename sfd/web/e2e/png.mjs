// The pixels of a screenshot: 8 bits a channel, RGB or RGBA, not interlaced, as Chromium writes them.

import { inflateSync } from "node:zlib";

export function decode(png) {
  let at = 8;
  let width = 0;
  let height = 0;
  let channels = 0;
  const parts = [];
  while (at < png.length) {
    const length = png.readUInt32BE(at);
    const type = png.toString("latin1", at + 4, at + 8);
    const body = png.subarray(at + 8, at + 8 + length);
    if (type === "IHDR") {
      width = body.readUInt32BE(0);
      height = body.readUInt32BE(4);
      channels = { 2: 3, 6: 4 }[body[9]];
      if (body[8] !== 8 || channels === undefined || body[12] !== 0) throw new Error("not such a PNG");
    }
    if (type === "IDAT") parts.push(body);
    at += 12 + length;
  }
  const raw = inflateSync(Buffer.concat(parts));
  const stride = width * channels;
  const rows = Buffer.alloc(stride * height);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (stride + 1)];
    for (let x = 0; x < stride; x++) {
      const left = x >= channels ? rows[y * stride + x - channels] : 0;
      const up = y > 0 ? rows[(y - 1) * stride + x] : 0;
      const corner = x >= channels && y > 0 ? rows[(y - 1) * stride + x - channels] : 0;
      const add = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter];
      rows[y * stride + x] = raw[y * (stride + 1) + 1 + x] + add;
    }
  }
  return {
    width,
    height,
    /** [r, g, b] */
    at: (x, y) => Array.from(rows.subarray(y * stride + x * channels, y * stride + x * channels + 3)),
  };
}

function paeth(a, b, c) {
  const [pa, pb, pc] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - 2 * c)];
  if (pa <= pb && pa <= pc) return a;
  return pb <= pc ? b : c;
}

/** How many different colours a picture has. */
export function colours(picture) {
  const seen = new Set();
  for (let y = 0; y < picture.height; y++) for (let x = 0; x < picture.width; x++) seen.add(picture.at(x, y).join());
  return seen.size;
}

/** Pixels that differ by more than `least` in a channel. */
export function different(a, b, least = 12) {
  let count = 0;
  for (let y = 0; y < a.height; y++) {
    for (let x = 0; x < a.width; x++) {
      const [one, other] = [a.at(x, y), b.at(x, y)];
      if (one.some((value, i) => Math.abs(value - other[i]) > least)) count += 1;
    }
  }
  return count;
}

/** The mean difference between the strongest and the weakest channel: 0 is grey. */
export function colourfulness(picture) {
  let sum = 0;
  for (let y = 0; y < picture.height; y++) {
    for (let x = 0; x < picture.width; x++) {
      const rgb = picture.at(x, y);
      sum += Math.max(...rgb) - Math.min(...rgb);
    }
  }
  return sum / (picture.width * picture.height);
}
