import {
  attachIommufdPt,
  bindIommufd,
  detachIommufdPt,
  VFIO_DEVICE_ATTACH,
  VFIO_DEVICE_ATTACH_IOMMUFD_PT,
  VFIO_DEVICE_BIND_IOMMUFD,
  VFIO_DEVICE_DETACH,
  VFIO_DEVICE_DETACH_IOMMUFD_PT,
} from "../../../abi/vfio-cdev.js";
import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import { type FileMapping, OpenFile } from "../files/open-file.js";
import { putField, readStruct } from "../files/user-argument.js";
import type { BoundDevice } from "../iommufd/bound-device.js";
import { IommufdFile } from "../iommufd/iommufd-file.js";
import type { Backing } from "../mm/address-space.js";
import type { Process } from "../process.js";
import type { Profile } from "../profile.js";
import { refuse } from "../refusal.js";
import { readBind } from "./bind-request.js";
import { uuidText } from "./vf-token.js";
import type { VfioDevice } from "./vfio-device.js";

/** Bytes of a UUID. */
const TOKEN_SIZE = 16;

/** The kernel around it. */
export interface CdevKernel {
  readonly process: Process;
  readonly profile: Profile;
}

/**
 * An open `/dev/vfio/devices/vfioN` (drivers/vfio/device_cdev.c). The device can be used once it is bound to an iommufd, by
 * one descriptor at a time; binding resets it, and its DMA is blocked until it is attached.
 */
export class CdevFile extends OpenFile {
  readonly path: string;
  readonly #device: VfioDevice;
  readonly #kernel: CdevKernel;
  #bound: BoundDevice | undefined;
  #iommufd: IommufdFile | undefined;

  constructor(device: VfioDevice, kernel: CdevKernel) {
    super();
    this.path = `/dev/vfio/devices/${device.nodeName}`;
    this.#device = device;
    this.#kernel = kernel;
    device.register();
  }

  /** vfio_device_fops_release. */
  protected release(): void {
    if (this.#bound !== undefined) {
      this.#device.bound = undefined;
      this.#device.close();
      this.#iommufd?.put();
      this.#device.group.unblock();
    }
    this.#device.unregister();
  }

  override ioctl(request: number, argument: IoctlArgument): number {
    if (request === VFIO_DEVICE_BIND_IOMMUFD.request) return this.#bind(argument);
    const bound = this.#requireBound();
    switch (request) {
      case VFIO_DEVICE_ATTACH_IOMMUFD_PT.request:
        return this.#attach(bound, argument);
      case VFIO_DEVICE_DETACH_IOMMUFD_PT.request:
        return this.#detach(bound, argument);
      default:
        return this.#device.operations.ioctl(request, argument);
    }
  }

  override pread(into: Uint8Array, offset: bigint): number {
    this.#requireBound();
    return this.#device.operations.pread(into, offset);
  }

  override pwrite(from: Uint8Array, offset: bigint): number {
    this.#requireBound();
    return this.#device.operations.pwrite(from, offset);
  }

  override mmap(mapping: FileMapping): Backing {
    this.#requireBound();
    return this.#device.operations.mmap(mapping, this);
  }

  override fdinfo(): string {
    return this.#device.fdinfo(this.#kernel.profile);
  }

  #requireBound(): BoundDevice {
    return this.#bound ?? refuse("EINVAL");
  }

  /** vfio_df_ioctl_bind_iommufd. */
  #bind(argument: IoctlArgument): number {
    const { iommufd: fd, token } = readBind(argument, this.#kernel.profile);
    const { group } = this.#device;
    group.block();
    try {
      if (this.#bound !== undefined) refuse("EINVAL");
      this.#checkToken(token);
      const file = this.#kernel.process.fds.get(fd);
      if (!(file instanceof IommufdFile)) return refuse("EBADFD");
      const bound = this.#open(file);
      file.hold();
      this.#iommufd = file;
      this.#bound = bound;
      this.#device.bound = { context: file.context, id: bound.id };
      putField(bindIommufd, argument, "out_devid", bound.id);
      return 0;
    } catch (error) {
      group.unblock();
      throw error;
    }
  }

  /** vfio_df_check_token. @param address of the token in the process's memory */
  #checkToken(address: number | undefined): void {
    const { operations, group } = this.#device;
    if (group.isNoiommu) refuse("ENOSYS", "the use of devices without an IOMMU is not simulated");
    if (!this.#kernel.profile.tokenAtBind) return;
    if (operations.matchToken === undefined && address !== undefined) refuse("EINVAL");
    const token = address === undefined ? undefined : this.#kernel.process.memory.read(address, TOKEN_SIZE);
    operations.matchToken?.(token && uuidText(token));
  }

  /** vfio_df_open: the device is bound first, then reset. */
  #open({ context }: IommufdFile): BoundDevice {
    let bound: BoundDevice | undefined;
    this.#device.openBound({
      use: () => {
        bound = context.bind(this.#device.device);
      },
      unuse: () => {
        if (bound !== undefined) context.unbind(bound);
      },
    });
    return bound ?? refuse("EINVAL");
  }

  #attach(bound: BoundDevice, argument: IoctlArgument): number {
    const least = attachIommufdPt.endOf("pt_id");
    const { argsz, flags, pt_id } = readStruct(attachIommufdPt, argument, least);
    if (argsz < least) refuse("EINVAL");
    this.#checkPasidFlag(flags, VFIO_DEVICE_ATTACH.PASID);
    putField(attachIommufdPt, argument, "pt_id", bound.attach(pt_id));
    return 0;
  }

  #detach(bound: BoundDevice, argument: IoctlArgument): number {
    const least = detachIommufdPt.endOf("flags");
    const { argsz, flags } = readStruct(detachIommufdPt, argument, least);
    if (argsz < least) refuse("EINVAL");
    this.#checkPasidFlag(flags, VFIO_DEVICE_DETACH.PASID);
    bound.detach();
    return 0;
  }

  #checkPasidFlag(flags: number, pasid: number): void {
    const known = this.#kernel.profile.pasidAttach ? pasid : 0;
    if ((flags & ~known) !== 0) refuse("EINVAL");
    // What vfio-platform says, which has no PASIDs; vfio-pci's are not simulated.
    if (flags !== 0) refuse("EOPNOTSUPP", "attaching a PASID is not simulated");
  }
}
