import type { Ioctl } from "../abi/ioctl.js";
import { IOMMU_OPTION_ID } from "../abi/iommufd-object.js";
import { IospanError } from "../errors.js";
import type { Machine } from "../machine/machine.js";
import { O_RDWR } from "../syscalls/mmap-flags.js";
import type { Fd, Syscalls } from "../syscalls/syscalls.js";
import { type About, unexplained } from "../vfio/refusal.js";
import { IommufdOption } from "./iommufd-option.js";
import { closedIommufd, iommufdOpenRefused, limitModeRefused } from "./iommufd-refusals.js";

const PATH = "/dev/iommu";

/** Against whose RLIMIT_MEMLOCK pinned memory counts: that of all processes of the user together, or the process's own. */
export type LimitMode = "user" | "process";

/** Makes the error of a refused call. */
export type Explain = (error: unknown) => unknown;

/**
 * An open `/dev/iommu`: I/O address spaces, page tables for them, and the devices that use those. In the kernel it lives until
 * the devices that are bound to it are closed, too (drivers/iommu/iommufd/main.c).
 */
export class Iommufd implements Disposable {
  readonly syscalls: Syscalls;
  readonly #about: About;
  readonly #limitMode: IommufdOption;
  #fd: Fd | undefined;

  private constructor(syscalls: Syscalls, fd: Fd, about: About) {
    this.syscalls = syscalls;
    this.#fd = fd;
    this.#about = about;
    this.#limitMode = new IommufdOption(this, IOMMU_OPTION_ID.RLIMIT_MODE, 0);
  }

  /**
   * @param kernel a machine, or its system calls.
   * @param about the device it is opened for and that device's IOMMU, for errors: nothing is bound to it yet.
   * @throws IospanError `ERR_IOSPAN_NO_IOMMUFD` where the kernel has none, `ERR_IOSPAN_NO_PERMISSION`,
   * `ERR_IOSPAN_INVALID_ARGUMENT` for what is neither.
   */
  static async open(kernel: Syscalls | Machine, about: About = {}): Promise<Iommufd> {
    const syscalls = syscallsOf(kernel);
    try {
      return new Iommufd(syscalls, await syscalls.openAsync(PATH, O_RDWR), about);
    } catch (error) {
      throw iommufdOpenRefused(error, PATH, about);
    }
  }

  get closed(): boolean {
    return this.#fd === undefined;
  }

  /** Whom pinned memory is charged to: the user unless it was set. Nobody where the process has CAP_IPC_LOCK when it maps. */
  limitMode(): LimitMode {
    return this.#limitMode.get(this.#about) === 0n ? "user" : "process";
  }

  /**
   * Has pinned memory charged as VFIO's containers do (VmLck of the process), or to the user.
   * @throws IospanError `ERR_IOSPAN_BUSY` once there is an address space or a device, `ERR_IOSPAN_NO_PERMISSION` without
   * CAP_SYS_RESOURCE (drivers/iommu/iommufd/ioas.c, iommufd_option_rlimit_mode).
   */
  setLimitMode(mode: LimitMode): void {
    this.#limitMode.set(mode === "process" ? 1n : 0n, (error) => limitModeRefused(error, this.#about));
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

function syscallsOf(kernel: Syscalls | Machine | undefined): Syscalls {
  if (typeof kernel === "object" && kernel !== null) {
    if ("openAsync" in kernel) return kernel;
    if (typeof kernel.syscalls?.openAsync === "function") return kernel.syscalls;
  }
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", "an iommufd is opened on a machine, or on its syscalls", {
    hint: "Iommufd.open(linux())",
  });
}

/** Ends an object of an iommufd, or leaves it to the end of the iommufd where something uses it (EBUSY). */
export function unlessBusy(end: () => void): void {
  try {
    end();
  } catch (error) {
    if (!(error instanceof IospanError) || error.code !== "ERR_IOSPAN_BUSY") throw error;
  }
}
