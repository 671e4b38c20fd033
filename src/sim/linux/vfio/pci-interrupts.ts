import { VFIO_PCI_IRQ_INDEX } from "../../../abi/vfio-irq.js";
import type { InterruptSink, KernelDevice } from "../drivers/device.js";
import type { EventFd } from "../files/eventfd.js";
import type { Process } from "../process.js";
import { refuse } from "../refusal.js";
import { LevelInterrupt } from "./level-interrupt.js";
import { eventfdOf, type IrqData, type IrqRequest } from "./set-irqs.js";

const { INTX, MSI, MSIX, REQ } = VFIO_PCI_IRQ_INDEX;

/** The interrupts of a device on vfio-pci (drivers/vfio/pci/vfio_pci_intrs.c). One kind is in use at a time. */
export class PciInterrupts implements InterruptSink {
  readonly #device: KernelDevice;
  readonly #process: Process;
  #mode: "none" | "intx" | "msi" = "none";
  #intx: LevelInterrupt;
  readonly #vectors: (EventFd | undefined)[] = [];
  #request: EventFd | undefined;

  constructor(device: KernelDevice, process: Process) {
    this.#device = device;
    this.#process = process;
    this.#intx = this.#newIntx();
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

  /** The device is closed. */
  disable(): void {
    this.#mode = "none";
    this.#intx = this.#newIntx();
    this.#vectors.length = 0;
    this.#request = undefined;
    this.#device.disableMsi();
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

  /** Unmasking by eventfd exists in the kernel, masking by it does not. */
  #maskIntx(mask: boolean, data: IrqData): void {
    if (data.type === "eventfd") refuse(mask ? "ENOTTY" : "ENOSYS");
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
    }
  }
}
