import type { Device } from "../vfio/device.js";

/** What is called when the kernel asks for a device of a space back. */
export type OnRemoval = (device: Device) => Promise<void> | void;

/** What {@link Removals} needs of its space. */
export interface RemovalHost {
  /** Takes the device out, in its turn; does nothing once the space is closed or the device is out. @returns what went wrong. */
  takeOut(device: Device): Promise<readonly unknown[]>;
  /** Keeps what went wrong for whoever asks the space. */
  keep(failures: readonly unknown[]): void;
}

/**
 * The devices that the kernel asks back while a space has them: whoever uses the device is told and waited for, then it leaves
 * the space on its own.
 */
export class Removals {
  readonly #host: RemovalHost;
  readonly #onRemoval: OnRemoval | undefined;

  constructor(host: RemovalHost, onRemoval: OnRemoval | undefined) {
    this.#host = host;
    this.#onRemoval = onRemoval;
  }

  /** The kernel has asked. Nobody awaits this, so it never throws. */
  readonly requested = async (device: Device): Promise<void> => {
    this.#host.keep(await this.#tell(device));
    try {
      this.#host.keep(await this.#host.takeOut(device));
    } catch (error) {
      this.#host.keep([error]);
    }
  };

  async #tell(device: Device): Promise<readonly unknown[]> {
    try {
      await this.#onRemoval?.(device);
      return [];
    } catch (error) {
      return [error];
    }
  }
}
