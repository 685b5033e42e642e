// The list view and everybody who does not see the map: keyboard, screen readers.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { until } from "./daemon.mjs";
import { landed, open, panelShows } from "./page.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What axe finds, by the rules of WCAG 2.2 AA and its best practices. */
async function axe(page) {
  // In a world of its own, where the page's policy does not forbid it.
  const session = await page.context().newCDPSession(page);
  const { frameTree } = await session.send("Page.getFrameTree");
  const { executionContextId } = await session.send("Page.createIsolatedWorld", { frameId: frameTree.frame.id });
  const run = `${AXE};axe.run(document, { resultTypes: ["violations"] }).then((r) => JSON.stringify({
    passes: r.passes.length,
    violations: r.violations.map((v) => v.id + ": " + v.help + " " + v.nodes.map((n) => n.target + " " + n.failureSummary).join("; ")),
  }))`;
  const { result, exceptionDetails } = await session.send("Runtime.evaluate", {
    expression: run,
    contextId: executionContextId,
    awaitPromise: true,
    returnByValue: true,
  });
  assert.equal(exceptionDetails, undefined, JSON.stringify(exceptionDetails));
  return JSON.parse(result.value);
}

async function clean(page, where) {
  const { passes, violations } = await axe(page);
  assert.ok(passes > 10, `${where}: axe looked at something`);
  assert.deepEqual(violations, [], where);
}

/** The row that has the focus. */
const focused = (page) => page.evaluate(() => document.activeElement?.getAttribute("data-path"));

export const tests = {
  async the_list_works_by_keyboard_alone({ world, browser }) {
    const { page } = await open(browser, world.url);
    await page.keyboard.press("l");
    await page.locator('[role="tree"]').waitFor();
    await until(async () => (await focused(page)) === world.root, "the first row has the focus");
    await page.keyboard.press("ArrowRight");
    await page.locator('[role="treeitem"]', { hasText: "docs/" }).first().waitFor();
    for (let i = 0; i < 40 && (await focused(page)) !== world.path("docs"); i++) await page.keyboard.press("ArrowDown");
    assert.equal(await focused(page), world.path("docs"));
    await page.keyboard.press("ArrowRight");
    await until(() => page.locator(`[data-path="${world.path("docs/readme.txt")}"]`).count(), "what is in docs");
    assert.equal(await page.locator(`[data-path="${world.path("docs")}"]`).getAttribute("aria-expanded"), "true");
    for (let i = 0; i < 20 && (await focused(page)) !== world.path("docs/readme.txt"); i++) await page.keyboard.press("ArrowDown");
    const row = page.locator(`[data-path="${world.path("docs/readme.txt")}"]`);
    assert.equal(await row.getAttribute("aria-level"), "3");
    assert.match(await row.getAttribute("aria-setsize"), /^\d+$/);
    await page.keyboard.press("Enter");
    await panelShows(page, "readme.txt");
    await page.keyboard.press("ArrowLeft");
    assert.equal(await focused(page), world.path("docs"));
    await page.keyboard.press("ArrowLeft");
    assert.equal(await page.locator(`[data-path="${world.path("docs")}"]`).getAttribute("aria-expanded"), "false");
    await page.keyboard.press("l");
    await page.locator("#list").waitFor({ state: "hidden" });
  },

  async axe_finds_nothing_wrong({ world, browser }) {
    for (const colorScheme of ["light", "dark"]) {
      const { page, close } = await open(browser, world.url, { colorScheme });
      await page.waitForSelector(".live.on");
      await clean(page, `map, ${colorScheme}`);
      await page.evaluate((hash) => (location.hash = hash), world.hash("ssh/sshd_config"));
      await panelShows(page, "sshd_config");
      await page.locator("#panel pre").waitFor();
      await landed(page);
      await clean(page, `panel, ${colorScheme}`);
      await page.keyboard.press("l");
      await page.keyboard.press("ArrowRight");
      await page.locator(`[data-path="${world.path("docs")}"]`).waitFor();
      await clean(page, `list, ${colorScheme}`);
      await page.keyboard.press("Escape");
      await page.keyboard.press("/");
      await page.keyboard.type("conf");
      await page.locator("#hits li").first().waitFor();
      await clean(page, `search, ${colorScheme}`);
      await page.keyboard.press("Escape");
      await page.keyboard.press("Escape");
      await page.locator("#map canvas").focus();
      await page.keyboard.press("?");
      await page.locator("#help").waitFor({ state: "visible" });
      await clean(page, `help, ${colorScheme}`);
      await close();
    }
  },

  async it_fits_a_small_screen({ world, browser }) {
    const { page } = await open(browser, world.url, { viewport: { width: 390, height: 780 } });
    await page.evaluate((hash) => (location.hash = hash), world.hash("ssh/sshd_config"));
    await panelShows(page, "sshd_config");
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= 390, `the page is ${wide} pixels wide`);
    const panel = await page.locator("#panel").boundingBox();
    assert.ok(panel.x >= 0 && panel.x + panel.width <= 390, "the panel is on the screen");
    await clean(page, "small screen");
  },
};
