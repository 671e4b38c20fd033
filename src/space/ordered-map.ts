/** Slots per node, a power of two: two cache lines of keys. More make a change dearer, fewer make the tree deeper (16, 32 and 64 were measured). */
const WIDTH = 16;
const SHIFT = Math.log2(WIDTH);

/** Levels the cursor has room for. A tree of half-full nodes this deep holds 8^12 entries. */
const MAX_HEIGHT = 12;

const NONE = -1;
const LEAST = Number.NEGATIVE_INFINITY;

/**
 * A map from number to number, ordered by key, that also finds the first entry whose VALUE is at least x. Every operation is O(log n).
 *
 * It is a B+tree in typed arrays. All nodes look alike: up to {@link WIDTH} slots in ascending key order. A slot of a leaf is an entry;
 * a slot of an inner node stands for a child: its key is the child's first key, its value the largest value below it.
 * That largest value makes the search by value a descent, and the one layout keeps the code short.
 * A node is given back when its last slot goes. Half-empty nodes are not merged, so the n of O(log n) is the most entries there have been.
 *
 * There is one cursor, which the methods move and work at, so that finding an entry and changing it costs one descent and no garbage.
 * Before the first entry there is a place for the cursor too: an entry with the key -Infinity, which nobody sees.
 */
export class OrderedMap {
  #keys = new Float64Array(WIDTH).fill(LEAST);
  #values = new Float64Array(WIDTH).fill(LEAST);
  #children = new Int32Array(WIDTH);
  #counts = new Uint8Array(1).fill(1);
  #nodesUsed = 1;
  #spareNode = NONE;
  #root = 0;
  #height = 1;

  /** The cursor: a slot for each level, leaves being level 0. Slots are numbered through all nodes, `node * WIDTH` being a node's first. */
  readonly #path = new Int32Array(MAX_HEIGHT);

  /** The largest value in the map, -Infinity when it is empty. */
  get largestValue(): number {
    return this.#largestIn(this.#root);
  }

  /** The key of the entry at the cursor; -Infinity before the first. */
  get key(): number {
    return this.#keyAt(this.#slot(0));
  }

  /** The value of the entry at the cursor; -Infinity before the first. */
  get value(): number {
    return this.#valueAt(this.#slot(0));
  }

