import type { PhysicalMemory } from "../../hw/physical-memory.js";
import { refuse } from "../refusal.js";

/** Memory that the kernel shares with an SMMU: the kernel writes through the views, the SMMU reads at the address. */
export interface SharedMemory {
  readonly address: number;
  /** Bytes. */
  readonly size: number;
  readonly words: BigUint64Array;
  readonly halves: Int32Array;
}

/** dma_alloc_coherent for one SMMU, and the page allocator of its page tables: zeros that the SMMU can address. */
export class CoherentMemory {
  readonly #physical: PhysicalMemory;
  /** The first address that is too high for the SMMU. */
  readonly #end: number;

  /** @param outputBits bits of the physical addresses that the SMMU puts on the bus and its tables have room for */
  constructor(physical: PhysicalMemory, outputBits: number) {
    this.#physical = physical;
    this.#end = 2 ** outputBits;
  }

  /** Refuses with ENOMEM where no memory is left that the SMMU can address. */
  allocate(size: number, alignment: number = size): SharedMemory {
    const address = this.#physical.reserve(size, alignment, this.#end);
    if (address === undefined) return refuse("ENOMEM", "no memory that the SMMU can address");
    const [storage] = this.#physical.storage(address, size);
    if (storage === undefined) throw new Error(`nothing was reserved at 0x${address.toString(16)}`);
    const { buffer, byteOffset } = storage;
    const words = new BigUint64Array(buffer, byteOffset, size / 8);
    return { address, size, words, halves: new Int32Array(buffer, byteOffset, size / 4) };
  }

  free({ address, size }: SharedMemory): void {
    this.#physical.free(address, size);
  }
}
