import type { BusMemory } from "../../hw/dma-path.js";
import type { PhysicalMemory, RegisterWindow } from "../../hw/physical-memory.js";

/** Bytes of its two frames of registers (Arm IHI 0069, 12.18). */
export const ITS_FRAME_SIZE = 0x2_0000;
/** Where QEMU's virt machine has it. */
export const ITS_ADDRESS = 0x0808_0000;
const TRANSLATER = 0x1_0040;
const NOBODY = -1;

/** What becomes of a device's messages. */
export type MessageHandler = (event: number) => void;

/**
 * The Interrupt Translation Service of the interrupt controller, GICv3, as far as devices see it: a register that they write
 * an EventID to. Beside each write the bus tells who writes, the DeviceID, so that no device can forge another's messages.
 * The tables that the kernel sets up with commands are {@link route} here.
 */
export class InterruptTranslationService implements RegisterWindow {
  /** The address of the register that messages go to. */
  readonly doorbell: number;
  readonly #handlers = new Map<number, MessageHandler>();
  #requester = NOBODY;

  constructor(address: number, physical: PhysicalMemory) {
    this.doorbell = address + TRANSLATER;
    physical.place(address, ITS_FRAME_SIZE, this);
  }

  /** Messages of a device go to `handler` from now on; undefined: they are ignored. */
  route(deviceId: number, handler: MessageHandler | undefined): void {
    if (handler === undefined) this.#handlers.delete(deviceId);
    else this.#handlers.set(deviceId, handler);
  }

  /** Memory as one device sees it. */
  busOf(deviceId: number, memory: PhysicalMemory): BusMemory {
    return {
      pageSize: memory.pageSize,
      read: (address, into) => memory.read(address, into),
      write: (address, from) => {
        this.#requester = deviceId;
        const answered = memory.write(address, from);
        this.#requester = NOBODY;
        return answered;
      },
    };
  }

  /** Messages cannot be read back. */
  read(_offset: number, into: Uint8Array): void {
    into.fill(0);
  }

  /** GITS_TRANSLATER takes 16 or 32 bits. What the other registers would do is the kernel's business. */
  write(offset: number, from: Uint8Array): void {
    if (offset !== TRANSLATER || (from.length !== 4 && from.length !== 2)) return;
    const event = from.reduceRight((value, byte) => value * 256 + byte, 0);
    this.#handlers.get(this.#requester)?.(event);
  }
}
