import type { EventFd } from "../files/eventfd.js";

/**
 * A level interrupt as VFIO hands it on: each time it fires it is masked until the program unmasks it, and fires again then if the
 * device still holds the wire (vfio_pci_intrs.c, vfio_intx_handler; vfio_platform_irq.c, vfio_automasked_irq_handler).
 */
export class LevelInterrupt {
  readonly #isRaised: () => boolean;
  #eventfd: EventFd | undefined;
  #masked = false;

  constructor(isRaised: () => boolean) {
    this.#isRaised = isRaised;
  }

  /** Where it is signalled; undefined: nowhere. */
  set eventfd(eventfd: EventFd | undefined) {
    this.#eventfd = eventfd;
    this.changed();
  }

  /** The program has it signalled, which leaves the line as it is (vfio_pci_intrs.c, vfio_pci_set_intx_trigger). */
  trigger(): void {
    this.#eventfd?.signal(1);
  }

  /** The program fires it as the device does (vfio_platform_irq.c, vfio_platform_set_irq_trigger). */
  fire(): void {
    if (this.#masked) return;
    this.#masked = true;
    this.#eventfd?.signal(1);
  }

  mask(): void {
    this.#masked = true;
  }

  unmask(): void {
    this.#masked = false;
    this.changed();
  }

  /** The wire may have changed. */
  changed(): void {
    if (!this.#isRaised() || this.#masked || this.#eventfd === undefined) return;
    this.#masked = true;
    this.#eventfd.signal(1);
  }
}
