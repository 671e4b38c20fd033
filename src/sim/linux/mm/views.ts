import { IospanError } from "../../../errors.js";
import { hex } from "../../../iova.js";
import type { PhysicalMemory } from "../../hw/physical-memory.js";
import { type Interval, IntervalMap } from "../../interval-map.js";
import type { AddressSpace, MappedRegisters, Mapping } from "./address-space.js";
import type { Extent, MemoryObject } from "./memory-object.js";

/** What an ArrayBuffer shows that was handed out for a part of the address space. */
interface Shown {
  /** The same object for the same buffer. */
  readonly view: WeakRef<ArrayBuffer>;
  /** The buffer, while it shows what it was made for; what replaced that is shown to those who still hold the buffer. */
  readonly kept: ArrayBuffer | undefined;
  /** Bytes into the buffer. */
  readonly offset: number;
}

/** Registers behind a buffer, while they are mapped there. */
export interface ShownRegisters {
  readonly registers: MappedRegisters;
  /** Of the buffer's first byte in the registers. */
  readonly offset: number;
}

/** Part of a view whose mapping goes. */
interface Vacated {
  readonly view: WeakRef<ArrayBuffer>;
  readonly buffer: ArrayBuffer;
  readonly offset: number;
  readonly start: number;
  readonly length: number;
  /** The physical pages whose bytes lie in it. */
  readonly pages: readonly Extent[];
}

/**
 * JavaScript sees memory as ArrayBuffers, which can neither overlap nor change what they show. So the buffer is where the
 * bytes of the viewed pages lie, devices' DMA goes there too, and when the mapping changes under a view the pages
 * move out of the buffer, if somebody still holds them:
 *  - what replaces them moves in, so that the view shows the new mapping, as it would on Linux. It takes no memory before the
 *    kernel or a device touches it, and what was written to it through the view alone is gone with the view;
 *  - after munmap the buffer is detached: an access fails, where on Linux it would end the process.
 * What a view cannot show is protection: JavaScript can write to a mapping without PROT_WRITE.
 */
export class Views {
  readonly #space: AddressSpace;
  readonly #physical: PhysicalMemory;
  readonly #shown = new IntervalMap<Shown>((shown, from) => ({ ...shown, offset: shown.offset + from }));
  readonly #views = new WeakMap<ArrayBuffer, WeakRef<ArrayBuffer>>();
  readonly #registers = new WeakMap<ArrayBuffer, ShownRegisters>();

  constructor(space: AddressSpace, physical: PhysicalMemory) {
    this.#space = space;
    this.#physical = physical;
  }

  /** The registers that a view shows; undefined for memory. */
  registersBehind(buffer: ArrayBuffer): ShownRegisters | undefined {
    return this.#registers.get(buffer);
  }

  /**
   * The bytes at [start, start + length).
   * @throws IospanError `ERR_IOSPAN_NOT_SUPPORTED` for a view that overlaps an earlier, different one.
   */
  view(start: number, length: number): ArrayBuffer {
    const end = start + length;
    const earlier = this.#reachable(start, end);
    if (earlier.length > 0) return this.#keep(sameView(earlier, start, length), start, end);
    if (length === 0 || !this.#space.isMapped(start, end)) throw segmentationFault(start);
    const buffer = this.#bufferFor(start, end);
    return this.#keep(buffer, start, end);
  }

  /**
   * Called before mappings in [start, end) go.
   * @returns what to call when they are gone, with the anonymous memory that took their place, if any did
   */
  vacate(start: number, end: number): (successor?: MemoryObject) => void {
    const vacated = this.#shown.remove(start, end).flatMap(({ start: from, end: to, value }): readonly Vacated[] => {
      const { view, kept, offset } = value;
      const buffer = kept ?? view.deref();
      // Nobody holds it any more, and no page lies in it.
      if (buffer === undefined) return [];
      return [{ view, buffer, offset, start: from, length: to - from, pages: this.#pagesBehind(from, to) }];
    });
    return (successor) => {
      for (const part of vacated) if (!this.#isShownElsewhere(part)) this.#replace(part, start, successor);
    };
  }

  #keep(buffer: ArrayBuffer, start: number, end: number): ArrayBuffer {
    this.#shown.remove(start, end);
    this.#shown.insert(start, end, { view: this.#viewOf(buffer), kept: buffer, offset: 0 });
    return buffer;
  }

  #viewOf(buffer: ArrayBuffer): WeakRef<ArrayBuffer> {
    const view = this.#views.get(buffer) ?? new WeakRef(buffer);
    this.#views.set(buffer, view);
    return view;
  }

