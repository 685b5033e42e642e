// The list view: the same things as a tree, for the keyboard and for screen readers (the tree pattern of ARIA).

import { api, messageOf } from "./api";
import { h, replace } from "./dom";
import { size } from "./format";
import { keyOf, nameOf, shown } from "./paths";
import type { Brick, PathRef, Short } from "./types";

/** Children fetched at once. */
const PAGE = 200;

interface Node_ {
  brick: Brick;
  ref: PathRef;
  row: HTMLElement;
  group: HTMLElement | null;
  level: number;
  parent: Node_ | null;
  loaded: number;
  total: number;
  /** A row that is not an artifact but brings the rest of its parent's. */
  more: boolean;
}

export class Tree {
  onopen: (brick: Brick, ref: PathRef) => void = () => undefined;
  readonly #root: HTMLElement;
  readonly #tree = h("ul", { role: "tree", "aria-label": "Everything that is watched" });
  readonly #says = h("p", { role: "status", class: "only-read" });
  readonly #nodes = new Map<HTMLElement, Node_>();
  #current: HTMLElement | null = null;
  #stale = false;

  constructor(root: HTMLElement) {
    this.#root = root;
    replace(
      root,
      h("h2", {}, "Everything that is watched"),
      h("p", { class: "quiet" }, "Arrow keys move, Right opens a directory, Enter shows details, Escape or l goes back to the map."),
      this.#tree,
      this.#says,
    );
    this.#tree.addEventListener("keydown", (event) => this.#key(event));
    this.#tree.addEventListener("click", (event) => this.#click(event));
  }

  get shown(): boolean {
    return !this.#root.hidden;
  }

  async show(bricks: readonly Brick[]): Promise<void> {
    this.#root.hidden = false;
    if (this.#stale) this.reset();
    if (this.#nodes.size === 0) {
      for (const brick of bricks) {
        const ref = { path: brick.root };
        this.#tree.appendChild(this.#item(brick, ref, null, brick.root, "directory", true, "", 1, 0, bricks.length));
      }
      const [first] = this.#nodes.keys();
      if (first !== undefined && bricks.length === 1) await this.#expand(first);
    }
    this.focus();
  }

  hide(): void {
    this.#root.hidden = true;
  }

  focus(): void {
    const row = this.#current ?? this.#nodes.keys().next().value;
    if (row !== undefined) this.#focus(row);
  }

  /** Something came or went: the list is read anew the next time it is shown. */
  stale(): void {
    this.#stale = true;
  }

  reset(): void {
    this.#stale = false;
    this.#nodes.clear();
    this.#tree.replaceChildren();
    this.#current = null;
  }

  #item(
    brick: Brick,
    ref: PathRef,
    parent: Node_ | null,
    name: string,
    kind: string,
    dir: boolean,
    about: string,
    level: number,
    index: number,
    total: number,
  ): HTMLElement {
    const row = h(
      "li",
      {
        role: "treeitem",
        tabindex: -1,
        "aria-level": level,
        "aria-posinset": index + 1,
        "aria-setsize": total,
        "aria-expanded": dir ? "false" : undefined,
        "data-path": ref.path,
      },
      h(
        "span",
        { class: "tree-row" },
        h("span", { class: "tree-twist", "aria-hidden": "true" }, dir ? "▸" : ""),
        h("bdi", { class: "tree-name" }, shown(name)),
        h("span", { class: "quiet tree-kind" }, shown(kind.replaceAll("_", " "))),
        h("span", { class: "quiet tree-about" }, about),
      ),
    );
    row.style.setProperty("--level", String(level));
    this.#nodes.set(row, { brick, ref, row, group: null, level, parent, loaded: 0, total: 0, more: false });
    if (this.#current === null) {
      this.#current = row;
      row.tabIndex = 0;
    }
    return row;
  }

