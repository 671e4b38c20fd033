import { errno } from "../abi/errno.js";
import { VFIO_IRQ_INFO, VFIO_PCI_IRQ_INDEX } from "../abi/vfio-irq.js";
import type { IospanError } from "../errors.js";
import type { BusType } from "../machine/machine.js";
import { type Fd, SyscallError, type Syscalls } from "../syscalls/syscalls.js";
import { Interrupt, type InterruptLine, type InterruptOptions } from "./interrupt.js";
import { InterruptIndex, readInterruptInfo } from "./interrupt-index.js";
import {
  armRefused,
  type InterruptOwner,
  interruptsLost,
  listenedToAlready,
  noInterrupt,
} from "./interrupt-refusals.js";
import { type About, malformed } from "./refusal.js";

/**
 * `intx`, `msi`, `msix`; `err`: an uncorrectable PCIe error; `req`: the kernel wants the device back (hot-unplug, unbind);
 * `irq`: a platform device's interrupt.
 */
export const interruptKinds = ["intx", "msi", "msix", "err", "req", "irq"] as const;
/** One of {@link interruptKinds}. */
export type InterruptKind = (typeof interruptKinds)[number];

/** Interrupts of one kind that a device has. */
export interface InterruptInfo {
  readonly kind: InterruptKind;
  /** Vectors, from 0; for `irq` the number of interrupts in the firmware's description. */
  readonly count: number;
}

interface Source extends InterruptInfo {
  /** For each vector, the kernel's index and the vector within it. */
  readonly indexes: readonly InterruptIndex[];
}

const PCI_KINDS = [
  ["intx", VFIO_PCI_IRQ_INDEX.INTX],
  ["msi", VFIO_PCI_IRQ_INDEX.MSI],
  ["msix", VFIO_PCI_IRQ_INDEX.MSIX],
  ["err", VFIO_PCI_IRQ_INDEX.ERR],
  ["req", VFIO_PCI_IRQ_INDEX.REQ],
] as const;

/** The interrupts of an open device. */
export class Interrupts {
  readonly #syscalls: Syscalls;
  readonly #owner: InterruptOwner;
  readonly #sources: readonly Source[];
  /** Those that are armed, each with its index. */
  readonly #listening = new Map<Interrupt, InterruptIndex>();

  /**
   * Asks the kernel what there is.
   * @param count the number of the device's interrupt indexes.
   * @param iommu the IOMMU in front of the device, for errors.
   * @throws SyscallError when the kernel does not tell; IospanError `ERR_IOSPAN_MALFORMED_ANSWER`.
   */
  constructor(syscalls: Syscalls, device: string, bus: BusType, fd: Fd, count: number, iommu?: string) {
    this.#syscalls = syscalls;
    this.#owner = { device, iommu };
    this.#sources = bus === "pci" ? pciSources(syscalls, fd, count) : platformSources(syscalls, fd, count, this.#owner);
  }

  /** What signals that the kernel wants the device back; undefined where there is none such. */
  get request(): InterruptIndex | undefined {
    return this.#sources.find(({ kind }) => kind === "req")?.indexes[0];
  }

  get available(): readonly InterruptInfo[] {
    return this.#sources.map(({ kind, count }) => ({ kind, count }));
  }

