import type { Ioctl } from "../abi/ioctl.js";
import { O_RDWR } from "../syscalls/mmap-flags.js";
import type { Fd, Syscalls } from "../syscalls/syscalls.js";
import { type About, unexplained } from "../vfio/refusal.js";
import { closedIommufd, iommufdOpenRefused } from "./iommufd-refusals.js";

const PATH = "/dev/iommu";

/** Makes the error of a refused call. */
export type Explain = (error: unknown) => unknown;

/**
 * An open `/dev/iommu`: I/O address spaces, page tables for them, and the devices that use those. In the kernel it lives until
 * the devices that are bound to it are closed, too (drivers/iommu/iommufd/main.c).
 */
export class Iommufd implements Disposable {
  readonly syscalls: Syscalls;
  readonly #about: About;
  #fd: Fd | undefined;

  private constructor(syscalls: Syscalls, fd: Fd, about: About) {
    this.syscalls = syscalls;
    this.#fd = fd;
    this.#about = about;
  }

  /**
   * @param about the device it is opened for and that device's IOMMU, for errors: nothing is bound to it yet.
   * @throws IospanError `ERR_IOSPAN_NO_IOMMUFD` where the kernel has none, `ERR_IOSPAN_NO_PERMISSION`.
   */
  static async open(syscalls: Syscalls, about: About = {}): Promise<Iommufd> {
    try {
      return new Iommufd(syscalls, await syscalls.openAsync(PATH, O_RDWR), about);
    } catch (error) {
      throw iommufdOpenRefused(error, PATH, about);
    }
  }

  get closed(): boolean {
    return this.#fd === undefined;
  }

  /** @internal For binding devices. @throws IospanError `ERR_IOSPAN_CLOSED` */
  get fd(): Fd {
    if (this.#fd === undefined) throw closedIommufd("the iommufd");
    return this.#fd;
  }

  /** @internal A call on it. */
  ioctl(call: Ioctl, bytes: Uint8Array, explain: Explain): void {
    const { fd } = this;
    try {
      this.syscalls.ioctl(fd, call, bytes);
    } catch (error) {
      throw explain(error);
    }
  }

  /** @internal {@link ioctl} off the event loop. */
  async ioctlAsync(call: Ioctl, bytes: Uint8Array, explain: Explain): Promise<void> {
    const { fd } = this;
    try {
      await this.syscalls.ioctlAsync(fd, call, bytes);
    } catch (error) {
      throw explain(error);
    }
  }

  /**
   * Closes it; address spaces and page tables go with it. Close the devices that are bound to it first.
   * @throws IospanError when the kernel reports an error; it is closed all the same.
   */
  close(): void {
    const fd = this.#fd;
    this.#fd = undefined;
    if (fd === undefined) return;
    try {
      this.syscalls.close(fd);
    } catch (error) {
      throw unexplained(error, `closing ${PATH}`, this.#about);
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
