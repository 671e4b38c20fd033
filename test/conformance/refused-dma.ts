import { DmaMemory, IoAddressSpace, iova, type Machine } from "iospan";
import { Edu } from "../../examples/edu/edu.js";

/** What the kernel said, by what an engine did. */
export type RefusalLog = Readonly<Record<string, readonly string[]>>;

/** Nothing is mapped there. */
const NOWHERE = iova(0x6000_0000);
/** Behind what any SMMU without 52-bit addresses translates. */
const BEYOND = iova(2n ** 48n + 0x1000n);
const READ_ONLY = iova(0x40_0000);
const WRITE_ONLY = iova(0x50_0000);
const GONE = iova(0x60_0000);
/** In the middle of a page. */
const INSIDE = 0x124n;
/** QEMU translates again for every four bytes that nothing answers: a larger transfer has many events. */
const SIZE = 4;
const PAGE = 4096;

/** What an engine does that its SMMU has something against, or might have. */
export const refusals: Readonly<Record<string, (engine: Edu) => Promise<void>>> = {
  "a read where nothing is mapped": (engine) => engine.load(NOWHERE, SIZE),
  "a write where nothing is mapped": (engine) => engine.store(iova(NOWHERE + INSIDE), SIZE),
  "a write to a read-only mapping": (engine) => engine.store(iova(READ_ONLY + INSIDE), SIZE),
  "a read of a write-only mapping": (engine) => engine.load(iova(WRITE_ONLY + INSIDE), SIZE),
  "a read of what was mapped before": (engine) => engine.load(GONE, SIZE),
  "a read behind the last address": (engine) => engine.load(BEYOND, SIZE),
};

/**
 * Has an `edu` do each of {@link refusals}, in a space of its own.
 * @param log the kernel's messages on what has been until now
 */
export async function refusedDma(
  machine: Machine,
  device: string,
  log: () => readonly string[] | Promise<readonly string[]>,
): Promise<RefusalLog> {
  await using space = await IoAddressSpace.open(machine, [device], { strategy: "mirrored" });
  using memory = DmaMemory.allocate(machine, 3 * PAGE, { hugePages: "no" });
  await using _readable = await space.map(memory, { iova: READ_ONLY, size: PAGE, access: "read" });
  await using _writable = await space.map(memory, { iova: WRITE_ONLY, offset: PAGE, size: PAGE, access: "write" });
  const engine = new Edu(space.interface(device));
  {
    await using _gone = await space.map(memory, { iova: GONE, offset: 2 * PAGE, size: PAGE });
    await engine.load(GONE, SIZE);
  }
  const said: Record<string, readonly string[]> = {};
  for (const [what, access] of Object.entries(refusals)) {
    const { length } = await log();
    await access(engine);
    said[what] = (await log()).slice(length);
  }
  return said;
}
