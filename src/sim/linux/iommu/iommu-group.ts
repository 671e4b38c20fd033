import { IospanError } from "../../../errors.js";
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
  readonly #members: GroupMember[] = [];
  readonly #log: KernelLog;
  /** Who claimed the DMA of the group; undefined: kernel drivers may. */
  #owner: object | undefined;
  /** How many kernel drivers use it, or 1 for an owner. */
  #ownerCount = 0;
  /** Of the kernel's DMA API; there from the first member on. */
  #default: IommuDomain | undefined;
  /** What the members are attached to. A group without members is attached to nothing. */
  #attached: Attachable = "blocked";

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

  get members(): readonly GroupMember[] {
    return this.#members;
  }

  /** The domain that the group's devices are attached to, as far as the IOMMU core knows; undefined: their DMA is blocked. */
  get domain(): IommuDomain | undefined {
    return this.#attached === "blocked" ? undefined : this.#attached;
  }

  /**
   * A device comes in while the kernel starts, and goes into the domain of the DMA API, where nothing is mapped.
   * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for one behind another IOMMU than the others.
   */
  add(member: GroupMember): void {
    const [first = member] = this.#members;
    if (first.iommu !== member.iommu) throw mixedGroup(this.id, first, member);
    this.#default ??= member.iommu.allocateDomain(member);
    this.#members.push(member);
    member.iommu.attach(member, this.#default);
    this.#attached = this.#default;
  }

  /** iommu_get_group_resv_regions. */
  reservedRegions(): readonly ReservedDescription[] {
    const regions = this.#members.flatMap((member) => member.iommu.reservedRegions(member));
    const unique = new Map(regions.map((region) => [`${region.start} ${region.end} ${region.type}`, region]));
    return [...unique.values()].sort((a, b) => a.start - b.start);
  }

  /** A kernel driver takes a device (iommu_device_use_default_domain). */
  useDefaultDomain(): void {
    if (this.isOwned || (this.#ownerCount > 0 && !this.#isDefault)) refuse("EBUSY");
    this.#ownerCount += 1;
  }

  unuseDefaultDomain(): void {
    this.#ownerCount -= 1;
  }

  /** iommu_group_claim_dma_owner: on success all DMA of the group is blocked. */
  claim(owner: object): void {
    if (!this.isFree) refuse("EPERM");
    if (!this.#isDefault) refuse("EBUSY");
    this.#refuseDirectRegions();
    this.#move("blocked");
    this.#owner = owner;
    this.#ownerCount = 1;
  }

  releaseClaim(): void {
    this.#owner = undefined;
    this.#ownerCount = 0;
    this.#move(this.#default ?? "blocked");
  }

  /** iommu_attach_group: all devices or none. */
  attach(domain: IommuDomain): void {
    if (this.domain !== undefined && !this.#isDefault) refuse("EBUSY");
    this.#move(domain);
  }

  /** iommu_group_replace_domain: from one domain to another without a moment in between; all devices or none. */
  replace(domain: IommuDomain): void {
    this.#move(domain);
  }

  /** iommu_detach_group: back to where the owner's DMA is blocked. */
  detach(): void {
    this.#move(this.isOwned ? "blocked" : (this.#default ?? "blocked"));
  }

  /**
   * Where the kernel maps doorbells for the group's devices. Undefined when an interrupt controller's own window does without
   * (vfio_iommu_type1.c, vfio_iommu_has_sw_msi).
   */
  get doorbellWindow(): number | undefined {
    const [first] = this.#members;
    if (first === undefined) return undefined;
    const { start } = first.iommu.msiWindow;
    return this.reservedRegions().some((region) => region.type === "msi" && region.start !== start) ? undefined : start;
  }

  get #isDefault(): boolean {
    return this.#default !== undefined && this.#attached === this.#default;
  }

  #move(target: Attachable): void {
    if (target === this.#attached) return;
    const moved: GroupMember[] = [];
    try {
      for (const member of this.#members) {
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
    for (const member of this.#members) {
      if (!member.iommu.reservedRegions(member).some(({ type }) => type === "direct")) continue;
      const message =
        "Firmware has requested this device have a 1:1 IOMMU mapping, rejecting configuring the device without a 1:1 mapping. Contact your platform vendor.";
      this.#log.device(member.driverName, member.name, message);
      refuse("EINVAL");
    }
  }
}

function mixedGroup(id: number, first: GroupMember, other: GroupMember): IospanError {
  const places = `${first.name} behind ${first.iommu.name} and ${other.name} behind ${other.iommu.name}`;
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `group ${id} has ${places}`, {
    device: other.name,
    hint: "devices of one group share their IOMMU: leave a device's `group` out for a group of its own",
  });
}
