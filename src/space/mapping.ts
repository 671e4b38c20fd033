import type { Iova } from "../iova.js";
import type { DmaMemory } from "./dma-memory.js";
import type { MappingRecord } from "./ledger.js";

/** What a mapping needs of its space. */
export interface MappingOwner {
  has(record: MappingRecord): boolean;
  unmapNow(record: MappingRecord): void;
  unmapLater(record: MappingRecord): Promise<void>;
  /** The end of a `using` block. */
  dispose(record: MappingRecord): void;
}

/**
 * Memory that devices see at an IOVA. It is unmapped by {@link unmap}, at the end of an `await using` or `using` block, or
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

  get memory(): DmaMemory {
    return this.#record.memory;
  }

  /** False once it has been unmapped, by itself or with the space. */
  get mapped(): boolean {
    return this.#owner.has(this.#record);
  }

  /** Bytes of the memory, as the devices see them. @throws IospanError `ERR_IOSPAN_RELEASED` once the memory was released. */
  get bytes(): Uint8Array<ArrayBuffer> {
    const { memory, address, size } = this.#record;
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

/**
 * A {@link Mapping} with memory of its own: what `space.allocate` gives. The memory goes when it is unmapped, however that
 * comes about; as long as it cannot be unmapped the memory stays.
 */
export class DmaBuffer extends Mapping {
  /** Unmaps the buffer and gives its memory back; a second call does nothing. @throws as {@link Mapping.unmapNow}. */
  free(): void {
    this.unmapNow();
  }
}
