import type { Decoded } from "../abi/codec.js";
import { errno } from "../abi/errno.js";
import {
  irqInfo,
  irqSet,
  VFIO_DEVICE_GET_IRQ_INFO,
  VFIO_DEVICE_SET_IRQS,
  VFIO_IRQ_INFO,
  VFIO_IRQ_SET,
} from "../abi/vfio-irq.js";
import { type Fd, SyscallError, type Syscalls } from "../syscalls/syscalls.js";

/** No eventfd: the vector stays enabled, but tells nobody. */
const NOBODY = -1;

/** What the kernel says of one interrupt index of a device. */
export type InterruptIndexInfo = Decoded<typeof irqInfo>;

/** @throws SyscallError `EINVAL` for an index that the device does not have. */
export function readInterruptInfo(syscalls: Syscalls, fd: Fd, index: number): InterruptIndexInfo {
  const bytes = irqInfo.encode({ index });
  syscalls.ioctl(fd, VFIO_DEVICE_GET_IRQ_INFO, bytes);
  return irqInfo.decode(bytes);
}

/**
 * One interrupt index of a device (INTx, MSI, MSI-X, a platform interrupt) and the eventfds of its vectors. Enabling more
 * vectors than before is possible while others are in use only where the kernel can resize (MSI-X since Linux 6.5);
 * elsewhere all are disabled for a moment and enabled again (drivers/vfio/pci/vfio_pci_intrs.c). What a device signals in
 * that moment is lost, so the eventfds of the vectors that were in use are signalled once each: a wake too many is harmless,
 * one too few is not.
 */
export class InterruptIndex {
  readonly info: InterruptIndexInfo;
  readonly #staysMasked: boolean;
  readonly #syscalls: Syscalls;
  readonly #fd: Fd;
  readonly #armed = new Map<number, Fd>();
  /** Vectors the kernel has enabled, from 0. */
  #enabled = 0;
  /** It may have fired, and have been left masked. */
  #wasArmed = false;

  /** @param staysMasked whether a masked line stays so when it is disarmed: vfio-platform's do, vfio-pci starts afresh. */
  constructor(syscalls: Syscalls, fd: Fd, info: InterruptIndexInfo, { staysMasked = false } = {}) {
    this.#syscalls = syscalls;
    this.#fd = fd;
    this.info = info;
    this.#staysMasked = staysMasked && (info.flags & VFIO_IRQ_INFO.AUTOMASKED) !== 0;
  }

  get inUse(): boolean {
    return this.#armed.size > 0;
  }

  isArmed(vector: number): boolean {
    return this.#armed.has(vector);
  }

  /**
   * From now on the vector signals `eventfd`.
   * @throws SyscallError; the same vectors are armed as before then. AggregateError when others had to be disabled for it
   * and could not be enabled again: the refusal and what kept them from it. No vector is armed then.
   */
  arm(vector: number, eventfd: Fd): void {
    if (this.#staysMasked && this.#wasArmed) this.#setUnmasked(vector, eventfd);
    else if (this.#canSetAlone(vector)) this.#set(vector, [eventfd]);
    else this.#regrow(vector, eventfd);
    this.#wasArmed = true;
    this.#armed.set(vector, eventfd);
    this.#enabled = Math.max(this.#enabled, vector + 1);
  }

  /** The vector signals nobody any more; with the last one the index is switched off, which frees the device for another kind. */
  disarm(vector: number): void {
    if (!this.#armed.delete(vector)) return;
    if (this.#armed.size > 0) this.#set(vector, [NOBODY]);
    else this.#switchOff();
  }

  unmask(vector: number): void {
    if ((this.info.flags & VFIO_IRQ_INFO.AUTOMASKED) === 0) return;
    this.#setIrqs(VFIO_IRQ_SET.DATA_NONE | VFIO_IRQ_SET.ACTION_UNMASK, vector, 1);
  }

  /**
   * Arms a line that may have been left masked, which only ACTION_UNMASK ends (vfio_platform_irq.c). It is masked for the
   * while, so that a device that holds it fires once, not on being armed and again on being unmasked; and unmasked only when
   * it has somewhere to signal, as nothing else may take the interrupt.
   */
  #setUnmasked(vector: number, eventfd: Fd): void {
    this.#setIrqs(VFIO_IRQ_SET.DATA_NONE | VFIO_IRQ_SET.ACTION_MASK, vector, 1);
    this.#set(vector, [eventfd]);
    try {
      this.unmask(vector);
    } catch (error) {
      this.#switchOffQuietly();
      throw error;
    }
  }

  #switchOffQuietly(): void {
    try {
      this.#switchOff();
    } catch {
      // What it is on the way out of is the error to report; the next one to arm the line replaces its eventfd.
    }
  }

  #canSetAlone(vector: number): boolean {
    const resizable = (this.info.flags & VFIO_IRQ_INFO.NORESIZE) === 0;
    return this.#enabled === 0 || vector < this.#enabled || resizable;
  }

  #regrow(vector: number, eventfd: Fd): void {
    const before = this.#eventfds(this.#enabled);
    const after = this.#eventfds(vector + 1);
    after[vector] = eventfd;
    this.#switchOff();
    try {
      this.#set(0, after);
    } catch (error) {
      if (this.inUse) this.#restore(before, error);
      throw error;
    }
    this.#wakeArmed();
  }

  #restore(eventfds: readonly number[], reason: unknown): void {
    try {
      this.#set(0, eventfds);
    } catch (error) {
      this.#armed.clear();
      throw new AggregateError([reason, error], "the vectors in use were disabled and could not be enabled again");
    }
    this.#enabled = eventfds.length;
    this.#wakeArmed();
  }

  /** Whoever waits looks at the device once, as it may have signalled while its vectors were disabled. */
  #wakeArmed(): void {
    for (const eventfd of this.#armed.values()) {
      try {
        this.#syscalls.writeEventfd(eventfd, 1);
      } catch (error) {
        // EAGAIN: its counter is full, so that its reader wakes anyway. There is no other refusal of an open eventfd
        // (fs/eventfd.c, eventfd_write), and the others are still to be woken.
        if (!(error instanceof SyscallError)) throw error;
      }
    }
  }

  #eventfds(count: number): number[] {
    return Array.from({ length: count }, (_, vector) => this.#armed.get(vector) ?? NOBODY);
  }

  #switchOff(): void {
    this.#setIrqs(VFIO_IRQ_SET.DATA_NONE | VFIO_IRQ_SET.ACTION_TRIGGER, 0, 0);
    this.#enabled = 0;
  }

  #set(start: number, eventfds: readonly number[]): void {
    const data = new Uint8Array(Int32Array.from(eventfds).buffer);
    this.#setIrqs(VFIO_IRQ_SET.DATA_EVENTFD | VFIO_IRQ_SET.ACTION_TRIGGER, start, eventfds.length, data);
  }

  #setIrqs(flags: number, start: number, count: number, data?: Uint8Array): void {
    const bytes = irqSet.encode({ flags, index: this.info.index, start, count }, data);
    const { name } = VFIO_DEVICE_SET_IRQS;
    const available = this.#syscalls.ioctl(this.#fd, VFIO_DEVICE_SET_IRQS, bytes);
    // A positive answer is a refusal too: so many vectors could be had, and none was enabled (vfio_msi_enable).
    if (available > 0) {
      throw new SyscallError(name, errno.ENOSPC, "ENOSPC", `only ${available} of ${start + count} vectors can be had`);
    }
  }
}
