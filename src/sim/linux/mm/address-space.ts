import { PROT_READ, PROT_WRITE } from "../../../syscalls/mmap-flags.js";
import type { PhysicalMemory } from "../../hw/physical-memory.js";
import { type Interval, IntervalMap } from "../../interval-map.js";
import { refuse } from "../refusal.js";
import type { Extent, MemoryObject } from "./memory-object.js";

/** Registers of a device, mapped: what VFIO's mmap makes. */
export interface MappedRegisters {
  /** Where they are in the physical address space. */
  readonly physicalAddress: number;
  /** Whether the device answers; if not, a page fault there cannot be resolved. */
  readonly accessible: boolean;
  /** @throws Error where the processor would fault. */
  read(offset: number, into: Uint8Array): void;
  write(offset: number, from: Uint8Array): void;
  /** Mapped by an mmap. */
  mapped(): void;
  /** The last mapping is gone. */
  unmapped(): void;
}

/** What is mapped: memory, or a device's registers. */
export type Backing = { readonly memory: MemoryObject } | { readonly registers: MappedRegisters };

/** One mapping of a part of a backing. */
export interface Mapping {
  readonly backing: Backing;
  /** Bytes into the backing. */
  readonly offset: number;
  readonly prot: number;
}

/** Physical memory behind a part of an address space. */
export interface UserExtent extends Extent {
  /** RAM, as opposed to registers, which are neither counted nor refcounted. */
  readonly isRam: boolean;
}

const TOP = 0xffff_8000_0000;
const BOTTOM = 0x1_0000;

/** A process's virtual addresses. */
export class AddressSpace {
  readonly #physical: PhysicalMemory;
  readonly #mappings = new IntervalMap<Mapping>((mapping, from) => ({ ...mapping, offset: mapping.offset + from }));

  constructor(physical: PhysicalMemory) {
    this.#physical = physical;
  }

  /** Everything that is mapped, by address. */
  get mappings(): Iterable<Interval<Mapping>> {
    return this.#mappings;
  }

  get pageSize(): number {
    return this.#physical.pageSize;
  }

  /** The mappings in [start, end), cut to it. */
  within(start: number, end: number): readonly Interval<Mapping>[] {
    return this.#mappings.within(start, end);
  }

  isMapped(start: number, end: number): boolean {
    return this.#mappings.gaps(start, end).length === 0;
  }

  /** The highest free place, as Linux searches. */
  findFree(length: number, alignment: number): number {
    let end = TOP;
    for (const { start, end: next } of [...this.#mappings].reverse()) {
      const address = Math.floor((end - length) / alignment) * alignment;
      if (address >= next) return address;
      end = Math.min(end, start);
    }
    const address = Math.floor((end - length) / alignment) * alignment;
    return address >= BOTTOM ? address : refuse("ENOMEM", "no room in the address space");
  }

  /** Whether a process can have addresses there. */
  canHold(start: number, length: number): boolean {
    return start >= BOTTOM && start + length <= TOP;
  }

  /** Maps where nothing is mapped. */
  add(start: number, length: number, mapping: Mapping): void {
    const { backing, offset } = mapping;
    if ("memory" in backing) backing.memory.mapped(start - offset);
    else backing.registers.mapped();
    this.#mappings.insert(start, start + length, mapping);
  }

  /** Takes away what is mapped in [start, end). */
  remove(start: number, end: number): void {
    for (const { value, start: from, end: to } of this.#mappings.remove(start, end)) {
      const { backing, offset } = value;
      if ("memory" in backing) backing.memory.unmapped(offset, offset + to - from);
      if (!this.maps(backing)) leave(backing);
    }
  }

  maps(backing: Backing): boolean {
    for (const { value } of this.#mappings) if (same(value.backing, backing)) return true;
    return false;
  }

  /**
   * The physical memory behind [start, end), as get_user_pages finds it: one piece after the other, so that the caller
   * may stop before a hole. A hole, or protection that does not allow the access, is EFAULT.
   */
  *touch(start: number, end: number, write: boolean): Iterable<UserExtent> {
    let at = start;
    while (at < end) {
      const found = this.#mappings.at(at) ?? refuse("EFAULT");
      if ((found.value.prot & (write ? PROT_WRITE : PROT_READ)) === 0) refuse("EFAULT");
      const to = Math.min(end, found.end);
      yield* touchMapping(found, at, to);
      at = to;
    }
  }

  /** copy_from_user. */
  read(address: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    let done = 0;
    for (const extent of this.touch(address, address + length, false)) {
      this.#physical.read(extent.address, bytes.subarray(done, done + extent.length));
      done += extent.length;
    }
    return bytes;
  }

  /** copy_to_user. */
  write(address: number, bytes: Uint8Array): void {
    let done = 0;
    for (const extent of this.touch(address, address + bytes.length, true)) {
      this.#physical.write(extent.address, bytes.subarray(done, done + extent.length));
      done += extent.length;
    }
  }
}

function* touchMapping({ start, end, value }: Interval<Mapping>, from: number, to: number): Iterable<UserExtent> {
  const { backing, offset } = value;
  const first = offset + from - start;
  if ("registers" in backing) {
    if (!backing.registers.accessible) refuse("EFAULT");
    yield { address: backing.registers.physicalAddress + first, length: to - from, isRam: false };
    return;
  }
  const area = { from: offset, to: offset + end - start };
  for (const extent of backing.memory.touch(first, first + to - from, area)) yield { ...extent, isRam: true };
}

function same(one: Backing, other: Backing): boolean {
  if ("memory" in one) return "memory" in other && one.memory === other.memory;
  return "registers" in other && one.registers === other.registers;
}

function leave(backing: Backing): void {
  if ("memory" in backing) backing.memory.mappedNowhere();
  else backing.registers.unmapped();
}
