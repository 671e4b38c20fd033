import type { InterruptSink, KernelDevice } from "../drivers/device.js";
import type { EventFd } from "../files/eventfd.js";
import type { Process } from "../process.js";
import { refuse } from "../refusal.js";
import { LevelInterrupt } from "./level-interrupt.js";
import { eventfdOf, type IrqRequest } from "./set-irqs.js";
import { VirqFd } from "./virqfd.js";

/** The interrupts of a device on vfio-platform (drivers/vfio/platform/vfio_platform_irq.c): each wire is one. */
export class PlatformInterrupts implements InterruptSink {
  readonly #device: KernelDevice;
  readonly #process: Process;
  readonly #triggers: readonly ("level" | "edge")[];
  #levels: readonly LevelInterrupt[] = [];
  /** What masks and unmasks each by an eventfd. */
  #virqfds: readonly Readonly<Record<"mask" | "unmask", VirqFd>>[] = [];
  readonly #eventfds: (EventFd | undefined)[] = [];

  constructor(device: KernelDevice, process: Process, triggers: readonly ("level" | "edge")[]) {
    this.#device = device;
    this.#process = process;
    this.#triggers = triggers;
    this.disable();
  }

  get triggers(): readonly ("level" | "edge")[] {
    return this.#triggers;
  }

  level(raised: boolean, wire: number): void {
    if (this.#triggers[wire] === "level") this.#levels[wire]?.changed();
    else if (raised) this.#eventfds[wire]?.signal(1);
  }

  /** No such thing on this bus. */
  msi(): void {}

  /** vfio_platform_set_irqs_ioctl. */
  set(request: IrqRequest): void {
    const { action } = request;
    if (action === undefined) refuse("ENOTTY");
    if (action === "trigger") this.#trigger(request);
    else this.#setMask(request, action);
  }

  #setMask({ index, start, count, data }: IrqRequest, action: "mask" | "unmask"): void {
    if (this.#triggers[index] !== "level" || start !== 0 || count !== 1) refuse("EINVAL");
    if (data.type === "eventfd") {
      this.#virqfds[index]?.[action].set(data.fds[0] ?? -1);
      return;
    }
    if (data.type === "bool" && data.values[0] !== true) return;
    if (action === "mask") this.#levels[index]?.mask();
    else this.#levels[index]?.unmask();
  }

  /** Requested again, and nobody is told. */
  disable(): void {
    for (const { mask, unmask } of this.#virqfds) for (const virqfd of [mask, unmask]) virqfd.disable();
    this.#levels = this.#triggers.map((_, index) => new LevelInterrupt(() => this.#device.isRaised(index)));
    this.#virqfds = this.#levels.map((level) => ({
      mask: new VirqFd(this.#process, () => level.mask()),
      unmask: new VirqFd(this.#process, () => level.unmask()),
    }));
    this.#eventfds.length = 0;
  }

  #trigger({ index, start, count, data }: IrqRequest): void {
    if (count === 0 && data.type === "none") {
      this.#signalTo(index, undefined);
      return;
    }
    if (start !== 0 || count !== 1) refuse("EINVAL");
    if (data.type === "eventfd") this.#signalTo(index, eventfdOf(this.#process, data.fds[0] ?? -1));
    else if (data.type === "none" || data.values[0] === true) this.#fire(index);
  }

  /** What the handler does that the device's interrupt would run. */
  #fire(index: number): void {
    if (this.#triggers[index] === "level") this.#levels[index]?.fire();
    else this.#eventfds[index]?.signal(1);
  }

  #signalTo(index: number, eventfd: EventFd | undefined): void {
    this.#eventfds[index] = eventfd;
    const level = this.#triggers[index] === "level" ? this.#levels[index] : undefined;
    if (level !== undefined) level.eventfd = eventfd;
  }
}
