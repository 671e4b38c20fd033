import {
  containerFd,
  groupStatus,
  VFIO_GROUP_FLAGS,
  VFIO_GROUP_GET_DEVICE_FD,
  VFIO_GROUP_GET_STATUS,
  VFIO_GROUP_SET_CONTAINER,
  VFIO_GROUP_UNSET_CONTAINER,
} from "../../../abi/vfio-group.js";
import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import { OpenFile } from "../files/open-file.js";
import { copyOut, readStruct, userBytes } from "../files/user-argument.js";
import type { IommuGroup } from "../iommu/iommu-group.js";
import { IommufdFile } from "../iommufd/iommufd-file.js";
import type { Process } from "../process.js";
import type { Profile } from "../profile.js";
import { refuse } from "../refusal.js";
import { CompatFoundation } from "./compat-foundation.js";
import { parsePciName } from "./vf-token.js";
import { ContainerFile, type VfioContainer } from "./vfio-container.js";
import { DeviceFile, type Foundation, type VfioDevice } from "./vfio-device.js";

/** The kernel around a group. */
export interface GroupKernel {
  readonly profile: Profile;
  readonly process: Process;
  /** Whether devices have character devices, too. */
  readonly hasCdev: boolean;
}

/** An IOMMU group that VFIO has devices of (drivers/vfio/group.c). */
export class VfioGroup {
  readonly iommuGroup: IommuGroup;
  readonly devices: VfioDevice[] = [];
  readonly #kernel: GroupKernel;
  #file: GroupFile | undefined;
  #container: VfioContainer | undefined;
  /** What it has for a container instead: the group keeps it open, and no device keeps the group. */
  #iommufd: IommufdFile | undefined;
  /** How many devices use the container; the kernel's container_users without the container's own 1. */
  #users = 0;
  /** Its last device left VFIO. */
  #dead = false;
  /** Devices that are bound, or just being bound, through their character devices. */
  #bound = 0;

  constructor(iommuGroup: IommuGroup, kernel: GroupKernel) {
    this.iommuGroup = iommuGroup;
    this.#kernel = kernel;
  }

  get path(): string {
    return `/dev/vfio/${this.nodeName}`;
  }

  /** `7`, or `noiommu-7` for a device without an IOMMU (vfio_create_group). */
  get nodeName(): string {
    return `${this.isNoiommu ? "noiommu-" : ""}${this.iommuGroup.id}`;
  }

  /** VFIO made up the group, for a device without an IOMMU. */
  get isNoiommu(): boolean {
    return this.iommuGroup.members.length === 0;
  }

  get container(): VfioContainer | undefined {
    return this.#container;
  }

