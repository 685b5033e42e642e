// A page of the map with everything noted that it asks, gets and complains about.

import { until } from "./daemon.mjs";
import { decode } from "./png.mjs";

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
