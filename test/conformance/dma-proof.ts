import assert from "node:assert/strict";
import { DmaMemory, type IoAddressSpace, type Iova, type Machine, type Mapping } from "iospan";
import { Edu } from "../../examples/edu/edu.js";
import { sameBytes } from "./expect.js";

/** Something that copies memory by DMA through one interface of a space. */
export interface Mover {
  readonly name: string;
  copy(from: Iova, to: Iova, size: number): Promise<unknown>;
}

/** Bytes that any mover can copy at a time. */
const SIZE = 4096;

/** The `edu` devices among a space's interfaces, on whichever bus, as movers. */
export const edus = (space: IoAddressSpace, names = space.interfaces): readonly Mover[] =>
  names.map((name) => {
    const device = space.interface(name);
    return new Edu(device, device.bus === "pci" ? "bar0" : 0);
  });

/**
 * Proves by DMA what a space promises, whatever the kernel says: every mover reads and writes the memory that is mapped,
 * at the same IOVA; and when other memory is mapped there, that one, and nothing any more of what was there before.
 * @throws AssertionError, or what a mover throws, where that is not so
 */
export async function proveDma(machine: Machine, space: IoAddressSpace, movers: readonly Mover[]): Promise<void> {
  assert.ok(movers.length > 0, "nobody moves anything");
  const alignment = space.granule;
  using first = DmaMemory.allocate(machine, alignment, { alignment });
  using second = DmaMemory.allocate(machine, alignment, { alignment });
  using scratch = space.allocate(alignment);
  const iova = await move(space, first, scratch, movers);
  const left = first.bytes.slice();
  assert.equal(await move(space, second, scratch, movers, iova), iova);
  sameBytes(first.bytes, left, "memory that is not mapped any more");
}

/** @returns where the memory was mapped, and is not any more */
async function move(
  space: IoAddressSpace,
  memory: DmaMemory,
  scratch: Mapping,
  movers: readonly Mover[],
  iova?: Iova,
): Promise<Iova> {
  await using mapping = await space.map(memory, { iova });
  for (const [index, mover] of movers.entries()) {
    await moveBoth(mover, mapping, scratch, memory.address + BigInt(index));
  }
  return mapping.iova;
}

/** Out of the memory and into it, each time other bytes. */
async function moveBoth(mover: Mover, mapping: Mapping, scratch: Mapping, seed: bigint): Promise<void> {
  const [out, into] = [pattern(seed), pattern(seed + 128n)];
  mapping.bytes.set(out);
  scratch.bytes.fill(0);
  await mover.copy(mapping.iova, scratch.iova, SIZE);
  sameBytes(scratch.bytes.slice(0, SIZE), out, `what ${mover.name} read`);
  scratch.bytes.set(into);
  await mover.copy(scratch.iova, mapping.iova, SIZE);
  sameBytes(mapping.bytes.slice(0, SIZE), into, `what ${mover.name} wrote`);
}

/** Bytes that tell memory, mover and direction apart. */
function pattern(seed: bigint): Uint8Array {
  const base = Number(seed % 65521n);
  return Uint8Array.from({ length: SIZE }, (_, index) => (base * 31 + index * 7 + (index >> 8)) & 0xff);
}
