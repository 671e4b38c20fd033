import { MappedMemory } from "../syscalls/mapped-memory.js";
import type { Fd, MmapRequest, Mmio, Syscalls } from "../syscalls/syscalls.js";
import type { MmapArea } from "./region.js";

/** A part of a region, mapped into the process. */
export interface MappedArea extends MmapArea {
  readonly memory: MappedMemory;
  readonly mmio: Mmio;
}

/** Maps all of the areas, or none. @param base where the region begins in the device's file. */
export function mapAreas(
  syscalls: Syscalls,
  areas: readonly MmapArea[],
  request: Pick<MmapRequest, "prot" | "flags"> & { readonly fd: Fd },
  base: bigint,
): readonly MappedArea[] {
  const mapped: MappedArea[] = [];
  try {
    for (const area of areas) mapped.push(mapArea(syscalls, area, { ...request, offset: base + BigInt(area.offset) }));
    return mapped;
  } catch (error) {
    releaseAreas(mapped);
    throw error;
  }
}

function mapArea(syscalls: Syscalls, { offset, size }: MmapArea, request: Omit<MmapRequest, "length">): MappedArea {
  const memory = MappedMemory.map(syscalls, { ...request, length: size });
  try {
    return { offset, size, memory, mmio: syscalls.mmio(memory.buffer) };
  } catch (error) {
    memory.release();
    throw error;
  }
}

/** Releases every one of them before it reports the first that would not go. */
export function releaseAreas(areas: readonly MappedArea[]): void {
  const failures: unknown[] = [];
  for (const { memory } of areas) {
    try {
      memory.release();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}