  /** open(2) of its node, which is exclusive until the file is released. */
  open(): GroupFile {
    if (this.#bound > 0 || this.#file !== undefined) refuse("EBUSY");
    this.#file = new GroupFile(this);
    return this.#file;
  }

  /** The file's last holder let go. Of an iommufd's devices some may still be open. */
  released(): void {
    this.#leaveContainer();
    this.#leaveIommufd();
    this.#file = undefined;
  }

  /** The last device left VFIO; a program may still have the group open (vfio_device_remove_group). */
  die(): void {
    this.#leaveContainer();
    this.#dead = true;
  }

  /** vfio_device_block_group: a device is being bound to an iommufd, so nobody may open the group. */
  block(): void {
    if (this.#file !== undefined) refuse("EBUSY");
    this.#bound += 1;
  }

  unblock(): void {
    this.#bound -= 1;
  }

  /** A device in the group's container is opened: it keeps the group's file, and its place in the container. */
  use(): void {
    this.#requireBackend();
    this.#users += 1;
    this.#file?.hold();
  }

  unuse(): void {
    this.#users -= 1;
    this.#file?.put();
  }

  ioctl(request: number, argument: IoctlArgument): number {
    switch (request) {
      case VFIO_GROUP_GET_STATUS.request:
        return this.#getStatus(argument);
      case VFIO_GROUP_SET_CONTAINER.request:
        return this.#setContainer(argument);
      case VFIO_GROUP_UNSET_CONTAINER.request:
        return this.#unsetContainer();
      case VFIO_GROUP_GET_DEVICE_FD.request:
        return this.#getDeviceFd(argument);
      default:
        return refuse("ENOTTY");
    }
  }

  #getStatus(argument: IoctlArgument): number {
    const { argsz } = readStruct(groupStatus, argument);
    if (argsz < groupStatus.size) refuse("EINVAL");
    if (this.#dead) refuse("ENODEV");
    const { VIABLE, CONTAINER_SET } = VFIO_GROUP_FLAGS;
    const free = this.iommuGroup.isFree ? VIABLE : 0;
    const flags = this.#hasIommu ? CONTAINER_SET | VIABLE : free;
    copyOut(argument, groupStatus.encode({ argsz, flags }));
    return 0;
  }

  #setContainer(argument: IoctlArgument): number {
    const { fd } = readStruct(containerFd, argument);
    const { profile, process } = this.#kernel;
    if (!profile.closedContainerIsEbadf && !process.fds.isOpen(fd)) refuse("EINVAL");
    const file = process.fds.get(fd);
    if (this.#hasIommu) refuse("EINVAL");
    if (this.#dead) refuse("ENODEV");
    if (this.isNoiommu) refuse("ENOSYS", "the use of devices without an IOMMU is not simulated");
    if (file instanceof IommufdFile) return this.#setIommufd(file);
    if (!(file instanceof ContainerFile)) refuse(profile.notContainerIsEbadfd ? "EBADFD" : "EINVAL");
    file.container.attachGroup(this.iommuGroup);
    this.#container = file.container;
    return 0;
  }

  /** Nothing is asked of the group yet, nor taken over: that is done when a device is opened. */
  #setIommufd(file: IommufdFile): number {
    file.context.makeCompatibleIoas();
    file.hold();
    this.#iommufd = file;
    return 0;
  }

  /** vfio_group_ioctl_unset_container: an iommufd is left even while devices of the group are open. */
  #unsetContainer(): number {
    if (!this.#hasIommu) refuse("EINVAL");
    if (this.#container !== undefined && this.#users > 0) refuse("EBUSY");
    this.#leaveContainer();
    this.#leaveIommufd();
    return 0;
  }

  get #hasIommu(): boolean {
    return this.#container !== undefined || this.#iommufd !== undefined;
  }

  #leaveContainer(): void {
    this.#container?.detachGroup(this.iommuGroup);
    this.#container = undefined;
  }

  #leaveIommufd(): void {
    this.#iommufd?.put();
    this.#iommufd = undefined;
  }

  #getDeviceFd(argument: IoctlArgument): number {
    const name = userString(argument);
    const { profile, process, hasCdev } = this.#kernel;
    if (!profile.deviceNameFirst) this.#requireBackend();
    const device = this.devices.find((candidate) => matchesName(candidate, name)) ?? refuse("ENODEV");
    process.fds.free();
    if (!this.#hasIommu) refuse("EINVAL");
    device.open(this.#foundationOf(device));
    return process.fds.install(new DeviceFile(device, profile, hasCdev));
  }

  /** What a device of the group rests on when it is opened now. */
  #foundationOf({ device }: VfioDevice): Foundation {
    return this.#iommufd === undefined ? this : new CompatFoundation(this.#iommufd, device);
  }

  /** vfio_group_use_container. */
  #requireBackend(): void {
    if (this.#container?.backend === undefined) refuse("EINVAL");
  }
}

/** An open `/dev/vfio/N`. */
export class GroupFile extends OpenFile {
  readonly path: string;
  readonly #group: VfioGroup;

  constructor(group: VfioGroup) {
    super();
    this.path = group.path;
    this.#group = group;
  }

  get group(): VfioGroup {
    return this.#group;
  }

  protected release(): void {
    this.#group.released();
  }

  override ioctl(request: number, argument: IoctlArgument): number {
    return this.#group.ioctl(request, argument);
  }
}

/** strndup_user with a page of room. */
function userString(argument: IoctlArgument): string {
  const bytes = userBytes(argument);
  const end = bytes.indexOf(0);
  if (end > 4095 || (end < 0 && bytes.length >= 4096)) refuse("EINVAL");
  if (end < 0) refuse("EFAULT");
  return new TextDecoder().decode(bytes.subarray(0, end));
}

/** A PCI name may be followed by a token, which only functions of SR-IOV take. */
function matchesName({ device, operations, isLeaving }: VfioDevice, name: string): boolean {
  if (isLeaving) return false;
  if (operations.matchToken === undefined) return name === device.name;
  const parsed = parsePciName(device.name, name);
  if (parsed === undefined) return false;
  operations.matchToken(parsed.uuid);
  return true;
}
