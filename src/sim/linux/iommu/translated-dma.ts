import type { DmaPort } from "../../hw/device-model.js";
import type { PhysicalMemory } from "../../hw/physical-memory.js";
import type { DmaMaster, Iommu } from "./iommu.js";

/** A device's way to memory: through its IOMMU if it has one, and only while it may master the bus. */
export class TranslatedDma implements DmaPort {
  readonly #physical: PhysicalMemory;
  readonly #master: DmaMaster;
  readonly #iommu: Iommu | undefined;
  readonly #mayMaster: () => boolean;

  constructor(physical: PhysicalMemory, master: DmaMaster, iommu: Iommu | undefined, mayMaster: () => boolean) {
    this.#physical = physical;
    this.#master = master;
    this.#iommu = iommu;
    this.#mayMaster = mayMaster;
  }

  read(address: bigint, into: Uint8Array): boolean {
    // QEMU gives zeros for what was aborted (system/memory.c, unassigned_mem_read).
    into.fill(0);
    return this.#transfer(address, into, false);
  }

  write(address: bigint, from: Uint8Array): boolean {
    return this.#transfer(address, from, true);
  }

  /** One bus transaction for each page at most, as a bridge would cut it. */
  #transfer(address: bigint, bytes: Uint8Array, write: boolean): boolean {
    if (!this.#mayMaster()) return false;
    let complete = true;
    let done = 0;
    while (done < bytes.length) {
      const at = address + BigInt(done);
      const { physicalAddress, length } = this.#translate(at, bytes.length - done, write);
      const part = bytes.subarray(done, done + length);
      if (physicalAddress === undefined || !this.#access(physicalAddress, part, write)) complete = false;
      done += length;
    }
    return complete;
  }

  #access(physicalAddress: number, part: Uint8Array, write: boolean): boolean {
    return write ? this.#physical.write(physicalAddress, part) : this.#physical.read(physicalAddress, part);
  }

  #translate(address: bigint, length: number, write: boolean): { physicalAddress?: number; length: number } {
    if (this.#iommu === undefined) return { physicalAddress: Number(address), length };
    const { pageSize } = this.#physical;
    const restOfPage = pageSize - Number(address % BigInt(pageSize));
    const found = this.#iommu.translate(this.#master, address, length, write);
    return found ?? { length: Math.min(length, restOfPage) };
  }
}
