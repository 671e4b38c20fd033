import type { PhysicalMemory } from "../../hw/physical-memory.js";
import type { KernelDevice } from "../drivers/device.js";
import type { GroupMember, IommuGroup } from "../iommu/iommu-group.js";
import { MsiCookie } from "../iommu/msi-cookie.js";
import type { KernelLog } from "../kernel-log.js";
import type { Process } from "../process.js";
import type { Profile } from "../profile.js";
import { refuse } from "../refusal.js";
import { BoundDevice } from "./bound-device.js";
import { BoundGroup } from "./bound-group.js";
import { Ioas } from "./ioas.js";
import { ObjectTable } from "./object-table.js";
import type { Accounting } from "./user-pages.js";

/** Parameters of the iommufd module. */
export interface IommufdParameters {
  allowUnsafeInterrupts: boolean;
}

/** What an iommufd needs of the kernel around it. */
export interface IommufdKernel {
  readonly profile: Profile;
  readonly log: KernelLog;
  readonly physical: PhysicalMemory;
  readonly process: Process;
  /** The module's parameters as they are now. */
  readonly parameters: IommufdParameters;
}

/** Everything behind one open of `/dev/iommu`: the kernel's `struct iommufd_ctx` (drivers/iommu/iommufd/main.c). */
export class IommufdContext {
  readonly kernel: IommufdKernel;
  readonly objects = new ObjectTable();
  /** Whom pins are counted against (IOMMU_OPTION_RLIMIT_MODE). */
  accounting: Accounting;
  /** What VFIO's container calls work on (IOMMU_VFIO_IOAS). */
  compatibleIoas: Ioas | undefined;
  /** Told when nobody has it any more. */
  onRelease: () => void = () => {};
  readonly #groups = new Map<IommuGroup, BoundGroup>();
  /** By the window that they begin in. */
  readonly #msiCookies = new Map<number, MsiCookie>();

  constructor(kernel: IommufdKernel, accounting: Accounting = "user") {
    this.kernel = kernel;
    this.accounting = accounting;
  }

  /** Where doorbells are mapped for a window, which is the same in all page tables (sw_msi_list). */
  msiCookie(window: number): MsiCookie {
    const cookie = this.#msiCookies.get(window) ?? new MsiCookie(window, this.kernel.physical.pageSize);
    this.#msiCookies.set(window, cookie);
    return cookie;
  }

  newIoas(): Ioas {
    return this.objects.add((id) => new Ioas(id, this.kernel.physical.pageSize));
  }

  /** iommufd_vfio_compat_ioas_create: what VFIO's container calls work on is made unless the program named something. */
  makeCompatibleIoas(): void {
    this.compatibleIoas ??= this.newIoas();
  }

  /** IOMMU_DESTROY. */
  destroy(id: number): void {
    const object = this.objects.get(id) ?? refuse("ENOENT");
    if (object.isUsed) refuse("EBUSY");
    this.objects.delete(id);
    if (object === this.compatibleIoas) this.compatibleIoas = undefined;
    object.destroy();
  }

  /** Takes a device over; its group's DMA is blocked from then on (iommufd_device_bind). */
  bind(device: KernelDevice): BoundDevice {
    const { group } = device;
    if (!isTranslated(device) || !device.iommu.coherent) return refuse("EINVAL");
    if (group === undefined) return refuse("ENODEV");
    if (!group.members.every(({ msiIsolated }) => msiIsolated)) this.#unsafeInterrupts(device);
    const bound = this.#groups.get(group) ?? new BoundGroup(group, this);
    bound.bind();
    this.#groups.set(group, bound);
    return this.objects.add((id) => new BoundDevice(id, device, bound, this.objects));
  }

  unbind(device: BoundDevice): void {
    device.detach();
    this.objects.delete(device.id);
    device.group.unbind();
    if (!device.group.isBound) this.#groups.delete(device.group.iommuGroup);
  }

  /** Nobody has it any more; bound devices would. */
  release(): void {
    for (const kind of ["hwpt", "ioas"] as const) {
      for (const object of this.objects.all.filter((each) => each.kind === kind)) this.destroy(object.id);
    }
    this.onRelease();
  }

  #unsafeInterrupts(device: KernelDevice): void {
    const { log, parameters } = this.kernel;
    if (!parameters.allowUnsafeInterrupts) refuse("EPERM");
    log.device(
      device.driverName,
      device.name,
      'MSI interrupts are not secure, they cannot be isolated by the platform. Check that platform features like interrupt remapping are enabled. Use the "allow_unsafe_interrupts" module parameter to override',
    );
  }
}

function isTranslated(device: KernelDevice): device is KernelDevice & GroupMember {
  return device.iommu !== undefined;
}
