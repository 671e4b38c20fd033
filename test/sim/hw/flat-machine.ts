import { Clock } from "../../../src/sim/hw/clock.js";
import type { InterruptPins } from "../../../src/sim/hw/device-model.js";
import { type BusMemory, DmaPath, type Translator } from "../../../src/sim/hw/dma-path.js";
import { Interconnect, type InterconnectOptions, type LinkOptions } from "../../../src/sim/hw/interconnect.js";

export const PAGE = 4096;

/** RAM from 0 on; nothing answers beyond, nor in the holes. */
export class FlatMemory implements BusMemory {
  readonly pageSize = PAGE;
  readonly bytes: Uint8Array;
  /** Addresses of pages that are not there. */
  readonly holes = new Set<number>();
  /** What was accessed: `r 4096+100`. */
  readonly accesses: string[] = [];

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
  }

  read(address: number, into: Uint8Array): boolean {
    this.accesses.push(`r ${address}+${into.length}`);
    const there = this.#there(address, into.length);
    into.set(this.bytes.subarray(address, address + there));
    return there === into.length;
  }

  write(address: number, from: Uint8Array): boolean {
    this.accesses.push(`w ${address}+${from.length}`);
    const there = this.#there(address, from.length);
    this.bytes.set(from.subarray(0, there), address);
    return there === from.length;
  }

  /** Bytes up to the first hole. */
  #there(address: number, length: number): number {
    const end = Math.min(address + length, this.bytes.length);
    for (let page = address - (address % PAGE); page < end; page += PAGE) {
      if (this.holes.has(page)) return Math.max(0, page - address);
    }
    return Math.max(0, end - address);
  }
}

/** A page table that counts what it does. Each page costs `walk` descriptor reads when it is first used. */
export class PageTable implements Translator {
  readonly counters = { descriptorReads: 0 };
  /** Virtual page to physical page. */
  readonly pages = new Map<number, number>();
  readonly readOnly = new Set<number>();
  /** Aborted accesses: `w 0x1000`. */
  readonly events: string[] = [];
  readonly #seen = new Set<number>();
  readonly #walk: number;
  #reach = 0;

  constructor(walk = 0) {
    this.#walk = walk;
  }

  get reach(): number {
    return this.#reach;
  }

  /** Maps addresses to themselves, or `by` further. */
  map(start: number, size: number, by = 0): this {
    for (let page = start; page < start + size; page += PAGE) this.pages.set(page, page + by);
    return this;
  }

  unmap(start: number, size: number): void {
    for (let page = start; page < start + size; page += PAGE) this.pages.delete(page);
  }

  translate(_streamId: number, address: number, write: boolean): number {
    const offset = address % PAGE;
    const page = address - offset;
    const physical = this.pages.get(page);
    if (physical === undefined || (write && this.readOnly.has(page))) {
      this.events.push(`${write ? "w" : "r"} 0x${address.toString(16)}`);
      return -1;
    }
    if (!this.#seen.has(page)) this.counters.descriptorReads += this.#walk;
    this.#seen.add(page);
    this.#reach = PAGE - offset;
    return physical + offset;
  }

  translateWide(_streamId: number, address: bigint, write: boolean): number {
    this.events.push(`${write ? "w" : "r"} 0x${address.toString(16)}`);
    return -1;
  }
}

/** Pins that remember. */
export class Pins implements InterruptPins {
  /** As a PCI function's. */
  wires: number | undefined;
  msiEnabled = false;
  messages = 0;
  readonly raised = new Set<number>();

  get level(): boolean {
    return this.raised.has(0);
  }

  setLevel(raised: boolean, wire = 0): void {
    if (raised) this.raised.add(wire);
    else this.raised.delete(wire);
  }

  msi(): void {
    this.messages += 1;
  }
}

/** One interface's way to memory. */
export interface Side {
  readonly table: PageTable;
  readonly pins: Pins;
  readonly dma: DmaPath;
  /** The PCI bus master bit. */
  master: boolean;
}

/** What {@link FlatMachine} is made of. */
export interface FlatMachineOptions extends Omit<InterconnectOptions, "clock"> {
  readonly links?: readonly LinkOptions[];
  /** Descriptor reads of a page's first translation. */
  readonly walk?: number;
}

/** Memory, a clock, and two ways to memory. */
export class FlatMachine {
  readonly clock = new Clock();
  readonly memory = new FlatMemory(2 ** 20);
  readonly sides: readonly [Side, Side];

  constructor({ links = [], walk = 0, ...interconnect }: FlatMachineOptions = {}) {
    const shared = new Interconnect({ clock: this.clock, ...interconnect });
    this.sides = [this.#side(shared, walk, links[0]), this.#side(shared, walk, links[1])];
  }

  /** Lets everything that is due happen. */
  settle(): void {
    while (this.clock.step());
  }

  #side(interconnect: Interconnect, walk: number, link: LinkOptions | undefined): Side {
    const table = new PageTable(walk);
    const { memory } = this;
    const parts = { memory, smmu: table, streamId: 1, link: interconnect.link(link) };
    const dma = new DmaPath({ ...parts, mayMaster: () => side.master });
    const side: Side = { table, dma, pins: new Pins(), master: true };
    return side;
  }
}
