import { errno } from "../abi/errno.js";
import {
  containerFd,
  groupStatus,
  VFIO_GROUP_FLAGS,
  VFIO_GROUP_GET_DEVICE_FD,
  VFIO_GROUP_GET_STATUS,
  VFIO_GROUP_SET_CONTAINER,
  VFIO_GROUP_UNSET_CONTAINER,
} from "../abi/vfio-group.js";
import { IospanError } from "../errors.js";
import { O_RDWR } from "../syscalls/mmap-flags.js";
import { type Fd, SyscallError, type Syscalls } from "../syscalls/syscalls.js";
import { CallsUnderWay } from "./calls-under-way.js";
import { compatDeviceRefused } from "./compat-device-refusals.js";
import type { ContainerKind } from "./container-kind.js";
import { failuresOf, withFailures } from "./failures.js";
import {
  deviceRefused,
  devicesOpen,
  groupOpenRefused,
  setContainerRefused,
  unsetContainerRefused,
} from "./group-refusals.js";
import { PerKernel } from "./per-kernel.js";
import { unexplained } from "./refusal.js";
import { vfTokenBytes } from "./vf-token.js";

/** @internal A group's descriptor, for calls that take it as an argument. */
export interface OpenGroup {
  readonly fd: Fd;
  /** What it is kept open for. */
  readonly calls: CallsUnderWay;
}

/** @internal The groups that this process has open here, by number. */
export const openGroups: PerKernel<Map<number, OpenGroup>> = new PerKernel(() => new Map());

/** Whom a group belongs to, for messages and for choosing a container. */
export interface GroupIdentity {
  /** The IOMMU group's number. */
  readonly id: number;
  /** The IOMMU instance in front of it. */
  readonly iommu: string;
  /** The device it was opened for. */
  readonly device: string;
}

/**
 * An open VFIO group, `/dev/vfio/N`: the unit in which devices change hands. A group can be open once on a machine, and
 * stays taken for as long as one of its devices or a mapping of a device's region is open (drivers/vfio/group.c).
 */
export class Group implements GroupIdentity, Disposable {
  readonly id: number;
  readonly iommu: string;
  readonly device: string;
  readonly #syscalls: Syscalls;
  readonly #calls = new CallsUnderWay();
  #fd: Fd | undefined;
  #container: ContainerKind | undefined;
  /** Descriptors of devices that it gave out, or is about to. */
  #devices = 0;

