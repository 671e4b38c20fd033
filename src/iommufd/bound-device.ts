import type { Ioctl } from "../abi/ioctl.js";
import {
  attachIommufdPt,
  bindIommufd,
  detachIommufdPt,
  VFIO_DEVICE_ATTACH_IOMMUFD_PT,
  VFIO_DEVICE_BIND_FLAG,
  VFIO_DEVICE_BIND_IOMMUFD,
  VFIO_DEVICE_DETACH_IOMMUFD_PT,
} from "../abi/vfio-cdev.js";
import { IospanError } from "../errors.js";
import type { BusType } from "../machine/machine.js";
import { MappedMemory } from "../syscalls/mapped-memory.js";
import { MAP_ANONYMOUS, MAP_PRIVATE, O_RDWR, PROT_READ, PROT_WRITE } from "../syscalls/mmap-flags.js";
import type { Fd, Syscalls } from "../syscalls/syscalls.js";
import { CallsUnderWay } from "../vfio/calls-under-way.js";
import type { DeviceIdentity, DeviceSource } from "../vfio/device.js";
import { failuresOf, withFailures } from "../vfio/failures.js";
import { unexplained } from "../vfio/refusal.js";
import { checkTakesToken, vfTokenBytes } from "../vfio/vf-token.js";
import { attachRefused, bindIommufdRefused, type CdevIdentity, cdevOpenRefused } from "./cdev-refusals.js";
import { askHardwareInfo, type HardwareInfo } from "./hardware-info.js";
import { HwPageTable } from "./hw-page-table.js";
import type { Ioas } from "./ioas.js";
import type { Iommufd } from "./iommufd.js";
import { closedIommufd } from "./iommufd-refusals.js";

/** What is said to be passed: the structs as they were when the calls were new. */
const BIND_SIZE = bindIommufd.endOf("out_devid");
const ATTACH_SIZE = attachIommufdPt.endOf("pt_id");
const DETACH_SIZE = detachIommufdPt.endOf("flags");

/**
 * A device that was opened through its own node, `/dev/vfio/devices/vfioN`, and bound to an iommufd. The kernel has reset it
 * where it can, and blocks its DMA until it is attached (drivers/vfio/device_cdev.c).
 */
export class BoundDevice implements DeviceIdentity, DeviceSource, Disposable {
  readonly name: string;
  readonly bus: BusType;
  readonly iommu: string;
  /** The iommufd's number for it. */
  readonly id: number;
  readonly #identity: CdevIdentity;
  readonly #iommufd: Iommufd;
  readonly #syscalls: Syscalls;
  readonly #calls = new CallsUnderWay();
  #fd: Fd | undefined;
  #ioas: Ioas | undefined;
  /** The descriptor is closed, here or by whom it was handed to. */
  #closed = false;

  private constructor(iommufd: Iommufd, fd: Fd, id: number, identity: CdevIdentity) {
    this.#iommufd = iommufd;
    this.#syscalls = iommufd.syscalls;
    this.#fd = fd;
    this.#identity = identity;
    this.id = id;
    this.name = identity.name;
    this.bus = identity.bus;
    this.iommu = identity.iommu;
  }

  /**
   * Opens a device and binds it. Off the event loop: a reset takes its time.
   * @param vfToken a UUID: for a virtual function whose physical function is on vfio-pci, and for such a physical function.
   * @throws IospanError `ERR_IOSPAN_GROUP_BUSY` naming who holds it, `ERR_IOSPAN_NO_IOMMUFD` where the kernel has no such nodes,
   * `ERR_IOSPAN_NO_PERMISSION`, `ERR_IOSPAN_UNSAFE_INTERRUPTS`, `ERR_IOSPAN_ATTACH_REFUSED`,
   * `ERR_IOSPAN_VF_TOKEN` where a token is missing, wrong, or not asked for, `ERR_IOSPAN_INVALID_ARGUMENT` for one with a device
   * that is not PCI's, and for an identity that lacks the node or the IOMMU's name.
   */
  static async open(iommufd: Iommufd, identity: CdevIdentity, vfToken?: string): Promise<BoundDevice> {
    requireIdentity(identity);
    const { syscalls } = iommufd;
    const token = vfToken === undefined ? undefined : vfTokenBytes(vfToken);
    if (vfToken !== undefined) checkTakesToken(identity);
    let fd: Fd;
    try {
      fd = await syscalls.openAsync(`/dev/vfio/devices/${identity.node}`, O_RDWR);
    } catch (error) {
      throw cdevOpenRefused(error, identity);
    }
    try {
      return new BoundDevice(iommufd, fd, await bind(iommufd, fd, token), identity);
    } catch (error) {
      const failures = failuresOf(() => syscalls.close(fd));
      throw withFailures(bindIommufdRefused(error, identity, syscalls, vfToken), failures);
    }
  }

