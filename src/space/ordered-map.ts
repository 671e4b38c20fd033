/** Slots per node. 32 keys are four cache lines: more makes inserting slower, fewer makes the tree deeper (measured, bench/iova-allocator.ts). */
const WIDTH = 32;

/** Levels the cursor has room for. A tree of half-full nodes this deep holds 16^12 entries. */
const MAX_HEIGHT = 12;

const NO_NODE = -1;

/**
 * A map from number to number, ordered by key, that also finds the first entry whose VALUE is at least x. Every operation is O(log n).
 *
 * It is a B+tree in typed arrays. All nodes look alike: up to {@link WIDTH} slots in ascending key order. A slot of a leaf is an entry;
 * a slot of an inner node stands for a child: its key is the child's first key, its value the largest value below it.
 * That largest value is what makes the search by value a descent, and one layout for both kinds is what keeps the code short.
 *
 * There is one cursor, which the methods move and work at, so that finding an entry and changing it costs one descent and no garbage.
 * A node is given back when its last slot goes; half-empty nodes are not merged.
 */
export class OrderedMap {
  #keys = new Float64Array(WIDTH);
  #values = new Float64Array(WIDTH);
  #children = new Int32Array(WIDTH);
  #counts = new Uint8Array(1);
  #nodesUsed = 1;
  #spareNode = NO_NODE;
  #root = 0;
  #height = 1;
  #size = 0;

  /** The cursor: for each level, leaves being level 0, a node and a slot in it. Slot -1 of a leaf is the place before the first entry. */
  readonly #node = new Int32Array(MAX_HEIGHT);
  readonly #at = new Int32Array(MAX_HEIGHT).fill(-1);

  /** The number of entries. */
  get size(): number {
    return this.#size;
  }

  /** The largest value in the map, -Infinity when it is empty. */
  get largestValue(): number {
    return this.#largestIn(this.#root);
  }

  /** The key of the entry at the cursor. */
  get key(): number {
    return this.#keyAt(this.#slot(0));
  }

  /** The value of the entry at the cursor. */
  get value(): number {
    return this.#valueAt(this.#slot(0));
  }

  /** Changes the value of the entry at the cursor. */
  set value(value: number) {
    const slot = this.#slot(0);
    const before = this.#valueAt(slot);
    this.#values[slot] = value;
    this.#updateLargest(0, before, value);
  }

  /** Moves the cursor to the last entry whose key is at most `key`. False: there is none, the cursor is before the first entry. */
  seek(key: number): boolean {
    let node = this.#root;
    for (let level = this.#height - 1; level > 0; level--) {
      this.#node[level] = node;
      this.#at[level] = Math.max(0, this.#lastAtMost(node, key));
      node = this.#childAt(this.#slot(level));
    }
    const at = this.#lastAtMost(node, key);
    this.#node[0] = node;
    this.#at[0] = at;
    return at >= 0;
  }

  /** Moves the cursor to the first entry whose value is at least `value`. False: there is none, and the cursor is nowhere until the next `seek`. */
  firstAtLeast(value: number): boolean {
    const top = this.#height - 1;
    this.#node[top] = this.#root;
    this.#at[top] = -1;
    return this.#advance(top, value);
  }

  /** Moves the cursor forward to the next entry whose value is at least `value`. False: there is none, and the cursor stays. */
  nextAtLeast(value: number): boolean {
    return this.#advance(0, value);
  }

  /** Moves the cursor one entry forward. False: it is at the last one, and stays. */
  next(): boolean {
    return this.#advance(0, Number.NEGATIVE_INFINITY);
  }

