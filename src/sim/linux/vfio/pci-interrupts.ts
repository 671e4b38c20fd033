import { VFIO_PCI_IRQ_INDEX } from "../../../abi/vfio-irq.js";
import type { Clock } from "../../hw/clock.js";
import type { InterruptSink, KernelDevice } from "../drivers/device.js";
import type { EventFd } from "../files/eventfd.js";
import type { KernelLog } from "../kernel-log.js";
import type { Process } from "../process.js";
import { refuse } from "../refusal.js";
import { LevelInterrupt } from "./level-interrupt.js";
import { eventfdOf, type IrqData, type IrqRequest } from "./set-irqs.js";
import { VirqFd } from "./virqfd.js";

const { INTX, MSI, MSIX, REQ } = VFIO_PCI_IRQ_INDEX;

/** Milliseconds between two requests for a device (vfio_unregister_group_dev). */
const REQUEST_INTERVAL = 10_000;

/** The kernel around them. */
export interface PciInterruptKernel {
  readonly process: Process;
  readonly clock: Clock;
  readonly log: KernelLog;
}

/** The interrupts of a device on vfio-pci (drivers/vfio/pci/vfio_pci_intrs.c). One kind is in use at a time. */
export class PciInterrupts implements InterruptSink {
  readonly #device: KernelDevice;
  readonly #process: Process;
  #mode: "none" | "intx" | "msi" = "none";
  #intx: LevelInterrupt;
  readonly #unmaskIntx: VirqFd;
  readonly #vectors: (EventFd | undefined)[] = [];
  readonly #clock: Clock;
  readonly #log: KernelLog;
  #request: EventFd | undefined;
  /** How often the kernel has asked for the device back. */
  #requests = 0;

  constructor(device: KernelDevice, { process, clock, log }: PciInterruptKernel) {
    this.#device = device;
    this.#process = process;
    this.#clock = clock;
    this.#log = log;
    this.#intx = this.#newIntx();
    this.#unmaskIntx = new VirqFd(process, () => this.#intx.unmask());
  }

  level(): void {
    if (this.#mode === "intx") this.#intx.changed();
  }

  msi(vector: number): void {
    if (this.#mode === "msi") this.#vectors[vector]?.signal(1);
  }

  /** How many interrupts an index has (vfio_pci_get_irq_count); undefined: vfio-pci has no such index. */
  count(index: number): number | undefined {
    const identity = this.#device.description.model.pci;
    if (index === INTX) return identity?.intx === true ? 1 : 0;
    if (index === MSI) return identity?.msiVectors ?? 0;
    if (index === REQ) return 1;
    // Neither MSI-X nor, for a conventional PCI function, error reporting.
    return index >= 0 && index < REQ ? 0 : undefined;
  }

  /** vfio_pci_set_irqs_ioctl. */
  set(request: IrqRequest): void {
    const { index, action } = request;
    if (index === INTX && action !== undefined) this.#setIntx(request);
    else if ((index === MSI || index === MSIX) && action === "trigger") this.#setMsi(request);
    else if (index === REQ && action === "trigger") this.#setRequest(request);
    else refuse("ENOTTY");
  }

  /** INTx or MSI is switched off. */
  disable(): void {
    this.#mode = "none";
    this.#unmaskIntx.disable();
    this.#intx = this.#newIntx();
    this.#vectors.length = 0;
    this.#device.disableMsi();
  }

  /** The device is closed. */
  close(): void {
    this.disable();
    this.#request = undefined;
  }

  /** The kernel wants the device back (vfio_pci_core_request). */
  request(): void {
    const count = this.#requests;
    this.#requests += 1;
    const say = (message: string) => this.#log.device("vfio-pci", this.#device.name, message);
    if (this.#request === undefined) {
      if (count === 0) say("No device request channel registered, blocked until released by user");
      return;
    }
    if (count % 10 === 0) say(`Relaying device request to user (#${count})`);
    this.#request.signal(1);
  }

  #newIntx(): LevelInterrupt {
    return new LevelInterrupt(() => this.#device.level && this.#device.config?.intxDisabled !== true);
  }

  #setIntx({ action, start, count, data }: IrqRequest): void {
    const active = this.#mode === "intx";
    if (action === "trigger" && active && count === 0 && data.type === "none") {
      this.disable();
      return;
    }
    // The first trigger takes the interrupt, everything else needs it taken.
    const takes = action === "trigger" && data.type === "eventfd" && this.#mode !== "msi";
    if (start !== 0 || count !== 1 || !(active || takes)) refuse("EINVAL");
    if (action === "trigger") this.#triggerIntx(data);
    else this.#maskIntx(action === "mask", data);
  }

  #triggerIntx(data: IrqData): void {
    if (data.type === "eventfd") this.#enableIntx(data.fds[0] ?? -1);
    else if (data.type === "none" || data.values[0] === true) this.#intx.trigger();
  }

  /** By eventfd it can be unmasked only. */
  #maskIntx(mask: boolean, data: IrqData): void {
    if (data.type === "eventfd") {
      if (mask) refuse("ENOTTY");
      this.#unmaskIntx.set(data.fds[0] ?? -1);
      return;
    }
    if (data.type === "bool" && data.values[0] !== true) return;
    if (mask) this.#intx.mask();
    else this.#intx.unmask();
  }

  #enableIntx(fd: number): void {
    const eventfd = eventfdOf(this.#process, fd);
    this.#mode = "intx";
    this.#intx.eventfd = eventfd;
  }

  #setMsi({ index, start, count, data }: IrqRequest): void {
    const active = this.#mode === "msi" && index === MSI;
    if (!active && (this.#mode !== "none" || data.type !== "eventfd")) refuse("EINVAL");
    if (data.type === "eventfd") this.#enableMsi(start, data.fds);
    else if (count === 0 && data.type === "none") this.disable();
    else this.#triggerMsi(start, count, data);
  }

  #triggerMsi(start: number, count: number, data: IrqData): void {
    for (let at = 0; at < count; at++) {
      const fires = data.type === "none" || (data.type === "bool" && data.values[at] === true);
      if (fires) this.#vectors[start + at]?.signal(1);
    }
  }

  #enableMsi(start: number, fds: readonly number[]): void {
    const eventfds = fds.map((fd) => eventfdOf(this.#process, fd));
    if (this.#mode !== "msi") this.#device.enableMsi();
    this.#mode = "msi";
    for (const [at, eventfd] of eventfds.entries()) this.#vectors[start + at] = eventfd;
  }

  /** vfio_pci_set_ctx_trigger_single. */
  #setRequest({ start, count, data }: IrqRequest): void {
    if (data.type === "none") {
      if (count === 0) this.#request = undefined;
      else this.#request?.signal(1);
    } else if (data.type === "bool") {
      if (start !== 0 || count !== 1) refuse("EINVAL");
      if (data.values[0] === true) this.#request?.signal(1);
    } else {
      if (count !== 1) refuse("EINVAL");
      this.#request = eventfdOf(this.#process, data.fds[0] ?? -1);
      if (this.#requests > 0) this.#clock.after(REQUEST_INTERVAL, () => this.request());
    }
  }
}