  /** The earlier views in [start, end); those that nobody holds any more are forgotten. */
  #reachable(start: number, end: number): readonly Interval<Shown>[] {
    const earlier = this.#shown.within(start, end);
    const gone = earlier.filter(({ value }) => value.kept === undefined && value.view.deref() === undefined);
    for (const part of gone) this.#shown.remove(part.start, part.end);
    return gone.length === 0 ? earlier : this.#shown.within(start, end);
  }

  #bufferFor(start: number, end: number): ArrayBuffer {
    const parts = this.#space.within(start, end);
    const registers = parts.length === 1 ? parts[0]?.value : undefined;
    if (registers !== undefined && "registers" in registers.backing) {
      const buffer = new ArrayBuffer(end - start);
      this.#registers.set(buffer, { registers: registers.backing.registers, offset: registers.offset });
      return buffer;
    }
    return this.#existingBuffer(end - start, parts) ?? this.#newBuffer(start, end);
  }

  /** The buffer in which the pages lie already, if it holds nothing else: a memfd that is mapped twice. */
  #existingBuffer(length: number, parts: readonly Interval<Mapping>[]): ArrayBuffer | undefined {
    const storage = parts.flatMap((part) => this.#touchedStorage(part) ?? []);
    const first = storage[0];
    if (first === undefined || first.buffer.byteLength !== length) return undefined;
    let at = 0;
    for (const bytes of storage) {
      if (bytes.buffer !== first.buffer || bytes.byteOffset !== at) return undefined;
      at += bytes.length;
    }
    return at === length ? first.buffer : undefined;
  }

  #touchedStorage({ start, end, value }: Interval<Mapping>): readonly Uint8Array<ArrayBuffer>[] | undefined {
    if (!("memory" in value.backing)) return undefined;
    const extents = value.backing.memory.extents(value.offset, value.offset + end - start);
    return extents.flatMap(({ address, length }) => this.#physical.storage(address, length));
  }

  #newBuffer(start: number, end: number): ArrayBuffer {
    const buffer = new ArrayBuffer(end - start);
    for (const { start: from, end: to, value } of this.#space.within(start, end)) {
      const { backing, offset } = value;
      if ("registers" in backing) throw segmentationFault(from);
      const storage = new Uint8Array(buffer, from - start, to - from);
      if (backing.memory.isUntouched(offset, offset + to - from)) backing.memory.populateWith(offset, storage);
      else this.#moveInto(backing.memory, offset, to - from, storage);
    }
    return buffer;
  }

  #moveInto(memory: MemoryObject, offset: number, length: number, storage: Uint8Array<ArrayBuffer>): void {
    const extents = memory.touch(offset, offset + length, { from: offset, to: offset + length });
    let at = 0;
    for (const { address, length: bytes } of extents) {
      if (this.#physical.storage(address, bytes).some(({ buffer }) => this.#isShown(buffer)))
        throw viewedTwice(address);
      this.#physical.move(address, storage.subarray(at, at + bytes));
      at += bytes;
    }
  }

  #pagesBehind(start: number, end: number): readonly Extent[] {
    return this.#space.within(start, end).flatMap(({ start: from, end: to, value }) => {
      if (!("memory" in value.backing)) return [];
      return value.backing.memory.extents(value.offset, value.offset + to - from);
    });
  }

  #replace(part: Vacated, base: number, successor: MemoryObject | undefined): void {
    const { view, buffer, offset, start, length, pages } = part;
    // What was pinned or belongs to a file still exists, and goes on to exist elsewhere.
    for (const { address, length: bytes } of pages) {
      if (this.#physical.exists(address, bytes)) this.#physical.move(address, new Uint8Array(bytes));
    }
    if (!this.#isShown(buffer)) this.#registers.delete(buffer);
    if (successor !== undefined) {
      new Uint8Array(buffer, offset, length).fill(0);
      successor.promise(start - base, length, { buffer: view, offset });
      this.#shown.insert(start, start + length, { view, kept: undefined, offset });
    } else if (!this.#isShown(buffer)) {
      detach(buffer);
    }
  }

  #isShown(buffer: ArrayBuffer): boolean {
    const view = this.#views.get(buffer);
    for (const { value } of this.#shown) if (value.view === view) return true;
    return false;
  }

  /** Another mapping of the same file shows the same bytes. */
  #isShownElsewhere({ view, offset, length }: Vacated): boolean {
    for (const { value, start, end } of this.#shown) {
      if (value.view !== view) continue;
      if (value.offset < offset + length && value.offset + end - start > offset) return true;
    }
    return false;
  }
}

/** A view that was made before, where it is the same; the mappings behind it may have changed since. */
function sameView(earlier: readonly Interval<Shown>[], start: number, length: number): ArrayBuffer {
  const view = earlier[0]?.value.view;
  const isSame = earlier.every((part) => part.value.view === view && part.value.offset === part.start - start);
  const buffer = view?.deref();
  if (buffer !== undefined && isSame && buffer.byteLength === length) return buffer;
  throw new IospanError("ERR_IOSPAN_NOT_SUPPORTED", `the simulation cannot view ${hex(start)} in different lengths`, {
    hint: "view a mapping whole, and make typed arrays over parts of that buffer",
  });
}

function detach(buffer: ArrayBuffer): void {
  structuredClone(buffer, { transfer: [buffer] });
}

function viewedTwice(address: number): IospanError {
  return new IospanError("ERR_IOSPAN_NOT_SUPPORTED", `the simulation cannot view the page at ${hex(address)} twice`, {
    hint: "map and view a memfd with the same offset and length each time",
  });
}

function segmentationFault(address: number): Error {
  return new Error(`SIGSEGV: nothing is mapped at ${hex(address)}`);
}
