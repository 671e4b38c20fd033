import { IospanError } from "../errors.js";
import type { Fd, Syscalls } from "../syscalls/syscalls.js";
import { failuresOf } from "./failures.js";
import type { InterruptIndex } from "./interrupt-index.js";
import { armRefused, type InterruptOwner } from "./interrupt-refusals.js";

/**
 * Waits for the kernel to ask for a PCI device back: unbinding it from vfio-pci, by sysfs or because it is unplugged, blocks until
 * its file is closed, and signals VFIO_PCI_REQ_IRQ_INDEX at once and every ten seconds (drivers/vfio/vfio_main.c,
 * vfio_unregister_group_dev). That it waits does not keep the process alive.
 */
export class RemovalWatch {
  readonly #syscalls: Syscalls;
  readonly #eventfd: Fd;
  readonly #unwatch: () => void;

  private constructor(syscalls: Syscalls, eventfd: Fd, unwatch: () => void) {
    this.#syscalls = syscalls;
    this.#eventfd = eventfd;
    this.#unwatch = unwatch;
  }

  /**
   * @param onRequest called once, in the event loop.
   * @throws IospanError `ERR_IOSPAN_INTERRUPT_REFUSED`.
   */
  static arm(syscalls: Syscalls, index: InterruptIndex, owner: InterruptOwner, onRequest: () => void): RemovalWatch {
    const label = `req 0 of ${owner.device}`;
    try {
      return armed(syscalls, index, (eventfd) => {
        // That it can be read says all: nobody else signals it, and what the kernel signals again need not be counted.
        const unwatch = syscalls.watch(eventfd, fired, { keepAlive: false });
        return new RemovalWatch(syscalls, eventfd, unwatch);
        function fired() {
          unwatch();
          onRequest();
        }
      });
    } catch (error) {
      throw armRefused(error, owner, "req", label, 0);
    }
  }

  /** Waits no more. The kernel lets go of the eventfd with the device. @returns what went wrong. */
  close(): readonly unknown[] {
    return failuresOf(this.#unwatch, () => this.#syscalls.close(this.#eventfd));
  }
}

/** Gives `use` an eventfd that the index signals; where it throws, nothing is left of that. */
function armed<T>(syscalls: Syscalls, index: InterruptIndex, use: (eventfd: Fd) => T): T {
  const eventfd = syscalls.eventfd();
  try {
    index.arm(0, eventfd);
    return use(eventfd);
  } catch (error) {
    failuresOf(
      () => index.disarm(0),
      () => syscalls.close(eventfd),
    );
    throw error;
  }
}

/** The device that the kernel asked for back, while it is taken out and afterwards. */
export function deviceRemoved(device: string, iommu: string | undefined): IospanError {
  const message = `${device} is removed: the kernel asked for it back, to unplug it or to unbind it from its driver`;
  return new IospanError("ERR_IOSPAN_DEVICE_REMOVED", message, {
    device,
    iommu,
    hint: `when it is there again and on vfio-pci: attach("${device}")`,
  });
}