  /** Moves the cursor one entry back. False: it is at the first one, and stays. */
  previous(): boolean {
    let level = 0;
    while (this.#index(level) <= 0) if (++level === this.#height) return false;
    this.#at[level] = this.#index(level) - 1;
    for (; level > 0; level--) {
      const child = this.#childAt(this.#slot(level));
      this.#node[level - 1] = child;
      this.#at[level - 1] = this.#count(child) - 1;
    }
    return true;
  }

  /** Adds an entry right after the cursor and moves the cursor to it. `key` must lie between the keys of the two neighbours. */
  insertAfter(key: number, value: number): void {
    this.#makeRoom(key);
    const at = this.#index(0) + 1;
    this.#at[0] = at;
    this.#openSlot(this.#nodeAt(0), at, key, value, NO_NODE);
    this.#size++;
    this.#updateLargest(0, Number.NEGATIVE_INFINITY, value);
    if (at === 0) this.#updateFirstKey(0);
  }

  /** Removes the entry after the cursor, which must be at an entry and not at the last one. The cursor stays. */
  removeNext(): void {
    const key = this.key;
    const sameLeaf = this.#index(0) + 1 < this.#count(this.#nodeAt(0));
    this.next();
    this.#removeHere();
    if (sameLeaf) this.#at[0] = this.#index(0) - 1;
    else this.seek(key);
  }

  // Moving

  /** From the cursor's slot at `level`, moves to the next entry with a value of at least `value`: up until a node has such a slot, then down. */
  #advance(level: number, value: number): boolean {
    let found = level;
    while (!this.#scan(found, value)) if (++found === this.#height) return false;
    for (; found > 0; found--) {
      this.#node[found - 1] = this.#childAt(this.#slot(found));
      this.#at[found - 1] = -1;
      this.#scan(found - 1, value);
    }
    return true;
  }

  /** Moves the cursor inside its node at `level` to the next slot with a value of at least `value`, or not at all. */
  #scan(level: number, value: number): boolean {
    const node = this.#nodeAt(level);
    const end = node * WIDTH + this.#count(node);
    for (let slot = this.#slot(level) + 1; slot < end; slot++) {
      if (this.#valueAt(slot) < value) continue;
      this.#at[level] = slot - node * WIDTH;
      return true;
    }
    return false;
  }

  #lastAtMost(node: number, key: number): number {
    const base = node * WIDTH;
    let low = 0;
    let high = this.#count(node);
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#keyAt(base + middle) <= key) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  // Keeping the inner slots true

  /** A value in the cursor's node at `level` went from `before` to `after` (-Infinity: no entry): corrects the largest values above, as far as they change. */
  #updateLargest(level: number, before: number, after: number): void {
    let was = before;
    let is = after;
    for (let above = level + 1; above < this.#height; above++) {
      const slot = this.#slot(above);
      const largest = this.#valueAt(slot);
      if (is <= largest) {
        if (was < largest) return;
        is = this.#largestIn(this.#nodeAt(above - 1));
        if (is === largest) return;
      }
      this.#values[slot] = is;
      was = largest;
    }
  }

  /** The first key of the cursor's node at `level` changed: corrects the keys above. */
  #updateFirstKey(level: number): void {
    for (let above = level + 1; above < this.#height; above++) {
      this.#keys[this.#slot(above)] = this.#keyAt(this.#nodeAt(above - 1) * WIDTH);
      if (this.#index(above) > 0) return;
    }
  }

