// A bounded cache: what was used longest ago goes first, and whoever holds resources is told.

export class Lru<V> {
  readonly #entries = new Map<string, V>();
  readonly #max: number;
  readonly #gone: (value: V, key: string) => void;
  /** How many values had to go for others. */
  evicted = 0;

  constructor(max: number, gone: (value: V, key: string) => void) {
    this.#max = max;
    this.#gone = gone;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Without counting as a use. */
  peek(key: string): V | undefined {
    return this.#entries.get(key);
  }

  use(key: string): V | undefined {
    const value = this.#entries.get(key);
    if (value !== undefined) {
      this.#entries.delete(key);
      this.#entries.set(key, value);
    }
    return value;
  }

  set(key: string, value: V): void {
    this.delete(key);
    this.#entries.set(key, value);
  }

  delete(key: string): void {
    const value = this.#entries.get(key);
    if (value === undefined) return;
    this.#entries.delete(key);
    this.#gone(value, key);
  }

  /** Lets the oldest go until the bound holds; those that `keep` names stay, and do not count as used. */
  trim(keep: (value: V) => boolean): void {
    if (this.#entries.size <= this.#max) return;
    for (const [key, value] of this.#entries) {
      if (this.#entries.size <= this.#max) break;
      if (keep(value)) continue;
      this.evicted += 1;
      this.delete(key);
    }
  }

  entries(): IterableIterator<[string, V]> {
    return this.#entries.entries();
  }
}