  async #expand(row: HTMLElement): Promise<void> {
    const node = this.#nodes.get(row);
    if (node === undefined || row.getAttribute("aria-expanded") === null) return;
    if (node.group === null) {
      node.group = h("ul", { role: "group" });
      row.appendChild(node.group);
      await this.#load(node);
    }
    node.group.hidden = false;
    row.setAttribute("aria-expanded", "true");
  }

  async #load(node: Node_): Promise<Node_ | null> {
    const group = node.group;
    if (group === null) return null;
    try {
      const { children, total } = await api.children(node.brick.name, node.ref, node.loaded, PAGE);
      node.total = total;
      let first: HTMLElement | null = null;
      children.forEach((child, i) => {
        const row = this.#child(node, child, node.loaded + i, total);
        first ??= row;
        group.appendChild(row);
      });
      node.loaded += children.length;
      if (node.loaded < total && children.length > 0) group.appendChild(this.#moreRow(node, total));
      this.#says.textContent = total === 0 ? "Nothing is in it." : `${node.loaded} of ${total} are listed.`;
      if (total === 0) {
        const none = h("li", { role: "treeitem", "aria-level": node.level + 1, tabindex: -1, class: "quiet tree-none" }, "nothing");
        none.style.setProperty("--level", String(node.level + 1));
        group.appendChild(none);
      }
      return first === null ? null : (this.#nodes.get(first) ?? null);
    } catch (error) {
      node.group?.remove();
      node.group = null;
      this.#says.textContent = `${shown(node.ref.path)} could not be listed: ${messageOf(error)}`;
      this.#says.classList.remove("only-read");
      return null;
    }
  }

  #child(node: Node_, child: Short, index: number, total: number): HTMLElement {
    const dir = child.type === "dir";
    const about = [
      dir ? "" : size(child.size),
      child.risk.level >= 1 ? `risk ${shown(child.risk.word)}` : "",
      child.redacted ? "redacted" : "",
      child.unverified ? "not verified" : "",
      dir ? "" : shown(child.summary || child.title),
    ];
    return this.#item(
      node.brick,
      child,
      node,
      nameOf(child.path) + (dir ? "/" : ""),
      child.kind,
      dir,
      about.filter((part) => part !== "").join(" · "),
      node.level + 1,
      index,
      total,
    );
  }

  #moreRow(node: Node_, total: number): HTMLElement {
    const text = `show ${Math.min(PAGE, total - node.loaded)} more of ${total - node.loaded}`;
    const row = this.#item(node.brick, node.ref, node, text, "", false, "", node.level + 1, node.loaded, total);
    const made = this.#nodes.get(row);
    if (made !== undefined) made.more = true;
    row.classList.add("tree-more");
    return row;
  }

  #collapse(row: HTMLElement): void {
    const node = this.#nodes.get(row);
    if (node?.group) node.group.hidden = true;
    row.setAttribute("aria-expanded", "false");
  }

  async #activate(row: HTMLElement): Promise<void> {
    const node = this.#nodes.get(row);
    if (node === undefined) return;
    if (!node.more) {
      this.onopen(node.brick, node.ref);
      return;
    }
    const { parent } = node;
    this.#nodes.delete(row);
    row.remove();
    if (parent === null) return;
    const first = await this.#load(parent);
    if (first !== null) this.#focus(first.row);
  }

  #click(event: MouseEvent): void {
    const target = event.target as Element;
    const row = target.closest<HTMLElement>('[role="treeitem"]');
    if (row === null || !this.#nodes.has(row)) return;
    this.#focus(row);
    const expanded = row.getAttribute("aria-expanded");
    if (expanded === "true") this.#collapse(row);
    else if (expanded === "false") void this.#expand(row);
    else void this.#activate(row);
  }

  #focus(row: HTMLElement): void {
    if (this.#current !== null) this.#current.tabIndex = -1;
    this.#current = row;
    row.tabIndex = 0;
    row.focus();
  }

  #visible(): HTMLElement[] {
    return Array.from(this.#tree.querySelectorAll<HTMLElement>('[role="treeitem"]')).filter(
      (row) => this.#nodes.has(row) && row.closest("[hidden]") === null,
    );
  }

  #key(event: KeyboardEvent): void {
    const row = (event.target as Element).closest<HTMLElement>('[role="treeitem"]');
    if (row === null || event.ctrlKey || event.altKey || event.metaKey) return;
    const rows = this.#visible();
    const at = rows.indexOf(row);
    const expanded = row.getAttribute("aria-expanded");
    const go = (target: HTMLElement | undefined): void => {
      if (target !== undefined) this.#focus(target);
    };
    switch (event.key) {
      case "ArrowDown":
        go(rows[at + 1]);
        break;
      case "ArrowUp":
        go(rows[at - 1]);
        break;
      case "Home":
        go(rows[0]);
        break;
      case "End":
        go(rows.at(-1));
        break;
      case "ArrowRight":
        if (expanded === "true") go(rows[at + 1]);
        else void this.#expand(row);
        break;
      case "ArrowLeft":
        if (expanded === "true") this.#collapse(row);
        else go(this.#nodes.get(row)?.parent?.row);
        break;
      case "Enter":
      case " ":
        void this.#activate(row);
        break;
      default:
        return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  /** Where an artifact is in the list, if it is open there. */
  rowOf(ref: PathRef): HTMLElement | null {
    for (const [row, node] of this.#nodes) if (!node.more && keyOf(node.ref) === keyOf(ref)) return row;
    return null;
  }
}
