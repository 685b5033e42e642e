// What must never happen: contents of what is secret, markup from names and models, requests to other hosts.

import assert from "node:assert/strict";
import { until } from "./daemon.mjs";
import { landed, onScreen, open, panelShows } from "./page.mjs";
import { MARKUP, SECRET, SUMMARY } from "./world.mjs";

export const tests = {
  async what_is_redacted_is_nowhere({ world, browser }) {
    const { page, notes } = await open(browser, world.url, { hash: world.hash("ssh/id_ed25519") });
    await panelShows(page, "id_ed25519");
    await landed(page);
    await page.locator("#panel .content").getByText("Redacted.").waitFor();
    const { x, y, w, h } = await onScreen(page, world.path("ssh/id_ed25519"));
    await page.mouse.move(x + w / 2, y + h / 2);
    await page.locator("#tip", { hasText: "redacted" }).waitFor({ state: "visible" });
    await page.keyboard.press("/");
    await page.keyboard.type("id_ed25519");
    await page.locator('#hits li[data-path$="id_ed25519"]').waitFor();
    // Asked for all the same, as an attacker in the page would.
    const status = await page.evaluate(
      async (path) => (await fetch(`/api/bricks/${window.sfdMap.bricks[0].name}/content?path=${encodeURIComponent(path)}`)).status,
      world.path("ssh/id_ed25519"),
    );
    assert.equal(status, 403);
    const dom = await page.evaluate(() => document.documentElement.outerHTML);
    const bytes = Buffer.from(SECRET);
    const forms = [SECRET, SECRET.slice(8, 40), bytes.toString("base64").slice(2, 40), bytes.toString("hex").slice(0, 32)];
    await until(() => notes.bodies.some(({ url }) => url.includes("id_ed25519")), "an answer about it");
    for (const form of forms) {
      assert.ok(!dom.includes(form), `the page has ${form}`);
      for (const { url, body } of notes.bodies) assert.ok(!body.includes(form), `${url} has ${form}`);
    }
    const asked = notes.requests.filter((url) => url.includes("/content?"));
    assert.equal(asked.length, 1, "the page itself did not ask for its contents");
  },

  async a_name_that_is_markup_is_text({ world, browser }) {
    const { page, notes } = await open(browser, world.url, { hash: world.hash(`odd/${MARKUP}`) });
    await panelShows(page, MARKUP);
    await landed(page);
    await page.locator("#names .name-file:visible", { hasText: "<img" }).first().waitFor();
    const { x, y, w, h } = await onScreen(page, world.path(`odd/${MARKUP}`));
    await page.mouse.move(x + w / 2, y + h / 2);
    await page.locator("#tip", { hasText: MARKUP }).waitFor({ state: "visible" });
    await page.keyboard.press("/");
    await page.keyboard.type("onerror");
    await page.locator("#hits .hit-name", { hasText: MARKUP }).waitFor();
    await page.keyboard.press("Escape");
    await page.keyboard.press("Escape");
    await page.locator("#map canvas").focus();
    await page.keyboard.press("l");
    await page.locator('[role="treeitem"]').first().waitFor();
    await page.keyboard.press("ArrowRight");
    const odd = page.locator(`[data-path="${world.path("odd")}"]`);
    await odd.waitFor();
    await odd.click();
    await page.locator(".tree-name", { hasText: MARKUP }).waitFor();
    assert.equal(await page.locator("img, script:not([src])").count(), 0);
    assert.deepEqual(notes.dialogs, []);
  },

  async names_cannot_be_read_backwards({ world, browser }) {
    const { page } = await open(browser, world.url, { hash: world.hash("odd") });
    await panelShows(page, "odd");
    await page.keyboard.press("l");
    await page.locator('[role="treeitem"]').first().waitFor();
    await page.keyboard.press("ArrowRight");
    const odd = page.locator(`[data-path="${world.path("odd")}"]`);
    await odd.click();
    await page.locator(".tree-name", { hasText: "right\ufffdto-left.txt" }).waitFor();
    assert.ok(!(await page.evaluate(() => document.body.textContent)).includes("\u202e"));
  },

  async a_name_that_is_not_utf8_has_an_address({ world, browser }) {
    const { page } = await open(browser, world.url, { hash: `${world.hash("odd")}/n%FF%FE1` });
    await panelShows(page, "n\ufffd\ufffd1");
    await until(async () => (await page.locator("#panel pre").textContent()).includes("not UTF-8"), "its contents");
    await landed(page);
    assert.ok(page.url().endsWith("/n%FF%FE1"));
  },

  async the_words_of_a_model_are_text({ world, browser }) {
    const { page, notes } = await open(browser, world.url);
    const path = world.path("docs/readme.txt");
    const isModel = () =>
      page.evaluate(async (wanted) => {
        const { name } = window.sfdMap.bricks[0];
        const answer = await fetch(`/api/bricks/${name}/artifact?path=${encodeURIComponent(wanted)}`);
        return (await answer.json()).semantics.source === "llm";
      }, path);
    await until(isModel, "the model's label", 60_000);
    await page.evaluate((hash) => (location.hash = hash), world.hash("docs/readme.txt"));
    await panelShows(page, "readme.txt");
    const panel = page.locator("#panel");
    assert.equal(await panel.locator(".summary").textContent(), SUMMARY);
    assert.match(await panel.locator(".said").textContent(), /language model \(.*qwen2\.5-coder.*\); it may be wrong/);
    assert.equal(await page.locator("#panel b, #panel script, #panel img").count(), 0);
    await landed(page);
    const { x, y, w, h } = await onScreen(page, path);
    await page.mouse.move(x + w / 2, y + h / 2);
    await page.locator("#tip", { hasText: "<script>alert(2)</script>" }).waitFor({ state: "visible" });
    assert.deepEqual(notes.dialogs, []);
  },

  async no_request_leaves_the_host({ world, browser }) {
    const { page, notes } = await open(browser, world.url);
    await page.waitForSelector(".live.on");
    for (const key of ["m", "m", "t", "l", "l", "?", "Escape"]) await page.keyboard.press(key);
    await page.keyboard.press("/");
    await page.keyboard.type("readme");
    await page.locator("#hits li").first().waitFor();
    await page.keyboard.press("Enter");
    await panelShows(page, "readme.txt");
    await landed(page);
    const own = new URL(world.url).origin;
    assert.ok(notes.requests.length > 15);
    for (const url of notes.requests) assert.ok(url.startsWith(`${own}/`) || url.startsWith("blob:"), url);
    assert.deepEqual(notes.complaints, [], "nothing was refused by the page's policy");
  },

  async without_its_key_a_page_says_what_to_do({ world, browser }) {
    const context = await browser.newContext();
    const page = await context.newPage();
    const answer = await page.goto(new URL("/", world.url).href);
    assert.equal(answer.status(), 401);
    assert.match(await page.textContent("body"), /sfd map/);
  },
};
