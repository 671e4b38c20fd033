import { iova } from "../../iova.js";
import type { DmaBuffer } from "../../space/mapping.js";
import type { Engine } from "./engine.js";
import { pattern } from "./pattern.js";
import { WrongBytes } from "./proof.js";
import type { ThroughputReport } from "./result.js";

const NANOSECONDS = 1e9;

/**
 * Measures how fast each path copies alone, and all of them at once, each its share of the same copy: from the first half of
 * the buffer to the second one. Each copy runs once before it is measured, so that no path pays for another's table walks.
 * @param buffer has room for two loads of the engine.
 * @throws WrongBytes where memory does not hold what it should afterwards.
 */
export async function measure(engine: Engine, buffer: DmaBuffer): Promise<ThroughputReport> {
  const length = engine.load;
  const from = buffer.iova;
  const to = iova(buffer.iova + BigInt(length));
  const measured = async (who: string, seed: number, copy: () => Promise<number>): Promise<number> => {
    buffer.bytes.set(pattern(length, seed));
    await copy();
    const rate = Math.round((length * NANOSECONDS) / (await copy()));
    compare(who, buffer, length);
    return rate;
  };
  const paths = [];
  for (const [index, path] of engine.paths.entries()) {
    const bytesPerSecond = await measured(path.interface, index, () => path.copy(from, to, length));
    paths.push({ interface: path.interface, bytesPerSecond });
  }
  const onePath = Math.max(...paths.map(({ bytesPerSecond }) => bytesPerSecond));
  const bothPaths = await measured("all paths", engine.paths.length, () => engine.copyOverAll(from, to, length));
  return { onePath, bothPaths, ratio: bothPaths / onePath, paths };
}

function compare(who: string, { bytes }: DmaBuffer, length: number): void {
  const [source, target] = [bytes.subarray(0, length), bytes.subarray(length, 2 * length)];
  if (Buffer.compare(source, target) !== 0) throw new WrongBytes(`copying over ${who}`, source, target);
}