  /**
   * Attaches the device: to a page table, or to an address space, for which the kernel finds or makes one. The mappings that
   * there are hold for it from then on. A device that is attached is moved.
   * @returns the page table's number
   * @throws IospanError `ERR_IOSPAN_ATTACH_REFUSED`, and nothing has changed: across two IOMMUs it is EINVAL.
   * `ERR_IOSPAN_CLOSED` where it was closed meanwhile.
   */
  async attach(to: Ioas | HwPageTable): Promise<number> {
    const bytes = attachIommufdPt.encode({ argsz: ATTACH_SIZE, pt_id: to.id });
    const ioas = to instanceof HwPageTable ? to.ioas : to;
    const tableOf = to instanceof HwPageTable ? to.device : undefined;
    const fd = this.#openFd();
    try {
      await this.#calls.run(() => this.#syscalls.ioctlAsync(fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, bytes));
    } catch (error) {
      if (this.#closed) throw closedIommufd(this.name);
      throw attachRefused(error, this.#identity, { tableOf });
    }
    if (this.#closed) throw closedIommufd(this.name);
    this.#left();
    this.#ioas = ioas;
    ioas.noteAttached(this);
    return attachIommufdPt.decode(bytes).pt_id;
  }

  /** Blocks its DMA again. */
  detach(): void {
    const bytes = detachIommufdPt.encode({ argsz: DETACH_SIZE });
    this.#ioctl(VFIO_DEVICE_DETACH_IOMMUFD_PT, bytes, `detaching ${this.name}`);
    this.#left();
  }

  /**
   * What the kernel says of the IOMMU in front of it: its ID registers where it is an SMMUv3, and what page tables can do. Of one
   * whose driver tells nothing of its registers, `type` is 0 and `data` empty, and the rest is as of any.
   * @throws IospanError `ERR_IOSPAN_NOT_SUPPORTED` for a device without an IOMMU, and where the driver refuses for this one;
   * `ERR_IOSPAN_NO_IOMMUFD` before Linux 6.6, `ERR_IOSPAN_CLOSED` after the iommufd.
   */
  hardwareInfo(): HardwareInfo {
    return askHardwareInfo(this.#iommufd, this.id, { device: this.name, iommu: this.iommu });
  }

  /** Hands the descriptor over, for {@link Device.open}: closing that detaches and unbinds the device. */
  async deviceFd(): Promise<Fd> {
    const fd = this.#openFd();
    this.#fd = undefined;
    await this.#calls.ended();
    return fd;
  }

  /**
   * Closes the device, which detaches and unbinds it; where it is being attached, when that has ended. Where it was handed over that is its owner's to do, and this does nothing.
   * @throws IospanError when the kernel reports an error; the device is closed all the same.
   */
  close(): void {
    const fd = this.#fd;
    if (fd === undefined) return;
    this.#fd = undefined;
    const [failure] = failuresOf(() => this.#calls.last(() => this.#syscalls.close(fd)));
    this.deviceClosed();
    if (failure !== undefined) {
      throw unexplained(failure, `closing ${this.name}`, { device: this.name, iommu: this.iommu });
    }
  }

  /** @internal The descriptor is closed: the device is attached to nothing any more. */
  deviceClosed(): void {
    this.#closed = true;
    this.#left();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #left(): void {
    this.#ioas?.noteDetached(this);
    this.#ioas = undefined;
  }

  #ioctl(call: Ioctl, bytes: Uint8Array, doing: string): void {
    try {
      this.#syscalls.ioctl(this.#openFd(), call, bytes);
    } catch (error) {
      throw unexplained(error, doing, { device: this.name, iommu: this.iommu });
    }
  }

  #openFd(): Fd {
    if (this.#fd === undefined) throw closedIommufd(this.name);
    return this.#fd;
  }
}

/** What sysfs tells of a device is much the same, and it has a node only where a VFIO driver is bound (Linux 6.1 and later). */
function requireIdentity(identity: CdevIdentity | undefined): void {
  const { name, iommu, node } = identity ?? {};
  if (typeof name === "string" && typeof iommu === "string" && typeof node === "string") return;
  const lacking = Object.entries({ name, iommu, node }).flatMap(([what, value]) =>
    typeof value === "string" ? [] : [what],
  );
  const message = `a device is opened by texts for its name, iommu and node; there is none for ${lacking.join(", ")}`;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", message, {
    device: typeof name === "string" ? name : undefined,
    hint: "of d = findDevice(…): { name: d.name, bus: d.bus, iommu: d.iommu.name, group: d.group, node: d.vfioDevice }, once it is on a VFIO driver",
  });
}

/** @returns the iommufd's number for the device. */
async function bind({ syscalls, fd: iommufd }: Iommufd, fd: Fd, token: Uint8Array | undefined): Promise<number> {
  if (token === undefined) {
    const bytes = bindIommufd.encode({ argsz: BIND_SIZE, iommufd });
    await syscalls.ioctlAsync(fd, VFIO_DEVICE_BIND_IOMMUFD, bytes);
    return bindIommufd.decode(bytes).out_devid;
  }
  // The kernel reads the token from where the struct says that it is.
  const flags = MAP_PRIVATE | MAP_ANONYMOUS;
  using memory = MappedMemory.map(syscalls, { length: syscalls.pageSize, prot: PROT_READ | PROT_WRITE, flags });
  new Uint8Array(memory.buffer).set(token);
  const bytes = bindIommufd.encode({ flags: VFIO_DEVICE_BIND_FLAG.TOKEN, iommufd, token_uuid_ptr: memory.address });
  await syscalls.ioctlAsync(fd, VFIO_DEVICE_BIND_IOMMUFD, bytes);
  return bindIommufd.decode(bytes).out_devid;
}
