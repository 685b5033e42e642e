// A page of the map with everything noted that it asks, gets and complains about.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "./daemon.mjs";
import { decode } from "./png.mjs";

/** While one works on the front end: its files from this folder, under the headers of the daemon that has older ones in it. */
const DIST = process.env.SFD_DIST;

async function serveFrom(dist, page, url) {
  await page.route(`${new URL(url).origin}/*`, async (route) => {
    const { pathname } = new URL(route.request().url());
    const file = join(dist, pathname === "/" ? "index.html" : pathname);
    if (route.request().url().includes("token=") || !existsSync(file)) return route.continue();
    const response = await route.fetch();
    const body = response.status() === 200 ? readFileSync(file) : await response.body();
    return route.fulfill({ response, body });
  });
}

/** Opens the map; `hash` is where to. */
export async function open(browser, url, { hash = "", ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  const notes = { requests: [], bodies: [], complaints: [], dialogs: [] };
  page.on("request", (request) => notes.requests.push(request.url()));
  page.on("response", async (response) => {
    // The stream of events has no end; redirects have no body.
    if (response.url().endsWith("/api/events")) return;
    try {
      notes.bodies.push({ url: response.url(), body: await response.body() });
    } catch {
      // Given up by the page, or its page is closed.
    }
  });
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") notes.complaints.push(message.text());
  });
  page.on("pageerror", (error) => notes.complaints.push(String(error)));
  page.on("dialog", (dialog) => {
    notes.dialogs.push(dialog.message());
    void dialog.dismiss();
  });
  if (DIST) await serveFrom(DIST, page, url);
  // The first visit leaves the key as a cookie; the second one is as a person's later ones.
  await page.goto(url);
  if (hash !== "") {
    await page.goto(new URL(`/${hash}`, url).href);
    await page.reload();
  }
  await settled(page);
  return { page, notes, close: () => context.close() };
}

/** Nothing that should be on the screen is on its way. */
export async function settled(page) {
  await page.waitForFunction(() => window.sfdMap?.settled === true, null, { timeout: 30_000, polling: 50 });
}

/** Where an artifact is on the screen. */
export async function onScreen(page, path) {
  return page.evaluate(async (wanted) => {
    const map = window.sfdMap;
    const brick = map.bricks.find((b) => wanted === b.root || wanted.startsWith(`${b.root}/`));
    const answer = await fetch(`/api/bricks/${encodeURIComponent(brick.name)}/artifact?path=${encodeURIComponent(wanted)}`);
    const { x, y, w, h } = await answer.json();
    return map.camera.toScreen({ x: x + brick.district.x, y: y + brick.district.y, w, h });
  }, path);
}

/** The middle of an artifact on the screen. */
export async function middle(page, path) {
  const { x, y, w, h } = await onScreen(page, path);
  return { x: x + w / 2, y: y + h / 2 };
}

/** The pixels of a part of the screen. */
export async function pixels(page, clip) {
  const whole = {
    x: Math.floor(clip.x),
    y: Math.floor(clip.y),
    width: Math.max(1, Math.floor(clip.w)),
    height: Math.max(1, Math.floor(clip.h)),
  };
  return decode(await page.screenshot({ clip: whole }));
}

/** Only the picture: names, outlines and pulses are hidden. */
export async function onlyPicture(page, only) {
  await page.evaluate((hide) => {
    const map = window.sfdMap;
    map.overlay.graphics.visible = !hide;
    document.getElementById("names").hidden = hide;
    map.renderer.render(map.camera.viewport.parent);
  }, only);
}

/**
 * Begins to look at a part of the picture (only the picture) in every frame that is drawn. What it returns waits for the
 * first frame with other pixels there, and says when that was, in milliseconds since 1970.
 */
export async function watchPixels(page, clip) {
  await page.evaluate(({ x, y, w, h }) => {
    const { renderer } = window.sfdMap;
    const { gl } = renderer;
    const scale = renderer.resolution;
    const area = [x, renderer.height / scale - y - h, w, h].map((v) => Math.floor(v * scale));
    const read = () => {
      const bytes = new Uint8Array(area[2] * area[3] * 4);
      gl.readPixels(...area, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
      return bytes;
    };
    const render = Object.getPrototypeOf(renderer).render;
    let before = null;
    window.otherPixels = new Promise((resolve) => {
      renderer.render = (...args) => {
        render.apply(renderer, args);
        const now = read();
        before ??= now;
        if (before.every((byte, i) => byte === now[i])) return;
        delete renderer.render;
        resolve(Date.now());
      };
    });
    renderer.render(window.sfdMap.camera.viewport.parent);
  }, clip);
  return () => page.evaluate(() => window.otherPixels);
}

/** The panel shows this path. */
export async function panelShows(page, name) {
  await page.waitForFunction(
    (wanted) => document.querySelector("#panel .about") !== null && document.querySelector("#panel h2")?.textContent === wanted,
    name,
    { timeout: 10_000 },
  );
}

/** Flights have ended and what they lead to is there. */
export async function landed(page) {
  await until(() => page.evaluate(() => !window.sfdMap.camera.flying), "the end of a flight");
  await settled(page);
}
