import { type DmaBuffer, type DualPathEngine, type DualPathVia, iova } from "iospan";

/** How fast the engine copies one way. */
export interface Throughput {
  readonly via: DualPathVia;
  readonly bytesPerSecond: number;
}

const ways: readonly DualPathVia[] = ["function", "port", "both"];
const NANOSECONDS = 1e9;

/**
 * Copies the first half of a buffer to the second one: through each interface alone, and through both at once. The engine's
 * own clock tells how long it takes.
 * @throws Error when what was copied is not what was there.
 */
export async function throughput(engine: DualPathEngine, buffer: DmaBuffer): Promise<readonly Throughput[]> {
  const length = buffer.size / 2;
  const target = iova(buffer.iova + BigInt(length));
  const results: Throughput[] = [];
  for (const [index, via] of ways.entries()) {
    buffer.bytes.fill(0x11 * (index + 1), 0, length);
    // Once before it is measured, so that no way pays for filling the translation caches.
    await engine.copy(buffer.iova, target, length, { via });
    const { elapsed } = await engine.copy(buffer.iova, target, length, { via });
    check(buffer.bytes, via);
    results.push({ via, bytesPerSecond: (length / elapsed) * NANOSECONDS });
  }
  return results;
}

function check(bytes: Uint8Array, via: DualPathVia): void {
  const length = bytes.length / 2;
  const wrong = bytes.subarray(length).findIndex((byte, at) => byte !== bytes[at]);
  if (wrong >= 0) throw new Error(`via ${via}: byte ${wrong} was copied as something else`);
}
