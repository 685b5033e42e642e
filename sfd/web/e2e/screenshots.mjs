// The pictures of README and docs, from the real daemon on this host's own /etc, systemd and shell completions:
//
//   SFD_SCREENSHOTS=1 SFD_BIN=target/debug/sfd-under-test node sfd/web/e2e/suite.mjs

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { launch } from "./browser.mjs";
import { put, start, temporary, until } from "./daemon.mjs";
import { landed, open, panelShows, settled } from "./page.mjs";

const IMAGES = fileURLToPath(new URL("../../../docs/images/", import.meta.url));
/** A short name for the pictures; another one is taken where this is somebody's. */
const DEMO = join(tmpdir(), "demo");
const SIZE = { width: 1440, height: 860 };

export async function screenshots(program) {
  const { dir, remove } = temporary();
  const watched = ["/etc", "/usr/lib/systemd", "/usr/share/bash-completion"].filter((path) => existsSync(path));
  // Changes are shown in a tree of our own: nothing of the host is touched.
  const demo = existsSync(DEMO) ? join(dir, "demo") : DEMO;
  put(join(demo, "app/settings.ini"), "[server]\nport = 8080\nhost = 127.0.0.1\n");
  put(join(demo, "app/deploy.sh"), "#!/bin/sh\nset -e\necho deploying\n");
  put(join(demo, "app/tls.key"), `-----BEGIN PRIVATE KEY-----\n${"MC4CAQAwBQYDK2VwBCIEIA".repeat(3)}\n-----END PRIVATE KEY-----\n`);
  put(join(demo, "www/index.html"), "<!doctype html><title>Hello</title>\n");
  const daemon = await start(program, [...watched, demo], join(dir, "state"), ["--llm", "off", "--listen", "127.0.0.1:0"]);
  const browser = await launch();
  const out = process.env.SFD_SCREENSHOTS_TO ?? IMAGES;
  mkdirSync(out, { recursive: true });
  const take = async (page, name) => {
    await settled(page);
    await page.screenshot({ path: join(out, `map-${name}.png`) });
    console.log(`map-${name}.png`);
  };
  try {
    const { page } = await open(browser, daemon.url, { viewport: SIZE });
    await page.waitForSelector(".live.on");
    execFileSync("/bin/sh", ["-c", 'echo "debug = true" >> "$0/app/settings.ini"; echo "echo done" >> "$0/app/deploy.sh"; chmod 755 "$0/app/deploy.sh"; echo new > "$0/www/news.html"', demo]);
    await until(async () => (await page.locator("#recent .row").count()) >= 3, "changes in the list");
    await page.waitForFunction(() => !window.sfdMap.overlay.pulsing, null, { timeout: 20_000 });
    await take(page, "whole");
    await page.evaluate(() => (location.hash = "#etc/apt"));
    await panelShows(page, "apt");
    await landed(page);
    await page.keyboard.press("Escape");
    await take(page, "light");

    const dark = await open(browser, daemon.url, { viewport: SIZE, colorScheme: "dark", hash: "#etc/ssh" });
    await landed(dark.page);
    await take(dark.page, "dark");
    await dark.page.evaluate((hash) => (location.hash = hash), `#${join(demo, "app/settings.ini").slice(1)}`);
    await panelShows(dark.page, "settings.ini");
    await landed(dark.page);
    execFileSync("/bin/sh", ["-c", 'echo "workers = 4" >> "$0"', join(demo, "app/settings.ini")]);
    await dark.page.waitForFunction(() => window.sfdMap.overlay.pulsing, null, { timeout: 10_000 });
    await until(async () => (await dark.page.locator("#panel pre").textContent()).includes("workers"), "the new text");
    await dark.page.screenshot({ path: join(out, "map-change.png") });
    console.log("map-change.png");

    await page.evaluate(() => (location.hash = "#etc"));
    await panelShows(page, "/etc");
    await page.keyboard.press("Escape");
    await page.evaluate(() => window.sfdMap.setMode("risk"));
    await take(page, "risk");
    await page.keyboard.press("l");
    await page.keyboard.press("ArrowRight");
    await page.locator('[role="treeitem"][aria-level="2"]').first().waitFor();
    await take(page, "list");
  } finally {
    await browser.close();
    await daemon.stop();
    rmSync(demo, { recursive: true, force: true });
    remove();
  }
}
