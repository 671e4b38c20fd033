import { iova } from "../../iova.js";
import type { DmaBuffer } from "../../space/mapping.js";
import type { DmaPath } from "./engine.js";
import { pattern } from "./pattern.js";
import type { DmaReport } from "./result.js";

/** Memory does not hold what it should after a device was told to copy. */
export class WrongBytes extends Error {
  constructor(what: string, expected: Uint8Array, found: Uint8Array) {
    const at = expected.findIndex((byte, index) => byte !== found[index]);
    const byte = (value: number | undefined) => `0x${(value ?? 0).toString(16).padStart(2, "0")}`;
    super(`${what}: byte ${at} is ${byte(found[at])} where it should be ${byte(expected[at])}`);
    this.name = "WrongBytes";
  }
}

/** Bytes of one copy. */
const SLOT = 64 * 1024;

/** Bytes of the buffer that {@link prove} needs for so many paths. */
export function proofSize(paths: number): number {
  return (1 + 2 * paths) * SLOT;
}

/**
 * Proves that all paths see one memory at the same addresses. Each copies what the CPU wrote, then what the path before it
 * wrote, to a place of its own. After every copy the CPU compares the whole buffer: what was to be copied is where it should
 * be, and nothing else has changed.
 * @param buffer of {@link proofSize} or more.
 * @param report is told of each copy that was right.
 * @throws WrongBytes where memory does not hold what it should.
 */
export async function prove(paths: readonly DmaPath[], buffer: DmaBuffer, report: (dma: DmaReport) => void) {
  const memory = new ProofMemory(buffer);
  for (const [index, path] of paths.entries()) {
    memory.write(0, pattern(SLOT, index));
    report(await memory.copy(path, { from: 0, to: 1 + index, source: "cpu" }));
  }
  if (paths.length < 2) return;
  for (const [index, path] of paths.entries()) {
    const before = (index + paths.length - 1) % paths.length;
    const source = paths[before]?.interface ?? "";
    report(await memory.copy(path, { from: 1 + before, to: 1 + paths.length + index, source }));
  }
}

interface Copy {
  readonly from: number;
  readonly to: number;
  /** Who wrote what is copied. */
  readonly source: string;
}

/** A buffer and what should be in it, in slots. */
class ProofMemory {
  readonly #buffer: DmaBuffer;
  readonly #expected: Uint8Array;

  constructor(buffer: DmaBuffer) {
    this.#buffer = buffer;
    buffer.bytes.fill(0);
    this.#expected = new Uint8Array(buffer.bytes.length);
  }

  /** As the CPU. */
  write(slot: number, bytes: Uint8Array): void {
    this.#buffer.bytes.set(bytes, slot * SLOT);
    this.#expected.set(bytes, slot * SLOT);
  }

  /** As the device. */
  async copy(path: DmaPath, { from, to, source }: Copy): Promise<DmaReport> {
    const at = (slot: number) => iova(this.#buffer.iova + BigInt(slot * SLOT));
    await path.copy(at(from), at(to), SLOT);
    this.#expected.copyWithin(to * SLOT, from * SLOT, (from + 1) * SLOT);
    const { bytes } = this.#buffer;
    if (Buffer.compare(bytes, this.#expected) !== 0) {
      const whose = source === "cpu" ? "the CPU" : source;
      throw new WrongBytes(`${path.interface} was to copy what ${whose} wrote`, this.#expected, bytes);
    }
    return { interface: path.interface, bytes: SLOT, source, verified: true };
  }
}
