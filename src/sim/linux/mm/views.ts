import { IospanError } from "../../../errors.js";
import { hex } from "../../../iova.js";
import type { PhysicalMemory } from "../../hw/physical-memory.js";
import { IntervalMap } from "../../interval-map.js";
import type { AddressSpace, MappedRegisters, Mapping } from "./address-space.js";
import type { MemoryObject } from "./memory-object.js";

/** What an ArrayBuffer shows that was handed out for a part of the address space. */
interface Shown {
  readonly buffer: ArrayBuffer;
  /** Bytes into the buffer. */
  readonly offset: number;
}

/** Registers behind a buffer, while they are mapped there. */
export interface ShownRegisters {
  readonly registers: MappedRegisters;
  /** Of the buffer's first byte in the registers. */
  readonly offset: number;
}

/** Part of a view whose mapping was replaced. */
interface Vacated extends Shown {
  readonly start: number;
  readonly length: number;
}

/**
 * JavaScript sees memory as ArrayBuffers, which can neither overlap nor change what they show. So the buffer is where the
 * bytes of the viewed pages lie, devices' DMA goes there too, and when the mapping changes under a view the pages
 * move out of the buffer, if somebody still holds them:
 *  - what replaces them moves in, so that the view shows the new mapping, as it would on Linux;
 *  - after munmap the buffer is detached: an access fails, where on Linux it would end the process.
 */
export class Views {
  readonly #space: AddressSpace;
  readonly #physical: PhysicalMemory;
  readonly #shown = new IntervalMap<Shown>(({ buffer, offset }, by) => ({ buffer, offset: offset + by }));
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
    const earlier = this.#shown.overlapping(start, end);
    if (earlier.length > 0) return this.#sameView(earlier[0]?.value, earlier.length, start, length);
    if (length === 0 || !this.#space.isMapped(start, end)) throw segmentationFault(start);
    const buffer = this.#bufferFor(start, end);
    this.#shown.insert(start, end, { buffer, offset: 0 });
    return buffer;
  }

  /** Called before mappings in [start, end) go: what to do with their views afterwards. */
  vacate(start: number, end: number): (successor?: MemoryObject) => void {
    const vacated = this.#shown.remove(start, end).map(
      ({ start: from, end: to, value }): Vacated => ({ ...value, start: from, length: to - from }),
    );
    const pages = vacated.flatMap((part) => this.#pagesBehind(part));
    return (successor) => {
      const own = vacated.filter((part) => !this.#isShownElsewhere(part));
      const left = (part: Vacated) => pages.filter((page) => page.of === part);
      for (const part of own) this.#moveOut(part, left(part), successor === undefined);
      if (successor !== undefined) for (const part of own) this.#moveIn(part, start, successor);
    };
  }

  #sameView(shown: Shown | undefined, count: number, start: number, length: number): ArrayBuffer {
    const found = this.#shown.at(start);
    if (shown !== undefined && count === 1 && found?.start === start && shown.buffer.byteLength === length) {
      return shown.buffer;
    }
    throw new IospanError("ERR_IOSPAN_NOT_SUPPORTED", `the simulation cannot view ${hex(start)} twice in different lengths`, {
      hint: "view a mapping whole, and make typed arrays over parts of that buffer",
    });
  }

  #bufferFor(start: number, end: number): ArrayBuffer {
    const parts = this.#space.within(start, end);
    const registers = parts.length === 1 ? parts[0]?.value : undefined;
    if (registers !== undefined && "registers" in registers.backing) {
      const buffer = new ArrayBuffer(end - start);
      this.#registers.set(buffer, { registers: registers.backing.registers, offset: registers.offset });
      return buffer;
    }
    return this.#existingBuffer(start, end, parts) ?? this.#newBuffer(start, end);
  }

  /** The buffer in which the pages lie already, if it holds nothing else: a memfd that is mapped twice. */
  #existingBuffer(start: number, end: number, parts: readonly { readonly start: number; readonly end: number; readonly value: Mapping }[]) {
    for (const { start: from, end: to, value } of parts) {
      if (!("memory" in value.backing) || value.backing.memory.isUntouched(value.offset, value.offset + to - from)) return undefined;
    }
    const storage = this.#storage(start, end);
    const first = storage[0];
    if (first === undefined || first.byteOffset !== 0 || first.buffer.byteLength !== end - start) return undefined;
    let at = 0;
    for (const bytes of storage) {
      if (bytes.buffer !== first.buffer || bytes.byteOffset !== at) return undefined;
      at += bytes.length;
    }
    return first.buffer;
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
      if (this.#physical.storage(address, bytes).some(({ buffer }) => this.#isShown(buffer))) {
        throw new IospanError("ERR_IOSPAN_NOT_SUPPORTED", "the simulation cannot view the same pages at two addresses", {
          hint: "map and view a memfd with the same offset and length each time",
        });
      }
      this.#physical.move(address, storage.subarray(at, at + bytes));
      at += bytes;
    }
  }

  #storage(start: number, end: number): readonly Uint8Array<ArrayBuffer>[] {
    const extents = [...this.#space.touch(start, end, false)];
    return extents.flatMap(({ address, length }) => this.#physical.storage(address, length));
  }

  /** The pages whose bytes lie in a part of a view, with their place in it. */
  #pagesBehind(part: Vacated) {
    let at = 0;
    return this.#space.within(part.start, part.start + part.length).flatMap(({ start, end, value }) => {
      if (!("memory" in value.backing)) return [];
      return value.backing.memory.extents(value.offset, value.offset + end - start).map(({ address, length }) => {
        const page = { of: part, address, length, at };
        at += length;
        return page;
      });
    });
  }

  #moveOut(part: Vacated, pages: ReturnType<typeof this.__pages>, detach: boolean): void {
    const whole = part.offset === 0 && part.length === part.buffer.byteLength;
    this.#registers.delete(part.buffer);
    void [whole, pages, detach];
  }
}
