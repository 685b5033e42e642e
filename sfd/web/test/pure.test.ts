import { describe, expect, it } from "vitest";
import { eased, flight } from "../src/flight";
import * as format from "../src/format";
import { Lru } from "../src/lru";
import { bytesOfBase64, brickOfPath, hashOf, nameOf, parentOf, pathOfHash, shown } from "../src/paths";
import { place, shorten } from "../src/place";
import type { Candidate } from "../src/place";
import * as plane from "../src/plane";
import { add, addBurst, ROWS_MAX } from "../src/recent";
import type { Entry } from "../src/recent";
import { backoffSeconds, EVENT_CHARS_MAX, Parser } from "../src/sse";
import type { HistoryRow } from "../src/types";

describe("paths", () => {
  it.each([
    ["/etc/ssh/sshd_config", "#etc/ssh/sshd_config"],
    ["/", "#"],
    ["/srv/a b#c?d%", "#srv/a%20b%23c%3Fd%25"],
    ["/srv/<img src=x onerror=alert(1)>", "#srv/%3Cimg%20src=x%20onerror=alert%281%29%3E"],
    ["/srv/größe", "#srv/gr%C3%B6%C3%9Fe"],
  ])("%s is %s in the address, and back", (path, hash) => {
    expect(hashOf({ path })).toBe(hash);
    expect(pathOfHash(hash)).toEqual(path === "/" ? null : { path });
  });

  it("a path that is not UTF-8 survives byte for byte", () => {
    const path_bytes = btoa("/etc/\xff\xfex");
    const hash = hashOf({ path: "/etc/\ufffd\ufffdx", path_bytes });
    expect(hash).toBe("#etc/%FF%FEx");
    const back = pathOfHash(hash);
    expect(back?.path_bytes).toBe(path_bytes);
    expect([...bytesOfBase64(back?.path_bytes ?? "")]).toContain(0xff);
  });

  it("an address that a person typed is taken as it is meant", () => {
    expect(pathOfHash("#/etc/größe/")).toEqual({ path: "/etc/größe" });
    expect(pathOfHash("#etc/100%")).toEqual({ path: "/etc/100%" });
    expect(pathOfHash("")).toBeNull();
  });

  it("the brick with the longest root above a path has it", () => {
    const bricks = [{ root: "/" }, { root: "/etc" }, { root: "/etc/ssh" }];
    expect(brickOfPath(bricks, "/etc/ssh/x")?.root).toBe("/etc/ssh");
    expect(brickOfPath(bricks, "/etc/sshd")?.root).toBe("/etc");
    expect(brickOfPath(bricks, "/usr")?.root).toBe("/");
    expect(brickOfPath([{ root: "/etc" }], "/etcetera")).toBeNull();
  });

  it("names and parents", () => {
    expect([nameOf("/a/b"), nameOf("/a"), nameOf("/")]).toEqual(["b", "a", "/"]);
    expect([parentOf("/a/b"), parentOf("/a"), parentOf("/")]).toEqual(["/a", "/", "/"]);
  });

  it("what turns the direction of writing is not shown as such", () => {
    expect(shown("photo\u202egnp.exe\n")).toBe("photo\ufffdgnp.exe\ufffd");
    expect(shown("שלום.txt")).toBe("שלום.txt");
  });
});

