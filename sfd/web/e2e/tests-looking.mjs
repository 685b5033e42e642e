// What one sees: the picture, names, hover, panel, colours, where search and addresses lead.

import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { until } from "./daemon.mjs";
import { landed, middle, onScreen, onlyPicture, open, panelShows, pixels, settled } from "./page.mjs";
import { colourfulness, colours, different } from "./png.mjs";

/** The middle of the screen that nothing covers is in the artifact. */
async function isInView(page, path) {
  const { x, y, w, h } = await onScreen(page, path);
  const { width, height } = page.viewportSize();
  assert.ok(x > 0 && y > 40 && x + w < width && y + h < height, `${path} is at ${x},${y}, ${w}x${h}: not on the screen`);
  assert.ok(w >= 24 || h >= 24, `${path} has ${w}x${h} pixels: nobody sees it`);
}

async function names(page) {
  return page.locator("#names .name:visible").allTextContents();
}

export const tests = {
  async first_meaningful_paint({ world, browser, say }) {
    const started = Date.now();
    const { page, notes } = await open(browser, world.url);
    say(`everything on the screen ${Date.now() - started} ms after the address was opened`);
    const texts = await names(page);
    assert.ok(texts.includes(world.root) && texts.includes(world.second), `districts are named: ${texts}`);
    await onlyPicture(page, true);
    const place = await onScreen(page, world.path("app-3"));
    const picture = await pixels(page, { x: place.x - 40, y: place.y - 40, w: 80, h: 80 });
    assert.ok(colours(picture) >= 3, "there is a picture, not a plain area");
    await page.waitForSelector(".live.on");
    assert.match(await page.title(), /sfd map$/);
    assert.deepEqual(notes.complaints, []);
  },

  async zoom_to_one_file_and_its_name({ world, browser }) {
    const { page } = await open(browser, world.url);
    const path = world.path("app-7/conf.d/part-9.conf");
    assert.ok(!(await names(page)).includes("part-9.conf"), "from far away it has no name");
    for (let i = 0; i < 60 && (await onScreen(page, path)).w < 150; i++) {
      const { x, y } = await middle(page, path);
      await page.mouse.move(x, y);
      await page.mouse.wheel(0, -240);
      await landed(page);
    }
    await until(async () => {
      const element = page.locator("#names .name-file:visible", { hasText: /^part-9\.conf$/ });
      for (const box of await Promise.all((await element.all()).map((e) => e.boundingBox()))) {
        const file = await onScreen(page, path);
        const inside = box !== null && box.x >= file.x - 2 && box.x + box.width <= file.x + file.w + 2;
        if (inside && box.y >= file.y - 2 && box.y + box.height <= file.y + file.h + 2) return true;
      }
      return false;
    }, "the file's name on the file");
  },

  async hover_says_what_is_under_the_pointer({ world, browser }) {
    const { page } = await open(browser, world.url, { hash: world.hash("docs/readme.txt") });
    await landed(page);
    const { x, y } = await middle(page, world.path("docs/readme.txt"));
    await page.mouse.move(x - 3, y - 3);
    await page.mouse.move(x, y);
    const tip = page.locator("#tip");
    await tip.waitFor({ state: "visible" });
    const text = await tip.textContent();
    assert.ok(text.includes(world.path("docs/readme.txt")), text);
    assert.match(text, /text/);
    assert.match(text, /1\.1 KiB/);
    await page.mouse.move(x, 20);
    await tip.waitFor({ state: "hidden" });
  },

  async a_click_shows_the_right_panel({ world, browser }) {
    const { page } = await open(browser, world.url, { hash: world.hash("ssh/sshd_config") });
    await landed(page);
    await page.keyboard.press("Escape");
    assert.equal(await page.locator("#panel").isVisible(), false);
    assert.equal(await page.evaluate(() => window.sfdMap.overlay.selected), null, "nothing is outlined any more");
    const { x, y } = await middle(page, world.path("ssh/sshd_config"));
    await page.mouse.click(x, y);
    await panelShows(page, "sshd_config");
    const panel = page.locator("#panel");
    const text = await panel.textContent();
    const file = world.path("ssh/sshd_config");
    assert.ok(text.includes(`${statSync(file).size} B`), "its size");
    assert.match(text, /root \(0\)|\(?\d+\)? :/, "its owner");
    assert.match(text, /rw-r--r-- \(0644\)/, "its mode");
    assert.match(text, /Said by a (heuristic|language model)/, "who says what it is");
    await panel.locator("pre").waitFor();
    await until(async () => (await panel.locator("pre").textContent()) === readFileSync(file, "utf8"), "its text");
    await panel.getByRole("button", { name: "Hex" }).click();
    await until(async () => (await panel.locator("pre").textContent()).includes("50 6f 72 74"), "its bytes");
    assert.equal(new URL(page.url()).hash, world.hash("ssh/sshd_config"), "the address names it");
    await panel.getByRole("button", { name: "ssh", exact: true }).click();
    await panelShows(page, "ssh");
    await panel.locator(".below").getByRole("button", { name: "id_ed25519" }).click();
    await panelShows(page, "id_ed25519");
  },

  async a_large_text_comes_in_pages({ world, browser, }) {
    const { page, notes } = await open(browser, world.url, { hash: world.hash("docs/large.txt") });
    await panelShows(page, "large.txt");
    const panel = page.locator("#panel");
    const whole = readFileSync(world.path("docs/large.txt"), "utf8");
    // A file larger than its block is there as a digest only; then the panel says so, and nothing is asked for.
    if ((await panel.textContent()).includes("digest")) {
      assert.ok(whole.length > 65_536);
      assert.ok(!notes.requests.some((url) => url.includes("/content?")));
      await page.goto(new URL(`/${world.hash("docs/readme.txt")}`, world.url).href);
      await panelShows(page, "readme.txt");
      return;
    }
    await panel.getByRole("button", { name: "More" }).click();
    await until(async () => (await panel.locator("pre").textContent()).length >= 65_000, "a second page");
    assert.ok(whole.startsWith(await panel.locator("pre").textContent()));
  },

  async search_lands_on_the_right_place({ world, browser }) {
    const { page } = await open(browser, world.url);
    await page.keyboard.press("/");
    await page.keyboard.type("sshd_config");
    await page.locator('#hits li[data-path$="/ssh/sshd_config"]').waitFor();
    await page.keyboard.press("Enter");
    await panelShows(page, "sshd_config");
    await landed(page);
    await isInView(page, world.path("ssh/sshd_config"));
    const nothing = "no-such-name-anywhere";
    await page.keyboard.press("/");
    await page.locator("#search").fill(nothing);
    await page.getByText("Nothing is called so").waitFor();
  },

  async addresses_lead_to_their_place_and_back({ world, browser }) {
    const { page } = await open(browser, world.url, { hash: world.hash("app-3/conf.d/part-4.conf") });
    await panelShows(page, "part-4.conf");
    await landed(page);
    await isInView(page, world.path("app-3/conf.d/part-4.conf"));
    await page.evaluate((hash) => (location.hash = hash), world.hash("docs"));
    await panelShows(page, "docs");
    await page.goBack();
    await panelShows(page, "part-4.conf");
    await landed(page);
    await isInView(page, world.path("app-3/conf.d/part-4.conf"));
    await page.evaluate((hash) => (location.hash = hash), world.hash("docs/never-was"));
    await page.locator("#panel").getByText("There is no such thing now").waitFor();
    await page.locator("#panel .crumbs").getByRole("button", { name: "docs" }).click();
    await panelShows(page, "docs");
    await page.evaluate(() => (location.hash = "#nowhere/at/all"));
    await page.locator("#panel").getByText("not under a watched directory").waitFor();
    await page.locator("#panel").getByRole("button", { name: world.second }).click();
    await panelShows(page, world.second);
  },

  async five_modes_two_themes_and_the_legend({ world, browser }) {
    const { page } = await open(browser, world.url, { hash: world.hash("ssh") });
    await landed(page);
    await onlyPicture(page, true);
    const { x, y, w, h } = await onScreen(page, world.path("ssh/sshd_config"));
    const clip = { x: x - w / 2, y: y - h / 2, w: w * 2, h: h * 2 };
    const seen = [];
    for (const mode of ["kind", "content", "entropy", "risk", "age"]) {
      await page.waitForFunction((m) => document.documentElement.dataset.mode === m, mode);
      await settled(page);
      seen.push(await pixels(page, clip));
      const swatches = await page.locator("#legend .swatches .swatch").count();
      assert.ok(swatches >= 4, `${mode} has a legend of ${swatches}`);
      await page.keyboard.press("m");
    }
    for (let i = 1; i < seen.length; i++) assert.ok(different(seen[i - 1], seen[i]) > 50, `mode ${i} looks different`);
    await settled(page);
    const light = await pixels(page, { x: 0, y: 300, w: 20, h: 20 });
    await page.keyboard.press("t");
    await settled(page);
    assert.ok(different(light, await pixels(page, { x: 0, y: 300, w: 20, h: 20 })) > 300, "dark is dark");
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
    await page.reload();
    await settled(page);
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark", "it is remembered");
  },

  async the_slider_greys_what_did_not_change({ world, browser }) {
    const { page } = await open(browser, world.url, { hash: world.hash("ssh") });
    await landed(page);
    await onlyPicture(page, true);
    const clip = await onScreen(page, world.path("ssh/sshd_config"));
    const before = colourfulness(await pixels(page, clip));
    await page.locator("#since").focus();
    await page.keyboard.press("End");
    await page.locator("#time").getByText("since you opened this").waitFor();
    await until(async () => {
      await settled(page);
      return colourfulness(await pixels(page, clip)) < before / 2;
    }, "grey");
    await page.keyboard.press("Home");
    await until(async () => {
      await settled(page);
      return colourfulness(await pixels(page, clip)) > before * 0.9;
    }, "colours again");
  },

  async keys_move_and_zoom({ world, browser }) {
    const { page } = await open(browser, world.url);
    const at = () => page.evaluate(() => ({ ...window.sfdMap.camera.view, scale: window.sfdMap.camera.scale }));
    const start = await at();
    await page.keyboard.down("+");
    await until(async () => (await at()).scale > start.scale * 1.5, "a closer view");
    await page.keyboard.up("+");
    const near = await at();
    await page.keyboard.down("ArrowRight");
    await until(async () => (await at()).x > near.x, "a view to the right");
    await page.keyboard.up("ArrowRight");
    await page.keyboard.press("0");
    await landed(page);
    assert.ok(Math.abs((await at()).scale / start.scale - 1) < 0.01, "0 shows everything again");
    await page.keyboard.press("?");
    await page.locator("#help").waitFor({ state: "visible" });
    await page.keyboard.press("Escape");
    await page.locator("#help").waitFor({ state: "hidden" });
  },
};
