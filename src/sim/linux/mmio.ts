import type { Mmio } from "../../syscalls/syscalls.js";
import type { Views } from "./mm/views.js";

type Width = 1 | 2 | 4 | 8;

/** Register access through a view: to the device's model while registers are mapped behind the view, else to its bytes. */
export class SimulatedMmio implements Mmio {
  readonly #views: Views;
  readonly #buffer: ArrayBuffer;
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #scratch = new DataView(new ArrayBuffer(8));

  constructor(views: Views, buffer: ArrayBuffer) {
    this.#views = views;
    this.#buffer = buffer;
    this.#bytes = new Uint8Array(buffer);
  }

  read8(offset: number): number {
    return this.#read(offset, 1).getUint8(0);
  }

  read16(offset: number): number {
    return this.#read(offset, 2).getUint16(0, true);
  }

  read32(offset: number): number {
    return this.#read(offset, 4).getUint32(0, true);
  }

  read64(offset: number): bigint {
    return this.#read(offset, 8).getBigUint64(0, true);
  }

  write8(offset: number, value: number): void {
    this.#scratch.setUint8(0, value);
    this.#write(offset, 1);
  }

  write16(offset: number, value: number): void {
    this.#scratch.setUint16(0, value, true);
    this.#write(offset, 2);
  }

  write32(offset: number, value: number): void {
    this.#scratch.setUint32(0, value, true);
    this.#write(offset, 4);
  }

  write64(offset: number, value: bigint): void {
    this.#scratch.setBigUint64(0, value, true);
    this.#write(offset, 8);
  }

  #read(offset: number, width: Width): DataView {
    this.#check(offset, width);
    const into = new Uint8Array(this.#scratch.buffer, 0, width);
    const shown = this.#views.registersBehind(this.#buffer);
    if (shown === undefined) into.set(this.#bytes.subarray(offset, offset + width));
    else shown.registers.read(shown.offset + offset, into);
    return this.#scratch;
  }

  #write(offset: number, width: Width): void {
    this.#check(offset, width);
    const from = new Uint8Array(this.#scratch.buffer, 0, width);
    const shown = this.#views.registersBehind(this.#buffer);
    if (shown === undefined) this.#bytes.set(from, offset);
    else shown.registers.write(shown.offset + offset, from);
  }

  #check(offset: number, width: Width): void {
    // A detached buffer has no length: the mapping is gone.
    if (this.#buffer.byteLength === 0) throw new Error("SIGSEGV: the registers are no longer mapped");
    if (offset % width !== 0 || offset < 0 || offset + width > this.#buffer.byteLength) {
      throw new RangeError(`no ${8 * width}-bit access at offset ${offset} of ${this.#buffer.byteLength}`);
    }
  }
}
