import type { ReservedDescription } from "../description.js";
import type { KernelLog } from "../kernel-log.js";
import { refuse } from "../refusal.js";
import type { Attachable, DmaMaster, Iommu, IommuDomain } from "./iommu.js";

/** A device in an IOMMU group. */
export interface GroupMember extends DmaMaster {
  readonly iommu: Iommu;
  /** Whether its interrupts come through an ITS of its own context. */
  readonly msiIsolated: boolean;
}

/** An IOMMU group: devices that are attached together (drivers/iommu/iommu.c). */
export class IommuGroup {
  readonly id: number;
  readonly members: GroupMember[] = [];
  readonly #log: KernelLog;
  /** Who claimed the DMA of the group; undefined: kernel drivers may. */
  #owner: object | undefined;
  /** How many kernel drivers use it, or 1 for an owner. */
  #ownerCount = 0;
  #attached: Attachable = "default";

  constructor(id: number, log: KernelLog) {
    this.id = id;
    this.#log = log;
  }

  /** No kernel driver does DMA in it, nobody owns it. */
  get isFree(): boolean {
    return this.#ownerCount === 0;
  }

  get isOwned(): boolean {
    return this.#owner !== undefined;
  }

  /** What the group's devices are attached to, as far as the IOMMU core knows. */
  get attached(): Attachable {
    return this.#attached;
  }

  /** iommu_get_group_resv_regions. */
  reservedRegions(): readonly ReservedDescription[] {
    const regions = this.members.flatMap((member) => member.iommu.reservedRegions(member));
    const unique = new Map(regions.map((region) => [`${region.start} ${region.end} ${region.type}`, region]));
    return [...unique.values()].sort((a, b) => a.start - b.start);
  }

  /** A kernel driver takes a device (iommu_device_use_default_domain). */
  useDefaultDomain(): void {
    if (this.isOwned || (this.#ownerCount > 0 && this.#attached !== "default")) refuse("EBUSY");
    this.#ownerCount += 1;
  }

  unuseDefaultDomain(): void {
    this.#ownerCount -= 1;
  }

  /** iommu_group_claim_dma_owner: on success all DMA of the group is blocked. */
  claim(owner: object): void {
    if (!this.isFree) refuse("EPERM");
    if (this.#attached !== "default") refuse("EBUSY");
    this.#refuseDirectRegions();
    this.#move("blocked");
    this.#owner = owner;
    this.#ownerCount = 1;
  }

  releaseClaim(): void {
    this.#owner = undefined;
    this.#ownerCount = 0;
    this.#move("default");
  }

  /** iommu_attach_group: all devices or none. */
  attach(domain: IommuDomain): void {
    if (typeof this.#attached !== "string") refuse("EBUSY");
    this.#move(domain);
  }

  /** iommu_detach_group: back to where the owner's DMA is blocked. */
  detach(): void {
    this.#move(this.isOwned ? "blocked" : "default");
  }

  #move(target: Attachable): void {
    const moved: GroupMember[] = [];
    try {
      for (const member of this.members) {
        member.iommu.attach(member, target);
        moved.push(member);
      }
    } catch (error) {
      for (const member of moved) member.iommu.attach(member, this.#attached);
      throw error;
    }
    this.#attached = target;
  }

  /** Firmware that left a device running asks for its mappings to stay (__iommu_device_set_domain). */
  #refuseDirectRegions(): void {
    for (const member of this.members) {
      if (!member.iommu.reservedRegions(member).some(({ type }) => type === "direct")) continue;
      const message =
        "Firmware has requested this device have a 1:1 IOMMU mapping, rejecting configuring the device without a 1:1 mapping. Contact your platform vendor.";
      this.#log.device(member.driverName, member.name, message);
      refuse("EINVAL");
    }
  }
}