  private constructor(syscalls: Syscalls, fd: Fd, identity: GroupIdentity) {
    this.#syscalls = syscalls;
    this.#fd = fd;
    this.id = identity.id;
    this.iommu = identity.iommu;
    this.device = identity.device;
    openGroups.of(syscalls).set(this.id, { fd, calls: this.#calls });
  }

  /**
   * @throws IospanError `ERR_IOSPAN_GROUP_BUSY` naming who holds it, `ERR_IOSPAN_WRONG_DRIVER` when none of its devices is
   * with VFIO, `ERR_IOSPAN_GROUP_NOT_VIABLE` when another driver still drives one of them, `ERR_IOSPAN_NO_PERMISSION`.
   */
  static async open(syscalls: Syscalls, identity: GroupIdentity): Promise<Group> {
    const path = `/dev/vfio/${identity.id}`;
    let fd: Fd;
    try {
      fd = await syscalls.openAsync(path, O_RDWR);
    } catch (error) {
      throw groupOpenRefused(error, identity, syscalls);
    }
    const group = new Group(syscalls, fd, identity);
    try {
      group.#checkViable();
      return group;
    } catch (error) {
      const failures = failuresOf(() => group.close());
      throw withFailures(unexplained(error, `asking whether group ${identity.id} is viable`, identity), failures);
    }
  }

  get closed(): boolean {
    return this.#fd === undefined;
  }

  /** @internal For {@link Container.attach}. */
  setContainer(container: Fd, kind: ContainerKind = "type1"): void {
    try {
      this.#syscalls.ioctl(this.#openFd(), VFIO_GROUP_SET_CONTAINER, containerFd.encode({ fd: container }));
    } catch (error) {
      throw setContainerRefused(error, this);
    }
    this.#container = kind;
  }

  /** @internal For {@link Container.detach}. An iommufd is left even with open devices, which would go on as before: not here. */
  unsetContainer(): void {
    if (this.#container === "iommufd" && this.#devices > 0) throw devicesOpen(this, this.#devices);
    try {
      this.#syscalls.ioctl(this.#openFd(), VFIO_GROUP_UNSET_CONTAINER, 0);
    } catch (error) {
      if (!this.#isOutAlready(error)) throw unsetContainerRefused(error, this);
    }
    this.#container = undefined;
  }

  /**
   * Opens a device of the group, which resets it where it can be reset. Off the event loop: a reset takes its time. Where the
   * container is an iommufd, that also brings the device to the mappings there are, and is refused where it cannot have them.
   * @param name the kernel's name of the device.
   * @param vfToken a UUID: for a virtual function whose physical function is on vfio-pci, and for such a physical function.
   * @throws IospanError `ERR_IOSPAN_VF_TOKEN` where it is missing, wrong, or not asked for.
   */
  async deviceFd(name: string, vfToken?: string): Promise<Fd> {
    if (vfToken !== undefined) vfTokenBytes(vfToken);
    const argument = new TextEncoder().encode(vfToken === undefined ? `${name}\0` : `${name} vf_token=${vfToken}\0`);
    this.#devices += 1;
    try {
      const open = async () => this.#syscalls.ioctlAsync(this.#openFd(), VFIO_GROUP_GET_DEVICE_FD, argument);
      return (await this.#calls.run(open)) as Fd;
    } catch (error) {
      this.#devices -= 1;
      const explained = this.#container === "iommufd" ? compatDeviceRefused : deviceRefused;
      throw explained(error, this, name, vfToken);
    }
  }

  /** @internal A descriptor that {@link deviceFd} gave out is closed. */
  deviceClosed(): void {
    this.#devices -= 1;
  }

  /** @internal When no call uses its descriptor any more: a device's hot reset proves with it whose the devices are. */
  callsEnded(): Promise<void> {
    return this.#calls.ended();
  }

  /**
   * Closes the group, which takes it out of its container if no device of it is open; of one that is an iommufd in any case, and
   * its open devices stay as they are. While a device of it is being opened, or reset by a hot reset, the kernel has it closed
   * when that has ended.
   * @throws IospanError when the kernel reports an error; the group is closed all the same.
   */
  close(): void {
    const fd = this.#fd;
    this.#fd = undefined;
    if (fd === undefined) return;
    openGroups.of(this.#syscalls).delete(this.id);
    try {
      this.#calls.last(() => this.#syscalls.close(fd));
    } catch (error) {
      throw unexplained(error, `closing group ${this.id}`, { device: this.device, iommu: this.iommu });
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** With the last of its devices that is taken from VFIO the kernel takes it out itself (group.c, vfio_device_remove_group). */
  #isOutAlready(refused: unknown): boolean {
    if (!isErrno(refused, errno.EINVAL)) return false;
    try {
      this.#status();
      return false;
    } catch (error) {
      return isErrno(error, errno.ENODEV);
    }
  }

  #status(): Uint8Array {
    const bytes = groupStatus.encode();
    this.#syscalls.ioctl(this.#openFd(), VFIO_GROUP_GET_STATUS, bytes);
    return bytes;
  }

  #checkViable(): void {
    const bytes = this.#status();
    if ((groupStatus.decode(bytes).flags & VFIO_GROUP_FLAGS.VIABLE) !== 0) return;
    throw new IospanError(
      "ERR_IOSPAN_GROUP_NOT_VIABLE",
      `group ${this.id} of ${this.device} has devices that another driver still drives`,
      {
        device: this.device,
        iommu: this.iommu,
        hint:
          `bind them all to vfio: ls /sys/kernel/iommu_groups/${this.id}/devices; a device that somebody has open in an ` +
          "iommufd counts, too: close it",
      },
    );
  }

  #openFd(): Fd {
    if (this.#fd !== undefined) return this.#fd;
    throw new IospanError("ERR_IOSPAN_CLOSED", `group ${this.id} is closed`, {
      device: this.device,
      iommu: this.iommu,
      hint: "open it again",
    });
  }
}

const isErrno = (error: unknown, number: number): boolean => error instanceof SyscallError && error.errno === number;
