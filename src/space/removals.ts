import type { Device } from "../vfio/device.js";

/** What is called when the kernel asks for a device of a space back. */
export type OnRemoval = (device: Device) => Promise<void> | void;

/** What {@link Removals} needs of its space. */
export interface RemovalHost {
  /** Takes the device out, in its turn; does nothing once the space is closed or the device is out. @returns what went wrong. */
  takeOut(device: Device): Promise<readonly unknown[]>;
  /** Keeps what went wrong until the space is closed. @returns false when it is closed already. */
  keep(failures: readonly unknown[]): boolean;
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

  /** The kernel has asked. Nobody awaits this: what goes wrong is kept for who closes the space, else it is unhandled. */
  readonly requested = async (device: Device): Promise<void> => {
    const failures = [...(await this.#tell(device)), ...(await this.#host.takeOut(device))];
    if (failures.length === 0 || this.#host.keep(failures)) return;
    throw failures.length === 1 ? failures[0] : new AggregateError(failures, `removing ${device.name}`);
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
