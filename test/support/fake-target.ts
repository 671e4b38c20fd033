import { IospanError } from "../../src/errors.js";
import { type Iova, type IovaRange, iova } from "../../src/iova.js";
import type { MapTarget, TargetInfo } from "../../src/space/strategies/strategy.js";
import type { DmaMapping } from "../../src/vfio/container.js";

export interface Entry {
  readonly size: number;
  readonly address: bigint;
  readonly access: string;
}

/**
 * What becomes of a call. `fail`: refused, nothing has changed. For an unmap also `lost`: less was mapped than asked for
 * and nothing is left; `stuck`: less was unmapped than asked for and the rest is still there.
 */
export type Fate = "works" | "fail" | "lost" | "stuck";

/** A {@link MapTarget} that is a table of mappings, with the kernel's rules: no overlaps, no mapping cut in two. */
export class FakeTarget implements MapTarget {
  readonly iommus: string;
  readonly devices = "a device";
  readonly entries = new Map<Iova, Entry>();
  readonly log: string[];
  pageSizes: bigint;
  ranges: readonly IovaRange[] = [{ start: iova(0), end: iova(2n ** 48n - 1n) }];
  capacity: number | undefined = 65535;
  /** Decides about the next call. */
  fate: (call: "map" | "unmap" | "info", target: FakeTarget) => Fate = () => "works";

  constructor(iommus: string, log: string[] = [], pageSizes = 0x1000n) {
    this.iommus = iommus;
    this.log = log;
    this.pageSizes = pageSizes;
  }

  info(): TargetInfo {
    if (this.fate("info", this) === "fail") throw this.#refusal("ERR_IOSPAN_SYSCALL", "info");
    const available = this.capacity === undefined ? undefined : this.capacity - this.entries.size;
    return { pageSizes: this.pageSizes, ranges: this.ranges, available };
  }

  map({ iova, size, address, access }: DmaMapping): void {
    this.log.push(`map ${this.iommus}`);
    if (this.fate("map", this) !== "works") throw this.#refusal("ERR_IOSPAN_MAP_REFUSED", "map");
    if (this.#overlapping(iova, BigInt(size)).length > 0) throw this.#refusal("ERR_IOSPAN_MAP_OVERLAP", "map");
    this.entries.set(iova, { size, address, access });
  }

  async mapAsync(mapping: DmaMapping): Promise<void> {
    await Promise.resolve();
    this.map(mapping);
  }

  unmap(at: Iova, size: number): number {
    this.log.push(`unmap ${this.iommus}`);
    const fate = this.fate("unmap", this);
    if (fate === "fail") throw this.#refusal("ERR_IOSPAN_UNMAP_REFUSED", "unmap");
    const found = this.#overlapping(at, BigInt(size));
    const whole = found.every(([start, entry]) => start >= at && start + BigInt(entry.size) <= at + BigInt(size));
    if (!whole) throw this.#refusal("ERR_IOSPAN_UNMAP_REFUSED", "unmap: would cut a mapping");
    const bytes = found.reduce((sum, [, entry]) => sum + entry.size, 0);
    for (const [start] of found) this.entries.delete(start);
    if (fate === "works") return bytes;
    const [first] = found;
    if (fate === "stuck" && first !== undefined) this.entries.set(first[0], { ...first[1], size: first[1].size / 2 });
    return bytes / 2;
  }

  async unmapAsync(at: Iova, size: number): Promise<number> {
    await Promise.resolve();
    return this.unmap(at, size);
  }

  isMapped(at: Iova, size: bigint): boolean {
    // The kernel refuses these questions, so nobody may ask them (vfio_iommu_type1.c, vfio_dma_do_map).
    if (size <= 0n || at + size > 2n ** 64n || size > 2n ** 63n) throw new Error(`asked about ${size} bytes at ${at}`);
    if ((at | size) & 0xfffn) throw new Error(`asked about a part of a page: ${size} bytes at ${at}`);
    return this.#overlapping(at, size).length > 0;
  }

  #overlapping(at: bigint, size: bigint): [Iova, Entry][] {
    return [...this.entries].filter(([start, entry]) => start < at + size && start + BigInt(entry.size) > at);
  }

  #refusal(
    code: "ERR_IOSPAN_SYSCALL" | `ERR_IOSPAN_${"MAP" | "UNMAP"}_REFUSED` | "ERR_IOSPAN_MAP_OVERLAP",
    what: string,
  ) {
    return new IospanError(code, `${this.iommus} refuses: ${what}`, { hint: "ask another" });
  }
}

/** Decides the first calls as listed; everything after them works. */
export function fates(list: readonly Fate[]): FakeTarget["fate"] {
  const left = [...list];
  return (call) => (call === "info" ? "works" : (left.shift() ?? "works"));
}
