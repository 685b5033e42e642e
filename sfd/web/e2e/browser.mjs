// Debian's Chromium, without a screen and without its own errands on the network.

import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

const CANDIDATES = [process.env.SFD_CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** The browser's path; null where there is none. */
export function browserPath() {
  return CANDIDATES.find((path) => path !== undefined && path !== "" && existsSync(path)) ?? null;
}

/** WebGL without a graphics card: SwiftShader, in the browser's own process. */
const FLAGS = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-features=OptimizationHints,MediaRouter,Translate",
  "--use-gl=angle",
  "--use-angle=swiftshader",
  "--enable-unsafe-swiftshader",
  "--font-render-hinting=none",
];

export async function launch() {
  return chromium.launch({ executablePath: browserPath() ?? undefined, headless: true, args: FLAGS });
}