  #largestIn(node: number): number {
    const base = node * WIDTH;
    const end = base + this.#count(node);
    let largest = Number.NEGATIVE_INFINITY;
    for (let slot = base; slot < end; slot++) {
      const value = this.#valueAt(slot);
      if (value > largest) largest = value;
    }
    return largest;
  }

  // Growing and shrinking

  /** Splits full nodes from the top down until the cursor's leaf has room; each split needs room in the parent, hence the order. */
  #makeRoom(key: number): void {
    while (this.#isFull(0)) {
      let level = 0;
      while (level + 1 < this.#height && this.#isFull(level + 1)) level++;
      if (level + 1 === this.#height) this.#addRoot();
      this.#split(level);
      this.seek(key);
    }
  }

  #split(level: number): void {
    const node = this.#nodeAt(level);
    // Addresses are handed out upwards, so most entries come last: splitting there leaves full nodes behind, not half-full ones.
    const keep = this.#isAtEnd() ? WIDTH - 1 : WIDTH / 2;
    const right = this.#newNode();
    this.#copySlots(node * WIDTH + keep, (node + 1) * WIDTH, right * WIDTH);
    this.#counts[node] = keep;
    this.#counts[right] = WIDTH - keep;
    this.#values[this.#slot(level + 1)] = this.#largestIn(node);
    const after = this.#index(level + 1) + 1;
    this.#openSlot(this.#nodeAt(level + 1), after, this.#keyAt(right * WIDTH), this.#largestIn(right), right);
  }

  #addRoot(): void {
    const child = this.#root;
    this.#root = this.#newNode();
    this.#openSlot(this.#root, 0, this.#keyAt(child * WIDTH), this.#largestIn(child), child);
    this.#node[this.#height] = this.#root;
    this.#at[this.#height] = 0;
    this.#height++;
  }

  /** Removes the entry at the cursor, with the nodes that empties; above the leaf the cursor is wrong afterwards if there were any. */
  #removeHere(): void {
    let level = 0;
    for (; level + 1 < this.#height && this.#count(this.#nodeAt(level)) === 1; level++)
      this.#freeNode(this.#nodeAt(level));
    const slot = this.#slot(level);
    const node = this.#nodeAt(level);
    const value = this.#valueAt(slot);
    this.#copySlots(slot + 1, node * WIDTH + this.#count(node), slot);
    this.#counts[node] = this.#count(node) - 1;
    this.#size--;
    this.#updateLargest(level, value, Number.NEGATIVE_INFINITY);
    if (this.#index(level) === 0) this.#updateFirstKey(level);
    this.#dropThinRoot();
  }

  #dropThinRoot(): void {
    while (this.#height > 1 && this.#count(this.#root) === 1) {
      const root = this.#root;
      this.#root = this.#childAt(root * WIDTH);
      this.#freeNode(root);
      this.#height--;
    }
  }

  #openSlot(node: number, at: number, key: number, value: number, child: number): void {
    const slot = node * WIDTH + at;
    const end = node * WIDTH + this.#count(node);
    this.#copySlots(slot, end, slot + 1);
    this.#keys[slot] = key;
    this.#values[slot] = value;
    this.#children[slot] = child;
    this.#counts[node] = this.#count(node) + 1;
  }

  #copySlots(from: number, end: number, to: number): void {
    this.#keys.copyWithin(to, from, end);
    this.#values.copyWithin(to, from, end);
    this.#children.copyWithin(to, from, end);
  }

  #newNode(): number {
    const spare = this.#spareNode;
    if (spare !== NO_NODE) {
      this.#spareNode = this.#childAt(spare * WIDTH);
      return spare;
    }
    if (this.#nodesUsed === this.#counts.length) this.#grow();
    return this.#nodesUsed++;
  }

  #freeNode(node: number): void {
    this.#counts[node] = 0;
    this.#children[node * WIDTH] = this.#spareNode;
    this.#spareNode = node;
  }

  /** Doubles the room for nodes, so that growing costs O(1) per entry. */
  #grow(): void {
    const nodes = this.#counts.length * 2;
    this.#keys = copyInto(new Float64Array(nodes * WIDTH), this.#keys);
    this.#values = copyInto(new Float64Array(nodes * WIDTH), this.#values);
    this.#children = copyInto(new Int32Array(nodes * WIDTH), this.#children);
    this.#counts = copyInto(new Uint8Array(nodes), this.#counts);
  }

  // Reading the arrays; slots and nodes are in bounds by construction, which the type checker cannot see

  #isFull(level: number): boolean {
    return this.#count(this.#nodeAt(level)) === WIDTH;
  }

  /** Whether the cursor is at the last entry. */
  #isAtEnd(): boolean {
    for (let level = 0; level < this.#height; level++) {
      if (this.#index(level) + 1 < this.#count(this.#nodeAt(level))) return false;
    }
    return true;
  }

  #slot(level: number): number {
    return this.#nodeAt(level) * WIDTH + this.#index(level);
  }

  #nodeAt(level: number): number {
    return this.#node[level] as number;
  }

  #index(level: number): number {
    return this.#at[level] as number;
  }

  #count(node: number): number {
    return this.#counts[node] as number;
  }

  #keyAt(slot: number): number {
    return this.#keys[slot] as number;
  }

  #valueAt(slot: number): number {
    return this.#values[slot] as number;
  }

  #childAt(slot: number): number {
    return this.#children[slot] as number;
  }
}

function copyInto<A extends Float64Array | Int32Array | Uint8Array>(target: A, source: A): A {
  target.set(source);
  return target;
}
