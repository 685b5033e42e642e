// Begins: finds out what the browser can do, makes the map, and hands it the keys.

// The page's policy forbids making code from text, which pixi does by default.
import "pixi.js/unsafe-eval";
import { autoDetectRenderer } from "pixi.js";
import type { Renderer } from "pixi.js";
import { ApiError, messageOf } from "./api";
import { App } from "./app";
import { Bar } from "./bar";
import { button, byId, h, replace } from "./dom";
import { fillHelp } from "./help";
import { takeKeys } from "./keys";
import type { Theme } from "./types";
import "./map.css";

const THEME_KEY = "sfd-map-theme";

function storedTheme(): Theme | null {
  try {
    const stored = localStorage.getItem(THEME_KEY);
    return stored === "light" || stored === "dark" ? stored : null;
  } catch {
    return null;
  }
}

const darkWanted = matchMedia("(prefers-color-scheme: dark)");

function wantedTheme(): Theme {
  return storedTheme() ?? (darkWanted.matches ? "dark" : "light");
}

/** Says in the middle of the page why there is no map, and what to do. */
function cover(...content: (Node | string)[]): void {
  const element = byId("cover");
  element.hidden = false;
  replace(element, ...content);
}

async function renderer(): Promise<Renderer | null> {
  try {
    const made = await autoDetectRenderer({
      preference: "webgl",
      width: window.innerWidth,
      height: window.innerHeight,
      resolution: Math.min(window.devicePixelRatio, 2),
      autoDensity: true,
      antialias: false,
      backgroundAlpha: 1,
      eventMode: "passive",
      accessibilityOptions: { enabledByDefault: false, activateOnTab: false },
    });
    // A shader that chooses among 16 textures costs more than a draw call for each of some sixty tiles, and without a
    // graphics card several times as much.
    made.limits.maxBatchableTextures = 1;
    return made;
  } catch (error) {
    cover(
      h("p", {}, "This browser cannot draw the map: it has no WebGL."),
      h("p", { class: "quiet" }, `${messageOf(error)}. The same facts in a terminal: sfd log, sfd search, sfd explain.`),
    );
    return null;
  }
}

async function start(app: App): Promise<void> {
  try {
    await app.start(wantedTheme());
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) {
      cover(h("p", {}, "This page needs the key that sfd made when it started."), h("p", {}, "Run "), h("code", {}, "sfd map"));
    } else {
      cover(
        h("p", {}, `The map could not be loaded: ${messageOf(error)}`),
        button({}, () => void start(app), "Try again"),
      );
    }
  }
}

async function main(): Promise<void> {
  document.documentElement.dataset["theme"] = wantedTheme();
  const help = byId<HTMLDialogElement>("help");
  fillHelp(help);
  const made = await renderer();
  if (made === null) return;
  made.canvas.tabIndex = 0;
  made.canvas.setAttribute("role", "img");
  made.canvas.setAttribute("aria-label", "Map of what is watched. The same as a list: press l.");
  byId("map").appendChild(made.canvas);
  const toggleTheme = (): void => {
    const theme = app.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem(THEME_KEY, theme);
    } catch {
      // It lasts as long as the page, then.
    }
    app.setTheme(theme);
  };
  const toggleList = (): void => {
    if (app.listOpen) app.showMap();
    else void app.showList();
  };
  const bar = new Bar(byId("bar"), {
    home: () => {
      app.showMap();
      app.flyToAll();
    },
    list: toggleList,
    theme: toggleTheme,
    help: () => help.showModal(),
  });
  const app = new App(made, bar);
  darkWanted.addEventListener("change", () => storedTheme() === null && app.setTheme(wantedTheme()));
  takeKeys(app, { help, toggleList, toggleTheme });
  await start(app);
  app.run();
  // For the browser tests and the curious.
  Object.assign(window, { sfdMap: app });
}

void main();