describe("plane", () => {
  it("the level shows a texel in about a pixel", () => {
    for (const order of [6, 8, 10, 14]) {
      const side = 2 ** order;
      for (let scale = 1 / 512; scale < 64; scale *= 1.1) {
        const z = plane.levelFor({ order, side }, scale);
        expect(z).toBeGreaterThanOrEqual(0);
        expect(z).toBeLessThanOrEqual(plane.levelMax(order));
        const pixels = (side * scale) / (plane.TILE * 2 ** z);
        if (z < plane.levelMax(order)) expect(pixels).toBeLessThan(1.33);
        if (z > 0) expect(pixels).toBeGreaterThan(0.65);
      }
    }
  });

  it("the tiles of a rectangle are those that it touches", () => {
    const side = 1024;
    expect(plane.tilesIn({ x: 0, y: 0, w: side, h: side }, side, 2)).toHaveLength(16);
    expect(plane.tilesIn({ x: 255, y: 256, w: 1, h: 1 }, side, 2)).toEqual([{ z: 2, x: 0, y: 1 }]);
    expect(plane.tilesIn({ x: 255, y: 255, w: 2, h: 2 }, side, 2)).toHaveLength(4);
    expect(plane.tilesIn({ x: -500, y: -500, w: 100, h: 100 }, side, 2)).toHaveLength(0);
    expect(plane.tilesIn({ x: 1000, y: 1000, w: 1e6, h: 1e6 }, side, 2)).toEqual([{ z: 2, x: 3, y: 3 }]);
  });

  it("points of the curve are those of docs/brick-format.md", () => {
    const order1 = [[0, 0], [0, 1], [1, 1], [1, 0]] as const;
    order1.forEach(([x, y], d) => expect(plane.curveIndex(1, x, y)).toBe(d));
    const order2 = [[0, 0], [1, 0], [1, 1], [0, 1]] as const;
    order2.forEach(([x, y], d) => expect(plane.curveIndex(2, x, y)).toBe(d));
    expect(plane.curveIndex(3, 2, 1)).toBe(7);
    const all = new Set<number>();
    for (let y = 0; y < 16; y++) for (let x = 0; x < 16; x++) all.add(plane.curveIndex(4, x, y));
    expect(all.size).toBe(256);
    expect(Math.max(...all)).toBe(255);
  });

  it("changed nodes become rectangles", () => {
    const before = Array.from({ length: 16 }, (_, i) => String(i));
    const after = before.map((v, i) => (i === 6 ? "x" : v));
    expect(plane.changedNodes(before, after, 2, 1024)).toEqual([{ x: 512, y: 256, w: 256, h: 256 }]);
    expect(plane.changedNodes(before, before, 2, 1024)).toEqual([]);
    expect(plane.changedNodes([], after, 2, 1024)).toEqual([{ x: 0, y: 0, w: 1024, h: 1024 }]);
  });

  it("a point belongs to the brick that it lies in", () => {
    const bricks = [
      { district: { x: 0, y: 0 }, side: 256 },
      { district: { x: 300, y: 0 }, side: 512 },
    ];
    expect(plane.cellAt(bricks, 310.7, 5.2)).toMatchObject({ brick: bricks[1], x: 10, y: 5 });
    expect(plane.cellAt(bricks, 280, 5)).toBeNull();
    expect(plane.cellAt(bricks, -0.1, 5)).toBeNull();
  });

  it("unions and intersections", () => {
    expect(plane.union([])).toBeNull();
    expect(plane.union([{ x: 0, y: 0, w: 1, h: 1 }, { x: 5, y: -2, w: 1, h: 1 }])).toEqual({ x: 0, y: -2, w: 6, h: 3 });
    expect(plane.intersection({ x: 0, y: 0, w: 2, h: 2 }, { x: 5, y: 0, w: 2, h: 2 }).w).toBe(0);
  });
});

describe("flight", () => {
  const views = [
    { x: 0, y: 0, w: 1000 },
    { x: 5000, y: -300, w: 10 },
    { x: 5000, y: -300, w: 4000 },
    { x: 5001, y: -300, w: 12 },
  ];
  it("begins and ends where it should, rises in between, and takes a bearable time", () => {
    for (const from of views) {
      for (const to of views) {
        if (from === to) continue;
        const path = flight(from, to);
        for (const [t, want] of [[0, from], [1, to]] as const) {
          const at = path.at(t);
          expect(Math.abs(at.x - want.x)).toBeLessThan(want.w * 0.01 + 1e-6);
          expect(at.w / want.w).toBeCloseTo(1, 4);
        }
        expect(path.duration_ms).toBeGreaterThanOrEqual(250);
        expect(path.duration_ms).toBeLessThanOrEqual(1800);
        for (let t = 0; t <= 1; t += 0.1) expect(Number.isFinite(path.at(t).w)).toBe(true);
      }
    }
    const far = flight({ x: 0, y: 0, w: 10 }, { x: 10_000, y: 0, w: 10 });
    expect(far.at(0.5).w).toBeGreaterThan(1000);
  });
  it("is eased", () => {
    expect([eased(0), eased(0.5), eased(1)]).toEqual([0, 0.5, 1]);
  });
});

