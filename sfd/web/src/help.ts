// What the keys do, and what one sees.

import { button, h, replace } from "./dom";

const KEYS: readonly [string, string][] = [
  ["drag, arrow keys", "move"],
  ["wheel, pinch, + and -", "zoom, down to single bytes"],
  ["click", "details of a file or directory"],
  ["double click", "zoom to it"],
  ["/", "search"],
  ["m", "next colour mode"],
  ["0", "everything"],
  ["f", "to what is selected"],
  ["l", "list instead of map"],
  ["t", "light or dark"],
  ["Escape", "close"],
  ["?", "this help"],
];

export function fillHelp(dialog: HTMLDialogElement): void {
  const keys = h("dl", { class: "keys" });
  for (const [key, does] of KEYS) keys.append(h("dt", {}, ...key.split(/(?<=, )/).map((k) => h("kbd", {}, k))), h("dd", {}, does));
  replace(
    dialog,
    h(
      "div",
      { class: "panel-top" },
      h("h2", { id: "help-title" }, "The map"),
      button({ class: "icon", "aria-label": "Close" }, () => dialog.close(), "×"),
    ),
    h(
      "p",
      {},
      "Every square is one file, directory or process; every cell in it is one byte. Things stay where they are: only what outgrows its place moves. What is near in the tree is near on the map. A frame is one watched directory.",
    ),
    keys,
    h("p", { class: "quiet" }, "The address always names what is selected: it can be copied and sent."),
  );
}
