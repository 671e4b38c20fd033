import type { RegisterWindow } from "../../hw/physical-memory.js";
import type { Frame, KernelDevice } from "./device.js";

/** The widest access that a bus splits a transfer into. */
const WIDEST = 8;

/**
 * A device's registers in the physical address space, where other devices' DMA reaches them. A transfer arrives as accesses
 * of up to 8 bytes, each as wide as its address is aligned and its rest allows, in ascending order (QEMU, system/physmem.c,
 * memory_access_size).
 */
export class DeviceWindow implements RegisterWindow {
  readonly #device: KernelDevice;
  readonly #frame: Frame;

  constructor(device: KernelDevice, frame: Frame) {
    this.#device = device;
    this.#frame = frame;
  }

  /** A PCI function answers while it decodes memory. */
  get answers(): boolean {
    return this.#device.config?.memoryEnabled ?? true;
  }

  read(offset: number, into: Uint8Array): void {
    for (let done = 0; done < into.length; ) {
      const width = widthAt(offset + done, into.length - done);
      this.#device.readRegisters(this.#frame, offset + done, into.subarray(done, done + width));
      done += width;
    }
  }

  write(offset: number, from: Uint8Array): void {
    for (let done = 0; done < from.length; ) {
      const width = widthAt(offset + done, from.length - done);
      this.#device.writeRegisters(this.#frame, offset + done, from.subarray(done, done + width));
      done += width;
    }
  }
}

function widthAt(offset: number, rest: number): number {
  let width = WIDEST;
  while (width > rest || offset % width !== 0) width /= 2;
  return width;
}
