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
import { ContainerFile, type VfioContainer } from "./vfio-container.js";
import { DeviceFile, type VfioDevice } from "./vfio-device.js";

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
    return `/dev/vfio/${this.iommuGroup.id}`;
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

  /** The file's last holder let go. */
  released(): void {
    if (this.#container !== undefined) this.#leaveContainer();
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

  /** A device is opened. */
  use(): void {
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
    const flags = this.#container === undefined ? free : CONTAINER_SET | VIABLE;
    copyOut(argument, groupStatus.encode({ argsz, flags }));
    return 0;
  }

  #setContainer(argument: IoctlArgument): number {
    const { fd } = readStruct(containerFd, argument);
    const { profile, process } = this.#kernel;
    if (!profile.closedContainerIsEbadf && !process.fds.isOpen(fd)) refuse("EINVAL");
    const file = process.fds.get(fd);
    if (this.#container !== undefined) refuse("EINVAL");
    if (this.#dead) refuse("ENODEV");
    if (file instanceof IommufdFile) refuse("ENOSYS", "an iommufd as a container is not simulated");
    if (!(file instanceof ContainerFile)) refuse(profile.notContainerIsEbadfd ? "EBADFD" : "EINVAL");
    file.container.attachGroup(this.iommuGroup);
    this.#container = file.container;
    return 0;
  }

  #unsetContainer(): number {
    if (this.#container === undefined) refuse("EINVAL");
    if (this.#users > 0) refuse("EBUSY");
    this.#leaveContainer();
    return 0;
  }

  #leaveContainer(): void {
    this.#container?.detachGroup(this.iommuGroup);
    this.#container = undefined;
  }

  #getDeviceFd(argument: IoctlArgument): number {
    const name = userString(argument);
    const { profile, process, hasCdev } = this.#kernel;
    if (!profile.deviceNameFirst) this.#requireBackend();
    const device = this.devices.find((candidate) => matchesName(candidate, name)) ?? refuse("ENODEV");
    process.fds.free();
    this.#requireBackend();
    device.open();
    return process.fds.install(new DeviceFile(device, profile, hasCdev));
  }

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

/** A PCI name may be followed by a token, which only SR-IOV functions take (vfio_pci_core_match, vfio_pci_validate_vf_token). */
function matchesName({ device }: VfioDevice, name: string): boolean {
  if (name === device.name) return true;
  if (device.bus !== "pci" || !name.startsWith(device.name)) return false;
  const hasToken = /^ +vf_token=[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(name.slice(device.name.length));
  return hasToken && refuse("EINVAL", "neither a physical nor a virtual function of SR-IOV");
}
