import { IospanError } from "../errors.js";
import type { Iova } from "../iova.js";
import type { Access } from "../vfio/container.js";
import type { Region } from "../vfio/region.js";
import { DmaMemory } from "./dma-memory.js";
import { accessOf, type MappingRecord } from "./ledger.js";
import { PeerRegion } from "./peer-region.js";

/** What a mapping needs of its space. */
export interface MappingOwner {
  has(record: MappingRecord): boolean;
  unmapNow(record: MappingRecord): void;
  unmapLater(record: MappingRecord): Promise<void>;
  /** The end of a `using` block. */
  dispose(record: MappingRecord): void;
}

/**
 * Memory, or another device's registers, that devices see at an IOVA. It is unmapped by {@link unmap}, at the end of an `await using` or `using` block, or
 * with the space.
 */
export class Mapping implements Disposable, AsyncDisposable {
  readonly #owner: MappingOwner;
  readonly #record: MappingRecord;

  constructor(owner: MappingOwner, record: MappingRecord) {
    this.#owner = owner;
    this.#record = record;
  }

  /** Where the devices see it. */
  get iova(): Iova {
    return this.#record.iova;
  }

  /** Bytes. */
  get size(): number {
    return this.#record.size;
  }

  /** The memory; undefined where registers are mapped. */
  get memory(): DmaMemory | undefined {
    const { memory } = this.#record;
    return memory instanceof DmaMemory ? memory : undefined;
  }

  /** The region whose registers are mapped; undefined where memory is. */
  get region(): Region | undefined {
    const { memory } = this.#record;
    return memory instanceof PeerRegion ? memory.region : undefined;
  }

  /** What an interface of the space may do with it, by its kernel name; undefined where the mapping is limited to others. */
  accessOf(interfaceName: string): Access | undefined {
    return accessOf(this.#record, interfaceName);
  }

  /** False once it has been unmapped, by itself or with the space. What was {@link revoked} is mapped until it is unmapped. */
  get mapped(): boolean {
    return this.#owner.has(this.#record);
  }

  /**
   * Whether registers that an iommufd maps were taken from it by a reset of their device with its `reset()` or
   * `hotReset()`, even one that failed: the IOMMUs do not translate the IOVA any more, for good, though it is taken;
   * unmap it and map the region anew. Always false for memory, and with type1, where such a mapping stays.
   *
   * The kernel tells nobody. What this process does not call is not noticed: a reset through configuration space (the bits
   * Initiate Function Level Reset of the PCI Express and Advanced Features capabilities), another power state than D0 through
   * the Power Management capability, the command register's memory enable bit cleared, and VFIO's low power feature
   * (drivers/vfio/pci/vfio_pci_config.c and vfio_pci_core.c, the callers of vfio_pci_dma_buf_move).
   */
  get revoked(): boolean {
    return this.#record.memory.revoked ?? false;
  }

  /**
   * Bytes of the memory, as the devices see them.
   * @throws IospanError `ERR_IOSPAN_RELEASED` once the memory was released, `ERR_IOSPAN_NOT_SUPPORTED` for registers.
   */
  get bytes(): Uint8Array<ArrayBuffer> {
    const { address, size } = this.#record;
    const { memory } = this;
    if (memory === undefined) throw noBytes();
    const offset = Number(address - memory.address);
    return offset === 0 && size === memory.size ? memory.bytes : memory.view(offset, size);
  }

  /**
   * Unmaps it from every IOMMU, off the event loop; does nothing when it is not mapped any more.
   * @throws IospanError `ERR_IOSPAN_UNMAP_REFUSED`: it is still mapped everywhere; `ERR_IOSPAN_UNMAP_SHORT`: it is gone
   * everywhere, but had not been mapped everywhere.
   */
  async unmap(): Promise<void> {
    if (this.mapped) await this.#owner.unmapLater(this.#record);
  }

  /** {@link unmap}, before it returns. @throws also `ERR_IOSPAN_BUSY` while the space attaches, detaches or closes. */
  unmapNow(): void {
    if (this.mapped) this.#owner.unmapNow(this.#record);
  }

  /** @internal */
  isOf(owner: MappingOwner): boolean {
    return this.#owner === owner;
  }

  [Symbol.dispose](): void {
    if (this.mapped) this.#owner.dispose(this.#record);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.unmap();
  }
}

/** An access to registers has a width, which one to bytes of an array has not. */
function noBytes(): IospanError {
  return new IospanError("ERR_IOSPAN_NOT_SUPPORTED", "the mapping is of a device's registers, which are no bytes", {
    hint: "mapping.region reads and writes them: read32(), write32(), …",
  });
}

/**
 * A {@link Mapping} with memory of its own: what `space.allocate` gives. The memory goes when it is unmapped, however that
 * comes about; as long as it cannot be unmapped the memory stays.
 */
export class DmaBuffer extends Mapping {
  readonly #memory: DmaMemory;

  constructor(owner: MappingOwner, record: MappingRecord, memory: DmaMemory) {
    super(owner, record);
    this.#memory = memory;
  }

  /** The buffer's own. */
  override get memory(): DmaMemory {
    return this.#memory;
  }

  /** Unmaps the buffer and gives its memory back; a second call does nothing. @throws as {@link Mapping.unmapNow}. */
  free(): void {
    this.unmapNow();
  }
}
