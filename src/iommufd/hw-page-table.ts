import { hwptAlloc, IOMMU_HWPT_ALLOC } from "../abi/iommufd-hwpt.js";
import { destroy, IOMMU_DESTROY } from "../abi/iommufd-object.js";
import type { DeviceIdentity } from "../vfio/device.js";
import { unexplained } from "../vfio/refusal.js";
import type { BoundDevice } from "./bound-device.js";
import type { Ioas } from "./ioas.js";
import type { Iommufd } from "./iommufd.js";
import { tableRefused } from "./iommufd-refusals.js";

/**
 * A hardware page table, HWPT: the kernel's iommu_domain, of one IOMMU, with the mappings of an I/O address space
 * (drivers/iommu/iommufd/hw_pagetable.c). Devices behind other IOMMUs cannot use it.
 */
export class HwPageTable {
  /** The kernel's number for it. */
  readonly id: number;
  readonly ioas: Ioas;
  /** The device it was made for; its IOMMU is the table's. */
  readonly device: DeviceIdentity;
  readonly #iommufd: Iommufd;

  private constructor(iommufd: Iommufd, id: number, device: DeviceIdentity, ioas: Ioas) {
    this.#iommufd = iommufd;
    this.id = id;
    this.device = device;
    this.ioas = ioas;
  }

  /**
   * Makes one for a device's IOMMU and enters the mappings there are. Nobody is attached to it yet.
   * @throws IospanError `ERR_IOSPAN_ATTACH_REFUSED`, `ERR_IOSPAN_NO_IOMMUFD` where the kernel cannot.
   */
  static async allocate(iommufd: Iommufd, device: BoundDevice, ioas: Ioas): Promise<HwPageTable> {
    const bytes = hwptAlloc.encode({ dev_id: device.id, pt_id: ioas.id });
    const { name, iommu, bus } = device;
    await iommufd.ioctlAsync(IOMMU_HWPT_ALLOC, bytes, (error) => tableRefused(error, { device: name, iommu }));
    return new HwPageTable(iommufd, hwptAlloc.decode(bytes).out_hwpt_id, { name, iommu, bus }, ioas);
  }

  /** Ends it, when no device is attached any more. It also goes with the iommufd. */
  destroy(): void {
    const { name, iommu } = this.device;
    this.#iommufd.ioctl(IOMMU_DESTROY, destroy.encode({ id: this.id }), (error) =>
      unexplained(error, `ending the page table of ${name}`, { device: name, iommu }),
    );
  }
}