  /**
   * Arms an interrupt and listens to it.
   * @throws IospanError `ERR_IOSPAN_NOT_SUPPORTED` when the device has none such, `ERR_IOSPAN_BUSY` when it is listened to
   * already, `ERR_IOSPAN_INTERRUPT_REFUSED` when the kernel refuses. In the rare case that it then also refuses to switch
   * the kind's other interrupts on again, these fail with the same error.
   */
  listen(kind: InterruptKind, vector: number, { signal }: InterruptOptions): Interrupt {
    signal?.throwIfAborted();
    const { index, within } = this.#find(kind, vector);
    const label = `${kind} ${vector} of ${this.#owner.device}`;
    if (index.isArmed(within)) throw listenedToAlready(this.#owner, kind, label);
    try {
      const interrupt = this.#arm(index, within, label, signal);
      this.#listening.set(interrupt, index);
      return interrupt;
    } catch (error) {
      if (error instanceof AggregateError) throw this.#lost(error, index, label);
      throw armRefused(error, this.#owner, kind, label, within);
    }
  }

  /** Closes every interrupt that is listened to. @returns what went wrong on the way. */
  closeAll(): readonly unknown[] {
    const failures: unknown[] = [];
    for (const interrupt of [...this.#listening.keys()]) {
      try {
        interrupt.close();
      } catch (error) {
        failures.push(error);
      }
    }
    this.#listening.clear();
    return failures;
  }

  #find(kind: InterruptKind, vector: number): { index: InterruptIndex; within: number } {
    const source = this.#sources.find((candidate) => candidate.kind === kind);
    const count = source?.count ?? 0;
    const index = source?.indexes[kind === "irq" ? vector : 0];
    if (index === undefined || !Number.isInteger(vector) || vector < 0 || vector >= count) {
      throw noInterrupt(this.#owner, kind, vector, count);
    }
    return { index, within: kind === "irq" ? 0 : vector };
  }

  #arm(index: InterruptIndex, vector: number, label: string, signal: AbortSignal | undefined): Interrupt {
    const eventfd = this.#syscalls.eventfd();
    let armed = false;
    try {
      index.arm(vector, eventfd);
      armed = true;
      const line: InterruptLine = {
        label,
        about: this.#owner,
        unmask: () => index.unmask(vector),
        disarm: () => {
          this.#listening.delete(interrupt);
          index.disarm(vector);
        },
      };
      const interrupt: Interrupt = Interrupt.listen(this.#syscalls, line, eventfd, signal);
      return interrupt;
    } catch (error) {
      if (armed) quietly(() => index.disarm(vector));
      quietly(() => this.#syscalls.close(eventfd));
      throw error;
    }
  }

  /** Tells those who wait for the other interrupts of an index that these were lost. @returns what they are told. */
  #lost(both: AggregateError, index: InterruptIndex, label: string): IospanError {
    const error = interruptsLost(both, this.#owner, label);
    for (const [interrupt, of] of [...this.#listening]) {
      if (of === index) interrupt.fail(error);
    }
    return error;
  }
}

/** For the way out of a failure, which is the error to report. */
function quietly(step: () => void): void {
  try {
    step();
  } catch {
    // The vector signals nobody once its eventfd is closed, and close(2) closes whatever it answers.
  }
}

function pciSources(syscalls: Syscalls, fd: Fd, count: number): readonly Source[] {
  const sources: Source[] = [];
  for (const [kind, index] of PCI_KINDS) {
    const found = index < count ? interruptIndex(syscalls, fd, index) : undefined;
    if (found !== undefined) sources.push({ kind, count: found.info.count, indexes: [found] });
  }
  return sources;
}

/** More interrupts than any platform device has; the kernel would be asked about each. */
const MOST_INTERRUPTS = 1024;

function platformSources(syscalls: Syscalls, fd: Fd, count: number, about: About): readonly Source[] {
  if (count > MOST_INTERRUPTS) {
    throw malformed(`the kernel says that ${about.device} has ${count} interrupts`, about);
  }
  const indexes: InterruptIndex[] = [];
  for (let index = 0; index < count; index += 1) {
    const found = interruptIndex(syscalls, fd, index, { staysMasked: true });
    if (found !== undefined) indexes.push(found);
  }
  return indexes.length === 0 ? [] : [{ kind: "irq", count: indexes.length, indexes }];
}

/** Undefined for an index that the device does not have or that cannot signal an eventfd. */
function interruptIndex(
  syscalls: Syscalls,
  fd: Fd,
  index: number,
  options?: { readonly staysMasked: boolean },
): InterruptIndex | undefined {
  try {
    const info = readInterruptInfo(syscalls, fd, index);
    const usable = info.count > 0 && (info.flags & VFIO_IRQ_INFO.EVENTFD) !== 0;
    return usable ? new InterruptIndex(syscalls, fd, info, options) : undefined;
  } catch (error) {
    if (error instanceof SyscallError && error.errno === errno.EINVAL) return undefined;
    throw error;
  }
}
