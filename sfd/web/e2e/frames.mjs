// Times between frames while one moves over many artifacts:
//
//   SFD_BIN=target/release/sfd node sfd/web/e2e/frames.mjs [NUMBER OF FILES]

import { loadavg, cpus } from "node:os";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { launch } from "./browser.mjs";
import { start, temporary } from "./daemon.mjs";
import { landed, open } from "./page.mjs";

const FILES = Number(process.argv[2] ?? 100_000);
const FILES_A_DIRECTORY = 100;
/** Each movement lasts this long. */
const MOVE_MS = 4000;

const { dir, remove } = temporary();
const root = join(dir, "many");
for (let i = 0; i < FILES / FILES_A_DIRECTORY; i++) {
  const below = join(root, `group-${Math.floor(i / 20)}`, `part-${i % 20}`);
  mkdirSync(below, { recursive: true });
  for (let j = 0; j < FILES_A_DIRECTORY; j++) {
    writeFileSync(join(below, `file-${j}.conf`), `# ${i}/${j}\n${"key = value\n".repeat((i * 31 + j * 7) % 60)}`);
  }
}
const daemon = await start(process.env.SFD_BIN, [root], join(dir, "state"), ["--llm", "off", "--listen", "127.0.0.1:0"]);
const browser = await launch();
const load = () => loadavg()[0].toFixed(1);
try {
  const { page } = await open(browser, daemon.url);
  console.log(`${FILES} files, ${cpus().length} CPUs, load average ${load()} before; SwiftShader instead of a graphics card\n`);
  console.log("| what moves | frames | page's work, ms: median | 95 of 100 | frame to frame, ms: median | 95 of 100 | names | textures |");
  console.log("|---|--:|--:|--:|--:|--:|--:|--:|");
  const views = [["everything", 1], ["a sixteenth", 4], ["directories", 16], ["single files", 64]];
  const move = async (what, keys) => {
    await page.evaluate(() => (window.sfdMap.frames.length = 0));
    for (const key of keys) {
      await page.keyboard.down(key);
      await page.waitForTimeout(MOVE_MS / keys.length);
      await page.keyboard.up(key);
    }
    const measured = await page.evaluate(() => ({
      frames: window.sfdMap.frames.slice(),
      names: window.sfdMap.names.texts.length,
      textures: window.sfdMap.tiles.textures,
    }));
    const at = (which, part) => {
      const sorted = measured.frames.map((frame) => frame[which]).sort((a, b) => a - b);
      return (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? NaN).toFixed(1);
    };
    const times = `${at("work", 0.5)} | ${at("work", 0.95)} | ${at("since", 0.5)} | ${at("since", 0.95)}`;
    console.log(`| ${what} | ${measured.frames.length} | ${times} | ${measured.names} | ${measured.textures} |`);
  };
  for (const [name, times] of views) {
    await page.evaluate((factor) => {
      const { camera } = window.sfdMap;
      const { x, y, w, h } = camera.view;
      window.wholeView ??= { x: x + w / 2, y: y + h / 2, w };
      camera.jump({ x: window.wholeView.x - window.wholeView.w * 0.1, y: window.wholeView.y - window.wholeView.w * 0.1, w: window.wholeView.w / factor });
    }, times);
    await landed(page);
    await move(`panning, ${name}`, ["ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"]);
  }
  await page.evaluate(() => window.sfdMap.camera.jump(window.wholeView));
  await landed(page);
  await move("zooming in and out", ["+", "-"]);
  console.log(`\nload average ${load()} after`);
} finally {
  await browser.close();
  await daemon.stop();
  remove();
}
