// The keyboard. Keys that are letters somewhere (in the search box) never come here: it stops them.

import type { App } from "./app";

export interface KeyActions {
  help: HTMLDialogElement;
  toggleList: () => void;
  toggleTheme: () => void;
}

const HELD: ReadonlySet<string> = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "+", "-"]);

export function takeKeys(app: App, actions: KeyActions): void {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || actions.help.open) return;
    const target = event.target as Element;
    // Inside of boxes that scroll or slide, arrows are theirs.
    const boxed = target.closest("input, pre, dialog, #side, #legend, #list") !== null;
    const key = event.key === "=" ? "+" : event.key === "_" ? "-" : event.key;
    if (HELD.has(key)) {
      if (boxed || app.listOpen) return;
      event.preventDefault();
      app.camera.hold(key);
      return;
    }
    const action: Record<string, () => void> = {
      "/": () => app.bar.search.input.focus(),
      "?": () => actions.help.showModal(),
      m: () => app.nextMode(),
      t: actions.toggleTheme,
      l: actions.toggleList,
      f: () => app.flyToSelected(),
      "0": () => app.flyToAll(),
      Escape: () => (app.panelOpen ? app.closePanel() : app.showMap()),
    };
    const act = action[key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  });
  document.addEventListener("keyup", (event) => {
    const key = event.key === "=" ? "+" : event.key === "_" ? "-" : event.key;
    app.camera.release(key);
  });
  window.addEventListener("blur", () => app.camera.release());
}
