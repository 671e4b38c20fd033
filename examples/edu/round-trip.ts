import { type DmaBuffer, type IoAddressSpace, iova } from "iospan";
import { type Completion, EDU_BUFFER_SIZE, Edu } from "./edu.js";

/**
 * Every engine reads the first half of one buffer and writes what it read to the second half, at the same IOVAs.
 * @param engines the space's devices that are edus: all of them where absent.
 * @returns what was proven, in a sentence.
 */
export async function roundTrip(
  space: IoAddressSpace,
  completion: Completion,
  engines: readonly string[] = space.interfaces,
): Promise<string> {
  using buffer = space.allocate(2 * EDU_BUFFER_SIZE);
  for (const [index, name] of engines.entries()) {
    await copyAndCompare(new Edu(space.interface(name)), buffer, index + 1, completion);
  }
  const at = `0x${buffer.iova.toString(16)}`;
  return `${engines.join(" and ")} read and wrote the same ${EDU_BUFFER_SIZE} bytes at IOVA ${at}`;
}

async function copyAndCompare(engine: Edu, buffer: DmaBuffer, seed: number, completion: Completion): Promise<void> {
  const source = buffer.bytes.subarray(0, EDU_BUFFER_SIZE);
  const target = buffer.bytes.subarray(EDU_BUFFER_SIZE, 2 * EDU_BUFFER_SIZE);
  for (let i = 0; i < EDU_BUFFER_SIZE; i += 1) source[i] = (i * 7 + seed * 31) & 0xff;
  target.fill(0);
  await engine.copy(buffer.iova, iova(buffer.iova + BigInt(EDU_BUFFER_SIZE)), EDU_BUFFER_SIZE, completion);
  const wrong = target.findIndex((byte, i) => byte !== source[i]);
  if (wrong >= 0) throw new Error(`${engine.name} copied something else than was there, from byte ${wrong} on`);
}
