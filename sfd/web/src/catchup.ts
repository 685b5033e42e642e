// After sleep or a lost connection: which parts of a brick are not what they were, by comparing Merkle nodes, not by replay.

import { api } from "./api";
import { changedNodes, levelMax } from "./plane";
import type { Brick, Rect } from "./types";

/** The finest level of nodes that the server tells: 4 096 hashes. */
const NODES_LEVEL_MAX = 6;

interface Seen {
  tree: string;
  side: number;
  z: number;
  nodes: string[];
}

export class CatchUp {
  readonly #seen = new Map<string, Seen>();

  /** Remembers a brick as it is now: later comparisons are with this. Call it when the picture is up to date. */
  async note(brick: Brick): Promise<void> {
    const z = Math.min(levelMax(brick.order), NODES_LEVEL_MAX);
    const { tree, nodes } = await api.nodes(brick.name, z);
    this.#seen.set(brick.name, { tree, side: brick.side, z, nodes });
  }

  /** What changed since the last note or comparison, in cells; everything when nothing is known or the brick grew. */
  async compare(brick: Brick): Promise<Rect[]> {
    const before = this.#seen.get(brick.name);
    if (before?.tree === brick.tree) return [];
    await this.note(brick);
    const after = this.#seen.get(brick.name);
    const whole = [{ x: 0, y: 0, w: brick.side, h: brick.side }];
    if (before === undefined || after === undefined || before.side !== after.side) return whole;
    return changedNodes(before.nodes, after.nodes, after.z, brick.side);
  }
}
