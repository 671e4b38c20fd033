import type { IommuDomain } from "../iommu/iommu.js";
import type { Ioas } from "./ioas.js";

/** A hardware page table, HWPT: a domain of one IOMMU with all mappings of an IOAS (drivers/iommu/iommufd/hw_pagetable.c). */
export class HwPageTable {
  readonly kind = "hwpt";
  readonly id: number;
  readonly ioas: Ioas;
  readonly domain: IommuDomain;
  /** Made by attaching a device to the IOAS: it goes with its last device, and other devices may be put into it. */
  readonly automatic: boolean;
  /** How many devices are attached. */
  users = 0;
  #filled = false;

  constructor(id: number, ioas: Ioas, domain: IommuDomain, automatic: boolean) {
    this.id = id;
    this.ioas = ioas;
    this.domain = domain;
    this.automatic = automatic;
  }

  get isUsed(): boolean {
    return this.users > 0;
  }

  /** Takes over the mappings of the IOAS. */
  fill(): void {
    this.ioas.addDomain(this.domain);
    this.ioas.hwpts.push(this);
    this.#filled = true;
  }

  destroy(): void {
    if (this.#filled) {
      this.ioas.hwpts.splice(this.ioas.hwpts.indexOf(this), 1);
      this.ioas.removeDomain(this.domain);
    }
    this.domain.free();
  }
}