describe("cache", () => {
  it("lets go what was used longest ago, never what is kept, and tells", () => {
    const gone: string[] = [];
    const cache = new Lru<number>(3, (_, key) => gone.push(key));
    for (const [i, key] of ["a", "b", "c", "d", "e"].entries()) cache.set(key, i);
    cache.use("a");
    cache.trim((value) => value === 1);
    expect(gone).toEqual(["c", "d"]);
    expect(cache.size).toBe(3);
    expect(cache.evicted).toBe(2);
    cache.set("b", 9);
    expect(gone).toEqual(["c", "d", "b"]);
  });
});

describe("names", () => {
  const screen = { x: 0, y: 0, w: 800, h: 600 };
  const measure = (text: string): number => text.length * 7;
  const make = (key: string, rank: Candidate["rank"], x: number, y: number, w: number, h: number): Candidate => ({
    key,
    text: key,
    rank,
    rect: { x, y, w, h },
    shown: false,
  });
  it("never overlap, are bounded, and stay on the screen", () => {
    const many: Candidate[] = [];
    for (let i = 0; i < 3000; i++) {
      many.push(make(`name-${i}`, i % 5 === 0 ? "dir" : "file", (i * 37) % 900 - 50, (i * 91) % 700 - 50, 30 + (i % 90), 30 + (i % 50)));
    }
    const placed = place(many, screen, measure);
    expect(placed.length).toBeGreaterThan(20);
    expect(placed.length).toBeLessThanOrEqual(140);
    const rects = placed.map((p) => ({ x: p.x, y: p.y, w: p.w, h: 17 }));
    rects.forEach((a, i) => rects.slice(i + 1).forEach((b) => expect(plane.intersects(a, b)).toBe(false)));
    for (const rect of rects) expect(plane.intersection(rect, screen)).toMatchObject({ w: rect.w, h: rect.h });
  });
  it("directories come before files, large before small, what was shown before what was not", () => {
    const a = make("file", "file", 0, 0, 120, 60);
    const b = make("directory", "dir", 0, 0, 120, 24 + 34);
    expect(place([a, b], screen, measure)[0]?.key).toBe("directory");
    const one = { ...make("one", "file", 0, 0, 100, 30), shown: true };
    const two = make("two", "file", 0, 0, 105, 30);
    expect(place([two, one], screen, measure).map((p) => p.key)).toEqual(["one"]);
  });
  it("what is all around or too small has none", () => {
    expect(place([make("all", "dir", -100, -100, 2000, 2000)], screen, measure)).toEqual([]);
    expect(place([make("tiny", "file", 5, 5, 20, 20)], screen, measure)).toEqual([]);
  });
  it("shortens in the middle, by whole characters", () => {
    expect(shorten("sshd_config", 1000, measure)).toBe("sshd_config");
    expect(shorten("com.redhat.NewPrinterNotification.conf", 100, measure)).toBe("com.redh….conf");
    expect(shorten("abcdefghijkl", 20, measure)).toBeNull();
    expect(shorten("😀😀😀😀😀😀😀😀😀😀😀😀", 140, measure)).toBe("😀😀😀😀😀😀…😀😀😀");
  });
});

