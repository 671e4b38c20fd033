import type { FdText } from "../abi/fields.js";
import { VFIO_GROUP_GET_DEVICE_FD } from "../abi/vfio-group.js";
import type { Call } from "./intercepted.js";
import { cString } from "./ioctl-text.js";

/** What the open descriptors of a program stand for, learnt from its calls. */
export class DescriptorNames {
  readonly #names = new Map<number, string>();

  /** `19</dev/vfio/vfio>`; the number alone for a descriptor of unknown origin. */
  readonly text: FdText = (fd) => {
    const name = this.#names.get(fd);
    return name === undefined ? String(fd) : `${fd}<${name}>`;
  };

  /** Learns from a call that was answered. */
  answered(call: Call, result: unknown): void {
    this.#forgetClosed(call);
    const name = nameOf(call);
    if (typeof result === "number" && name !== undefined) this.#names.set(result, name);
  }

  /** Learns from a call that was refused: whatever close answers, the descriptor is gone. */
  refused(call: Call): void {
    this.#forgetClosed(call);
  }

  #forgetClosed(call: Call): void {
    if (call.name === "close" && call.fd !== undefined) this.#names.delete(call.fd);
  }
}

/** What the descriptor stands for that the call answers; undefined where it answers none. */
function nameOf({ name, path, ioctl, argument }: Call): string | undefined {
  switch (name) {
    case "openat":
      return path;
    case "memfd_create":
      return `memfd:${path}`;
    case "eventfd2":
      return "eventfd";
    default:
      return ioctl === VFIO_GROUP_GET_DEVICE_FD && argument instanceof Uint8Array ? cString(argument) : undefined;
  }
}
