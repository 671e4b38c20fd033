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
import type { Fd, Syscalls } from "../syscalls/syscalls.js";
import { failuresOf, withFailures } from "./failures.js";
import { deviceRefused, groupOpenRefused, setContainerRefused, unsetContainerRefused } from "./group-refusals.js";
import { unexplained } from "./refusal.js";

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
  #fd: Fd | undefined;

  private constructor(syscalls: Syscalls, fd: Fd, identity: GroupIdentity) {
    this.#syscalls = syscalls;
    this.#fd = fd;
    this.id = identity.id;
    this.iommu = identity.iommu;
    this.device = identity.device;
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
  setContainer(container: Fd): void {
    try {
      this.#syscalls.ioctl(this.#openFd(), VFIO_GROUP_SET_CONTAINER, containerFd.encode({ fd: container }));
    } catch (error) {
      throw setContainerRefused(error, this);
    }
  }

  /** @internal For {@link Container.detach}. */
  unsetContainer(): void {
    try {
      this.#syscalls.ioctl(this.#openFd(), VFIO_GROUP_UNSET_CONTAINER, 0);
    } catch (error) {
      throw unsetContainerRefused(error, this);
    }
  }

  /**
   * Opens a device of the group, which resets it where it can be reset. Off the event loop: a reset takes its time.
   * @param name the kernel's name of the device.
   */
  async deviceFd(name: string): Promise<Fd> {
    const argument = new TextEncoder().encode(`${name}\0`);
    try {
      return (await this.#syscalls.ioctlAsync(this.#openFd(), VFIO_GROUP_GET_DEVICE_FD, argument)) as Fd;
    } catch (error) {
      throw deviceRefused(error, this, name);
    }
  }

  /**
   * Closes the group, which takes it out of its container if no device of it is open.
   * @throws IospanError when the kernel reports an error; the group is closed all the same.
   */
  close(): void {
    const fd = this.#fd;
    this.#fd = undefined;
    if (fd === undefined) return;
    try {
      this.#syscalls.close(fd);
    } catch (error) {
      throw unexplained(error, `closing group ${this.id}`, { device: this.device, iommu: this.iommu });
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #checkViable(): void {
    const bytes = groupStatus.encode();
    this.#syscalls.ioctl(this.#openFd(), VFIO_GROUP_GET_STATUS, bytes);
    if ((groupStatus.decode(bytes).flags & VFIO_GROUP_FLAGS.VIABLE) !== 0) return;
    throw new IospanError(
      "ERR_IOSPAN_GROUP_NOT_VIABLE",
      `group ${this.id} of ${this.device} has devices that another driver still drives`,
      {
        device: this.device,
        iommu: this.iommu,
        hint: `bind them all to vfio: ls /sys/kernel/iommu_groups/${this.id}/devices`,
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
