import { MappedMemory } from "../syscalls/mapped-memory.js";
import { MAP_SHARED } from "../syscalls/mmap-flags.js";
import type { Fd, Mmio, Syscalls } from "../syscalls/syscalls.js";
import type { MmapArea } from "./region.js";

/** Registers at an offset from the region's start. */
export interface MappedRegisters {
  readonly offset: number;
  readonly mmio: Mmio;
}

/** What all mappings of a region have in common. */
export interface RegionMapping {
  readonly fd: Fd;
  readonly prot: number;
  /** Where the region begins in the device's file. */
  readonly base: bigint;
}

/** A part of a region and, once it has been touched, its mapping. */
interface Window extends MmapArea {
  memory?: MappedMemory;
  registers?: MappedRegisters;
}

/** BARs of many GiB exist, and an ArrayBuffer has its limit. */
const LARGEST_WINDOW = 2 ** 30;

/** The parts of a region that may be mapped; each is, when it is first touched. */
export class MappedAreas {
  readonly #syscalls: Syscalls;
  readonly #windows: readonly Window[];
  readonly #mapping: RegionMapping;

  constructor(syscalls: Syscalls, areas: readonly MmapArea[], mapping: RegionMapping) {
    this.#syscalls = syscalls;
    this.#windows = areas.flatMap(windowsOf);
    this.#mapping = mapping;
  }

  /**
   * The registers that an access lies in; undefined where none may be mapped.
   * @throws SyscallError as mmap(2) answers.
   */
  at(offset: number, width: number): MappedRegisters | undefined {
    for (const window of this.#windows) {
      const inside = offset >= window.offset && offset + width <= window.offset + window.size;
      if (inside) return window.registers ?? this.#map(window);
    }
    return undefined;
  }

  /** Releases every one of them before it reports the first that would not go. */
  release(): void {
    const failures: unknown[] = [];
    for (const window of this.#windows) {
      try {
        window.memory?.release();
      } catch (error) {
        failures.push(error);
      }
      delete window.memory;
      delete window.registers;
    }
    if (failures.length > 0) throw failures[0];
  }

  #map(window: Window): MappedRegisters {
    const { fd, prot, base } = this.#mapping;
    const request = { fd, prot, flags: MAP_SHARED, length: window.size, offset: base + BigInt(window.offset) };
    const memory = MappedMemory.map(this.#syscalls, request);
    try {
      window.registers = { offset: window.offset, mmio: this.#syscalls.mmio(memory.buffer) };
    } catch (error) {
      memory.release();
      throw error;
    }
    window.memory = memory;
    return window.registers;
  }
}

function windowsOf({ offset, size }: MmapArea): Window[] {
  const count = Math.ceil(size / LARGEST_WINDOW);
  return Array.from({ length: count }, (_, index) => {
    const from = index * LARGEST_WINDOW;
    return { offset: offset + from, size: Math.min(LARGEST_WINDOW, size - from) };
  });
}