  /** Changes the value of the entry at the cursor, which must be at one. */
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
      const slot = this.#lastAtMost(node, key);
      this.#path[level] = slot;
      node = this.#childAt(slot);
    }
    const slot = this.#lastAtMost(node, key);
    this.#path[0] = slot;
    return this.#keyAt(slot) !== LEAST;
  }

  /** Moves the cursor to the first entry whose value is at least `value`. False: there is none, the cursor is before the first entry. */
  firstAtLeast(value: number): boolean {
    const slot = this.#scan(this.#root, this.#root * WIDTH, value);
    if (slot === NONE) return this.seek(LEAST);
    this.#descend(this.#height - 1, slot, value);
    return true;
  }

  /** Moves the cursor forward to the next entry whose value is at least `value`. False: there is none, and the cursor stays. */
  nextAtLeast(value: number): boolean {
    for (let level = 0; level < this.#height; level++) {
      const here = this.#slot(level);
      const slot = this.#scan(here >> SHIFT, here + 1, value);
      if (slot === NONE) continue;
      this.#descend(level, slot, value);
      return true;
    }
    return false;
  }

  /** Moves the cursor one entry forward. False: it is at the last one, and stays. */
  next(): boolean {
    return this.nextAtLeast(LEAST);
  }

  /** Moves the cursor one entry back. False: it was at the first one, and is before it now. */
  previous(): boolean {
    let level = 0;
    while (this.#isFirstSlot(level)) if (++level === this.#height) return false;
    let slot = this.#slot(level) - 1;
    for (; level > 0; level--) {
      this.#path[level] = slot;
      slot = this.#lastSlot(this.#childAt(slot));
    }
    this.#path[0] = slot;
    return this.#keyAt(slot) !== LEAST;
  }

  /** Adds an entry right after the cursor and moves the cursor to it. `key` must lie between the keys of the two neighbours. */
  insertAfter(key: number, value: number): void {
    if (this.#isFull(0)) this.#makeRoom(key);
    const slot = this.#slot(0) + 1;
    this.#path[0] = slot;
    this.#openSlot(slot, key, value, NONE);
    this.#updateLargest(0, LEAST, value);
  }

  /** Removes the entry after the cursor, if there is one. The cursor stays. */
  removeNext(): void {
    const here = this.#slot(0);
    const key = this.#keyAt(here);
    if (!this.next()) return;
    this.#removeHere();
    if (here >> SHIFT === this.#slot(0) >> SHIFT) this.#path[0] = here;
    else this.seek(key);
  }

  #descend(from: number, first: number, value: number): void {
    let slot = first;
    for (let level = from; level > 0; level--) {
      this.#path[level] = slot;
      const child = this.#childAt(slot);
      slot = this.#scan(child, child * WIDTH, value);
    }
    this.#path[0] = slot;
  }

  /** The first slot of `node` from `from` on with a value of at least `value`, or {@link NONE}. */
  #scan(node: number, from: number, value: number): number {
    const values = this.#values;
    const end = node * WIDTH + this.#count(node);
    for (let slot = from; slot < end; slot++) if ((values[slot] as number) >= value) return slot;
    return NONE;
  }

  /** The last slot of `node` with a key of at most `key`. There is one, since the caller comes from a key that is. */
  #lastAtMost(node: number, key: number): number {
    const keys = this.#keys;
    let low = node * WIDTH;
    let high = low + this.#count(node);
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if ((keys[middle] as number) <= key) low = middle;
      else high = middle;
    }
    return low;
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
        is = this.#largestIn(this.#childAt(slot));
        if (is === largest) return;
      }
      this.#values[slot] = is;
      was = largest;
    }
  }

  #largestIn(node: number): number {
    const values = this.#values;
    const end = node * WIDTH + this.#count(node);
    let largest = LEAST;
    for (let slot = node * WIDTH; slot < end; slot++) {
      const value = values[slot] as number;
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
    const node = this.#slot(level) >> SHIFT;
    // Addresses are handed out upwards, so most entries come last: splitting there leaves full nodes behind, not half-full ones.
    const keep = this.#isAtEnd() ? WIDTH - 1 : WIDTH / 2;
    const right = this.#newNode();
    this.#moveSlots(node * WIDTH + keep, (node + 1) * WIDTH, right * WIDTH);
    this.#counts[node] = keep;
    this.#counts[right] = WIDTH - keep;
    const parent = this.#slot(level + 1);
    this.#values[parent] = this.#largestIn(node);
    this.#openSlot(parent + 1, this.#keyAt(right * WIDTH), this.#largestIn(right), right);
  }

  #addRoot(): void {
    const child = this.#root;
    this.#root = this.#newNode();
    const slot = this.#root * WIDTH;
    this.#counts[this.#root] = 0;
    this.#openSlot(slot, LEAST, this.#largestIn(child), child);
    this.#path[this.#height++] = slot;
  }

  /** Removes the entry at the cursor, with the nodes that empties; the cursor must be moved before it is used again. */
  #removeHere(): void {
    let level = 0;
    while (this.#count(this.#slot(level) >> SHIFT) === 1) this.#freeNode(this.#slot(level++) >> SHIFT);
    const slot = this.#slot(level);
    const node = slot >> SHIFT;
    const value = this.#valueAt(slot);
    this.#moveSlots(slot + 1, this.#lastSlot(node) + 1, slot);
    this.#counts[node] = this.#count(node) - 1;
    this.#updateLargest(level, value, LEAST);
    this.#updateFirstKey(level);
    while (this.#height > 1 && this.#count(this.#root) === 1) this.#dropRoot();
  }

  /** The first slot of the cursor's node at `level` may have gone: gives the slots above the key of the new first. */
  #updateFirstKey(level: number): void {
    for (let at = level; at + 1 < this.#height && this.#isFirstSlot(at); at++) {
      this.#keys[this.#slot(at + 1)] = this.#keyAt(this.#slot(at));
    }
  }

  #dropRoot(): void {
    const child = this.#childAt(this.#root * WIDTH);
    this.#freeNode(this.#root);
    this.#root = child;
    this.#height--;
  }

  /** Adds a slot to a node that has room, before `slot` or, if that is the one after the node's last, at the end. */
  #openSlot(slot: number, key: number, value: number, child: number): void {
    const node = slot >> SHIFT;
    this.#moveSlots(slot, this.#lastSlot(node) + 1, slot + 1);
    this.#keys[slot] = key;
    this.#values[slot] = value;
    this.#children[slot] = child;
    this.#counts[node] = this.#count(node) + 1;
  }

  #moveSlots(from: number, end: number, to: number): void {
    this.#keys.copyWithin(to, from, end);
    this.#values.copyWithin(to, from, end);
    this.#children.copyWithin(to, from, end);
  }

  #newNode(): number {
    const spare = this.#spareNode;
    if (spare !== NONE) {
      this.#spareNode = this.#childAt(spare * WIDTH);
      return spare;
    }
    if (this.#nodesUsed === this.#counts.length) this.#grow();
    return this.#nodesUsed++;
  }

  #freeNode(node: number): void {
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

  #isFull(level: number): boolean {
    return this.#count(this.#slot(level) >> SHIFT) === WIDTH;
  }
  #isFirstSlot(level: number): boolean {
    return this.#slot(level) % WIDTH === 0;
  }
  #lastSlot(node: number): number {
    return node * WIDTH + this.#count(node) - 1;
  }

  /** Whether the cursor is at the last entry. */
  #isAtEnd(): boolean {
    for (let level = 0; level < this.#height; level++) {
      if (this.#slot(level) !== this.#lastSlot(this.#slot(level) >> SHIFT)) return false;
    }
    return true;
  }

  // Slots and nodes are in bounds by construction, which the type checker cannot see.
  #slot(level: number): number {
    return this.#path[level] as number;
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
