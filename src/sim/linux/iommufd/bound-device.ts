import type { DomainRequest } from "../iommu/iommu.js";
import type { GroupMember } from "../iommu/iommu-group.js";
import { type Refusal, refusalOf, refuse } from "../refusal.js";
import type { BoundGroup } from "./bound-group.js";
import { HwPageTable } from "./hw-page-table.js";
import type { Ioas } from "./ioas.js";
import type { ObjectTable } from "./object-table.js";

/** A device that is bound to an iommufd (drivers/iommu/iommufd/device.c). */
export class BoundDevice {
  readonly kind = "device";
  readonly id: number;
  readonly member: GroupMember;
  readonly group: BoundGroup;
  /** The driver that bound it uses it, until it unbinds it. */
  readonly isUsed = true;
  readonly #objects: ObjectTable;

  constructor(id: number, member: GroupMember, group: BoundGroup, objects: ObjectTable) {
    this.id = id;
    this.member = member;
    this.group = group;
    this.#objects = objects;
  }

  /**
   * VFIO_DEVICE_ATTACH_IOMMUFD_PT: attaches it, or moves it if it is attached (iommufd_device_change_pt).
   * @param id of an IOAS, or of a page table
   * @returns the page table's
   */
  attach(id: number): number {
    const target = this.#objects.get(id) ?? refuse("ENOENT");
    switch (target.kind) {
      case "hwpt":
        this.#moveTo(target);
        return target.id;
      case "ioas":
        return this.#moveInto(target).id;
      case "device":
        return refuse("EINVAL");
    }
  }

  /** Blocks its DMA, as before it was attached. */
  detach(): void {
    this.#put(this.group.detach(this));
  }

  destroy(): void {
    throw new Error("a bound device is unbound, not destroyed");
  }

  /**
   * HWPT_ALLOC: a page table of this device's IOMMU, which nobody is attached to.
   * @param check what else has to be right; if it is not, there is no page table
   */
  allocateTable(ioas: Ioas, request: DomainRequest, check: () => void): HwPageTable {
    const hwpt = this.#newTable(ioas, false, request);
    this.#orAbort(hwpt, () => hwpt.fill());
    this.#orAbort(hwpt, check);
    return hwpt;
  }

  /** Into a page table that the kernel made for the IOAS, if one takes it, else into a new one (iommufd_device_auto_get_domain). */
  #moveInto(ioas: Ioas): HwPageTable {
    for (const hwpt of ioas.hwpts.filter(({ automatic }) => automatic)) {
      const refusal = refusalOf(() => this.#moveTo(hwpt));
      if (refusal === undefined) return hwpt;
      if (!isIncompatible(refusal)) throw refusal;
    }
    const hwpt = this.#newTable(ioas, true);
    // A device that is not attached yet is before the table has its mappings, one that is moved afterwards.
    if (this.group.isAttached(this)) {
      this.#orAbort(hwpt, () => hwpt.fill());
      this.#orAbort(hwpt, () => this.#moveTo(hwpt));
      return hwpt;
    }
    this.#orAbort(hwpt, () => this.group.attach(this, hwpt));
    this.#orAbort(hwpt, () => hwpt.fill());
    return hwpt;
  }

  #moveTo(hwpt: HwPageTable): void {
    if (this.group.isAttached(this)) this.#put(this.group.replace(this, hwpt));
    else this.group.attach(this, hwpt);
  }

  #newTable(ioas: Ioas, automatic: boolean, request?: DomainRequest): HwPageTable {
    const { iommu } = this.member;
    return this.#objects.add((id) => new HwPageTable(id, ioas, iommu.allocateDomain(this.member, request), automatic));
  }

  #orAbort(hwpt: HwPageTable, step: () => void): void {
    try {
      step();
    } catch (error) {
      if (this.group.hwpt === hwpt) this.group.detach(this);
      this.#objects.delete(hwpt.id);
      hwpt.destroy();
      throw error;
    }
  }

  /** iommufd_hw_pagetable_put. */
  #put(hwpt: HwPageTable | undefined): void {
    if (hwpt === undefined || !hwpt.automatic || hwpt.isUsed) return;
    this.#objects.delete(hwpt.id);
    hwpt.destroy();
  }
}

/** EINVAL says that a domain is not for this device's IOMMU; anything else is a failure. */
function isIncompatible(refusal: Refusal): boolean {
  return refusalOf(() => refuse("EINVAL"))?.errno === refusal.errno;
}
