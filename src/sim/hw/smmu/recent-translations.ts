import type { Epoch } from "./epoch.js";

/** As many as the TLB has entries by default; each is a cache line. */
const SLOTS = 4096;
// What a slot holds, one after the other.
const STREAM = 0;
const START = 1;
const END = 2;
/** What is added to an address. */
const OFFSET = 3;
const PERMISSIONS = 4;
const EPOCH = 5;
const STRIDE = 8;
const PAGE_PER_BYTE = 1 / 4096;

/**
 * A shortcut past stream configuration and TLB, for as long as nothing leaves either of them: what it answers, they would
 * answer, too. Addresses below 2^52 only, and through TTB0 or stage 2 only.
 */
export class RecentTranslations {
  /** Bytes that the last translation found holds for. */
  reach = 0;
  readonly #epoch: Epoch;
  readonly #slots = new Float64Array(SLOTS * STRIDE).fill(-1);

  constructor(epoch: Epoch) {
    this.#epoch = epoch;
  }

  /** Where an address goes; -1 when it is not known here, or not permitted. */
  find(streamId: number, address: number, permission: number): number {
    const slots = this.#slots;
    const at = slotOf(streamId, address);
    if (
      slots[at + STREAM] !== streamId ||
      slots[at + EPOCH] !== this.#epoch.value ||
      address < (slots[at + START] as number) ||
      address >= (slots[at + END] as number) ||
      ((slots[at + PERMISSIONS] as number) & permission) === 0
    )
      return -1;
    this.reach = (slots[at + END] as number) - address;
    return address + (slots[at + OFFSET] as number);
  }

  /** [start, start + size), which contains `address`, goes to `target` and on. */
  remember(streamId: number, address: number, start: number, size: number, target: number, permissions: number): void {
    const at = slotOf(streamId, address);
    this.#slots[at + STREAM] = streamId;
    this.#slots[at + START] = start;
    this.#slots[at + END] = start + size;
    this.#slots[at + OFFSET] = target - start;
    this.#slots[at + PERMISSIONS] = permissions;
    this.#slots[at + EPOCH] = this.#epoch.value;
  }
}

function slotOf(streamId: number, address: number): number {
  return ((Math.floor(address * PAGE_PER_BYTE) ^ streamId) & (SLOTS - 1)) * STRIDE;
}
