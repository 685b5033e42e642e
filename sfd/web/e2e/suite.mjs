// The map in a real browser against a real daemon on a real tree: `cargo xtask test` runs it as the suite `browser`.
//
//   SFD_BIN=target/debug/sfd node sfd/web/e2e/suite.mjs [PART OF A NAME]
//
// With SFD_SCREENSHOTS=1 it writes docs/images/map-*.png instead.

import { browserPath, launch } from "./browser.mjs";
import { makeWorld } from "./world.mjs";
import * as looking from "./tests-looking.mjs";
import * as changing from "./tests-changing.mjs";
import * as safety from "./tests-safety.mjs";
import * as reading from "./tests-reading.mjs";
import { screenshots } from "./screenshots.mjs";

/** Longest time for one test, in milliseconds. */
const TEST_MS_MAX = 90_000;

const program = process.env.SFD_BIN;
if (program === undefined || browserPath() === null) {
  console.error("needs the daemon's program in SFD_BIN, and Chromium: apt-get install chromium");
  process.exit(2);
}

if (process.env.SFD_SCREENSHOTS) {
  await screenshots(program);
  process.exit(0);
}

const tests = [looking, changing, reading, safety].flatMap((module) => Object.entries(module.tests));
const wanted = tests.filter(([name]) => name.includes(process.argv[2] ?? ""));
console.log(`running ${wanted.length} tests`);
let passed = 0;
const failed = [];
const world = await makeWorld(program);
const browser = await launch();
try {
  for (const [name, test] of wanted) {
    const started = Date.now();
    const context = { world, browser, say: (text) => console.log(`    ${text}`) };
    try {
      const late = new Promise((_, reject) => {
        setTimeout(() => reject(new Error(`not done after ${TEST_MS_MAX / 1000} s`)), TEST_MS_MAX).unref();
      });
      await Promise.race([test(context), late]);
      passed += 1;
      console.log(`test ${name} ... ok (${Date.now() - started} ms)`);
    } catch (error) {
      failed.push(name);
      console.log(`test ${name} ... FAILED\n${error.stack ?? error}`);
    }
    await Promise.all(browser.contexts().map((each) => each.close()));
  }
} finally {
  await browser.close();
  if (failed.length > 0) console.log(`the daemon's log:\n${world.daemon.log()}`);
  await world.stop();
}
const verdict = failed.length === 0 ? "ok" : "FAILED";
console.log(`test result: ${verdict}. ${passed} passed; ${failed.length} failed; ${tests.length - wanted.length} filtered out`);
process.exit(failed.length === 0 && passed > 0 ? 0 : 1);
