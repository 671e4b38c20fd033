import type { Mmio } from "./syscalls.js";

/**
 * {@link Mmio} over mapped memory.
 *
 * Reads are `Atomics.load`: an atomic element access may be neither split, merged nor left out (ECMA-262, memory model),
 * and on arm64 it is a load-acquire, so what a device wrote to memory before it set a status bit is seen after reading it.
 * Writes are `Atomics.store` on arm64 (a store-release: descriptors written before the doorbell are seen by the device
 * that the doorbell wakes). On x86-64 V8 makes an exchange of it, which would also READ the register; there an aligned
 * plain store is one access too, and the processor keeps stores in order.
 */
export class TypedArrayMmio implements Mmio {
  readonly #u8: Uint8Array;
  readonly #u16: Uint16Array;
  readonly #u32: Uint32Array;
  readonly #u64: BigUint64Array;
  readonly #releaseStores: boolean;

  constructor(buffer: ArrayBuffer, releaseStores: boolean) {
    this.#u8 = new Uint8Array(buffer);
    this.#u16 = new Uint16Array(buffer);
    this.#u32 = new Uint32Array(buffer);
    this.#u64 = new BigUint64Array(buffer);
    this.#releaseStores = releaseStores;
  }

  read8(offset: number): number {
    return Atomics.load(this.#u8, offset);
  }

  read16(offset: number): number {
    return Atomics.load(this.#u16, offset / 2);
  }

  read32(offset: number): number {
    return Atomics.load(this.#u32, offset / 4);
  }

  read64(offset: number): bigint {
    return Atomics.load(this.#u64, offset / 8);
  }

  write8(offset: number, value: number): void {
    if (this.#releaseStores) Atomics.store(this.#u8, offset, value);
    else this.#u8[offset] = value;
  }

  write16(offset: number, value: number): void {
    if (this.#releaseStores) Atomics.store(this.#u16, offset / 2, value);
    else this.#u16[offset / 2] = value;
  }

  write32(offset: number, value: number): void {
    if (this.#releaseStores) Atomics.store(this.#u32, offset / 4, value);
    else this.#u32[offset / 4] = value;
  }

  write64(offset: number, value: bigint): void {
    if (this.#releaseStores) Atomics.store(this.#u64, offset / 8, value);
    else this.#u64[offset / 8] = value;
  }
}
