import { errno } from "../abi/errno.js";
import { VFIO_IRQ_INFO, VFIO_PCI_IRQ_INDEX } from "../abi/vfio-irq.js";
import { IospanError, malformedAnswer } from "../errors.js";
import type { BusType } from "../machine/machine.js";
import { type Fd, SyscallError, type Syscalls } from "../syscalls/syscalls.js";
import { Interrupt, type InterruptOptions, noInterrupt } from "./interrupt.js";
import { InterruptIndex, readInterruptInfo } from "./interrupt-index.js";
import { refusal, unexplained } from "./refusal.js";

/**
 * `intx`, `msi`, `msix`; `err`: an uncorrectable PCIe error; `req`: the kernel wants the device back (hot-unplug, unbind);
 * `irq`: a platform device's interrupt.
 */
export const interruptKinds = ["intx", "msi", "msix", "err", "req", "irq"] as const;
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
  readonly #device: string;
  readonly #sources: readonly Source[];
  readonly #listening = new Set<Interrupt>();

  /** Asks the kernel what there is; `count` is the number of its interrupt indexes. */
  constructor(syscalls: Syscalls, device: string, bus: BusType, fd: Fd, count: number) {
    this.#syscalls = syscalls;
    this.#device = device;
    this.#sources = bus === "pci" ? pciSources(syscalls, fd, count) : platformSources(syscalls, fd, count);
  }

  get available(): readonly InterruptInfo[] {
    return this.#sources.map(({ kind, count }) => ({ kind, count }));
  }

  /**
   * Arms an interrupt and listens to it.
   * @throws IospanError `ERR_IOSPAN_NOT_SUPPORTED` when the device has none such, `ERR_IOSPAN_BUSY` when it is listened to
   * already, `ERR_IOSPAN_INTERRUPT_REFUSED` when the kernel refuses.
   */
  listen(kind: InterruptKind, vector: number, { signal }: InterruptOptions): Interrupt {
    signal?.throwIfAborted();
    const { index, within } = this.#find(kind, vector);
    const label = `${kind} ${vector} of ${this.#device}`;
    if (index.isArmed(within)) {
      throw new IospanError("ERR_IOSPAN_BUSY", `${label} is listened to already`, {
        device: this.#device,
        hint: "close the other interrupt object first",
      });
    }
    const interrupt = this.#arm(index, within, label, signal);
    this.#listening.add(interrupt);
    return interrupt;
  }

  /** Closes every interrupt that is listened to. @returns what went wrong on the way. */
  closeAll(): readonly unknown[] {
    const failures: unknown[] = [];
    for (const interrupt of [...this.#listening]) {
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
      throw noInterrupt(this.#device, kind, vector, count);
    }
    return { index, within: kind === "irq" ? 0 : vector };
  }

  #eventfd(label: string): Fd {
    try {
      return this.#syscalls.eventfd();
    } catch (error) {
      throw armRefused(error, label, this.#device);
    }
  }

  #arm(index: InterruptIndex, vector: number, label: string, signal: AbortSignal | undefined): Interrupt {
    const eventfd = this.#eventfd(label);
    let armed = false;
    try {
      index.arm(vector, eventfd);
      armed = true;
      const line = {
        label,
        unmask: () => {
          try {
            index.unmask(vector);
          } catch (error) {
            throw unexplained(error, `unmasking ${label}`, { device: this.#device });
          }
        },
        disarm: () => {
          this.#listening.delete(interrupt);
          index.disarm(vector);
        },
      };
      const interrupt: Interrupt = Interrupt.listen(this.#syscalls, line, eventfd, signal);
      return interrupt;
    } catch (error) {
      try {
        if (armed) index.disarm(vector);
      } finally {
        this.#syscalls.close(eventfd);
      }
      throw armRefused(error, label, this.#device);
    }
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

function platformSources(syscalls: Syscalls, fd: Fd, count: number): readonly Source[] {
  if (count > MOST_INTERRUPTS) {
    throw malformedAnswer(`the kernel says that the device has ${count} interrupts`);
  }
  const indexes: InterruptIndex[] = [];
  for (let index = 0; index < count; index += 1) {
    const found = interruptIndex(syscalls, fd, index);
    if (found !== undefined) indexes.push(found);
  }
  return indexes.length === 0 ? [] : [{ kind: "irq", count: indexes.length, indexes }];
}

/** Undefined for an index that the device does not have or that cannot signal an eventfd. */
function interruptIndex(syscalls: Syscalls, fd: Fd, index: number): InterruptIndex | undefined {
  try {
    const info = readInterruptInfo(syscalls, fd, index);
    const usable = info.count > 0 && (info.flags & VFIO_IRQ_INFO.EVENTFD) !== 0;
    return usable ? new InterruptIndex(syscalls, fd, info) : undefined;
  } catch (error) {
    if (error instanceof SyscallError && error.errno === errno.EINVAL) return undefined;
    throw error;
  }
}

function armRefused(error: unknown, label: string, device: string): unknown {
  return refusal(
    error,
    { device },
    {
      code: "ERR_IOSPAN_INTERRUPT_REFUSED",
      message: `${label} cannot be armed`,
      hint: "a PCI device uses one kind at a time: close its INTx, MSI or MSI-X interrupts before using another kind",
    },
  );
}
