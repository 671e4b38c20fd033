import type { IommuGroup } from "../iommu/iommu-group.js";
import type { MsiCookie } from "../iommu/msi-cookie.js";
import { refuse } from "../refusal.js";
import type { BoundDevice } from "./bound-device.js";
import type { HwPageTable } from "./hw-page-table.js";

/** An iommufd, as far as interrupts go. */
export interface DoorbellKeeper {
  msiCookie(window: number): MsiCookie;
}

/**
 * An IOMMU group with devices that are bound to one iommufd: the kernel's `struct iommufd_group`
 * (drivers/iommu/iommufd/device.c). The IOMMU cannot tell its devices apart, so they share one attachment.
 */
export class BoundGroup {
  readonly iommuGroup: IommuGroup;
  readonly #context: DoorbellKeeper;
  readonly #attached = new Set<BoundDevice>();
  #hwpt: HwPageTable | undefined;
  #bound = 0;

  /** @param context the iommufd, which owns the group's DMA */
  constructor(iommuGroup: IommuGroup, context: DoorbellKeeper) {
    this.iommuGroup = iommuGroup;
    this.#context = context;
  }

  get hwpt(): HwPageTable | undefined {
    return this.#hwpt;
  }

  get isBound(): boolean {
    return this.#bound > 0;
  }

  isAttached(device: BoundDevice): boolean {
    return this.#attached.has(device);
  }

  /** iommu_device_claim_dma_owner: with the first device of the group all its DMA is blocked. */
  bind(): void {
    if (this.#bound === 0) this.iommuGroup.claim(this.#context);
    this.#bound += 1;
  }

  unbind(): void {
    this.#bound -= 1;
    if (this.#bound === 0) this.iommuGroup.releaseClaim();
  }

  /** iommufd_hw_pagetable_attach. */
  attach(device: BoundDevice, hwpt: HwPageTable): void {
    if (this.#hwpt !== undefined && this.#hwpt !== hwpt) refuse("EINVAL");
    hwpt.ioas.reserveFor(device.member);
    try {
      if (this.#attached.size === 0) {
        this.#reachDoorbells(hwpt);
        this.iommuGroup.attach(hwpt.domain);
      }
    } catch (error) {
      hwpt.ioas.rules.release(device.member);
      throw error;
    }
    this.#hwpt = hwpt;
    this.#attached.add(device);
    hwpt.users += 1;
  }

  /**
   * Moves the group with all attached devices to another page table, without a moment in between
   * (iommufd_device_do_replace). A refusal leaves it where it is.
   * @returns the one it left
   */
  replace(device: BoundDevice, hwpt: HwPageTable): HwPageTable | undefined {
    const old = this.#hwpt;
    if (old === undefined || !this.#attached.has(device)) return refuse("EINVAL");
    if (old === hwpt) return undefined;
    const members = Array.from(this.#attached, ({ member }) => member);
    const moves = hwpt.ioas !== old.ioas;
    const release = ({ ioas }: HwPageTable) => {
      for (const member of members) ioas.rules.release(member);
    };
    try {
      if (moves) for (const member of members) hwpt.ioas.reserveFor(member);
      this.#reachDoorbells(hwpt);
      this.iommuGroup.replace(hwpt.domain);
    } catch (error) {
      if (moves) release(hwpt);
      throw error;
    }
    if (moves) release(old);
    this.#hwpt = hwpt;
    hwpt.users += members.length;
    old.users -= members.length;
    return old;
  }

  /** @returns the page table it left */
  detach(device: BoundDevice): HwPageTable | undefined {
    const hwpt = this.#hwpt;
    if (hwpt === undefined || !this.#attached.delete(device)) return undefined;
    if (this.#attached.size === 0) {
      this.iommuGroup.detach();
      this.#hwpt = undefined;
    }
    hwpt.ioas.rules.release(device.member);
    hwpt.users -= 1;
    return hwpt;
  }

  /** Messages that devices have been told to send go to the same addresses (iommufd_group_setup_msi). */
  #reachDoorbells({ domain }: HwPageTable): void {
    const window = this.iommuGroup.doorbellWindow;
    if (window === undefined) return;
    domain.msiCookie = this.#context.msiCookie(window);
    domain.msiCookie.install(domain);
  }
}