describe("stream", () => {
  const whole = ': hi\n\nevent: change\ndata: {"a":\ndata: 1}\n\nevent: hello\r\ndata: {}\r\n\r\ndata: plain\n\n';
  it("is parsed the same, however it is cut", () => {
    for (let size = 1; size < whole.length; size++) {
      const parser = new Parser();
      const got = [];
      for (let at = 0; at < whole.length; at += size) got.push(...parser.push(whole.slice(at, at + size)));
      expect(got).toEqual([
        { event: "change", data: '{"a":\n1}' },
        { event: "hello", data: "{}" },
        { event: "message", data: "plain" },
      ]);
    }
  });
  it("gives up on an event without end", () => {
    const parser = new Parser();
    expect(() => parser.push(`data: ${"x".repeat(EVENT_CHARS_MAX)}`)).toThrow(RangeError);
  });
  it("waits longer each time, up to half a minute", () => {
    expect([0, 1, 2, 3, 9].map((n) => backoffSeconds(n, 0))).toEqual([1, 2, 4, 8, 30]);
    expect(backoffSeconds(2, 1)).toBe(3);
  });
});

describe("recent changes", () => {
  const row = (path: string, at_s: number, verb = "modified"): HistoryRow => ({
    at_ns: at_s * 1e9,
    brick: "etc",
    path,
    verb,
    writers: [{ comm: "bash", pid: 1 }],
    risk: 0,
    meaning: [],
  });
  it("counts what repeats and keeps a bounded number", () => {
    let entries: Entry[] = [];
    for (let i = 0; i < 1000; i++) entries = add(entries, row("/etc/hosts", i / 100));
    expect(entries).toHaveLength(1);
    expect(entries[0]).toMatchObject({ times: 1000 });
    for (let i = 0; i < 1000; i++) entries = add(entries, row(`/etc/${i}`, 20));
    expect(entries).toHaveLength(ROWS_MAX);
    expect(entries[0]).toMatchObject({ row: { path: "/etc/999" }, times: 1 });
  });
  it("another verb, or much later, is another row", () => {
    const entries = add(add(add([], row("/a", 0)), row("/a", 1, "removed")), row("/a", 100));
    expect(entries).toHaveLength(3);
  });
  it("bursts add up at the head", () => {
    const burst = { brick: "etc", count: 700, rects: [], tree: "" };
    const entries = addBurst(addBurst([], burst, 1), burst, 2);
    expect(entries).toEqual([{ burst: { brick: "etc", count: 1400, at_ns: 2 } }]);
  });
});

describe("format", () => {
  it("numbers, sizes and times", () => {
    expect([format.size(0), format.size(1023), format.size(1536), format.size(25 * 2 ** 20)]).toEqual(["0 B", "1023 B", "1.5 KiB", "25 MiB"]);
    expect(format.count(1234567)).toBe("1\u202f234\u202f567");
    expect(["1 s", "59 min", "23 h", "8 d"]).toEqual([1, 3599, 86_399, 8 * 86_400].map((s) => format.ago(0, s * 1000)));
    expect(format.nsOfMs(1_700_000_000_123.4)).toBe("1700000000123000000");
    expect(format.modeBits(0o100644)).toBe("rw-r--r-- (0644)");
    expect(format.modeBits(0o104755)).toBe("rwsr-xr-x (04755)");
    expect(format.modeBits(0o1777)).toBe("rwxrwxrwt (01777)");
  });
  it("bytes in rows of sixteen", () => {
    const bytes = Uint8Array.from({ length: 18 }, (_, i) => i + 60);
    expect(format.hexRows(bytes, 32)).toBe(
      "00000020  3c 3d 3e 3f 40 41 42 43  44 45 46 47 48 49 4a 4b  <=>?@ABCDEFGHIJK\n" +
        `00000030  4c 4d${" ".repeat(18)}  ${" ".repeat(23)}  LM`,
    );
  });
  it("text is told from bytes, and cannot write backwards", () => {
    expect(format.looksLikeText(new TextEncoder().encode("Port 22\n"))).toBe(true);
    expect(format.looksLikeText(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 0))).toBe(false);
    expect(format.visible("a\u0007\tb\r\n\u202ec")).toBe("a\u2407\tb\n\ufffdc");
  });
  it("writers", () => {
    expect(format.writerText([{ comm: "tee", pid: 7 }, { comm: "cat" }])).toBe("tee[7] and 1 more");
    expect(format.writerText([])).toBe("nobody that was seen");
  });
});
