import { IOMMU_OPTION, IOMMU_OPTION_OP, option } from "../abi/iommufd-object.js";
import { type About, unexplained } from "../vfio/refusal.js";
import type { Explain, Iommufd } from "./iommufd.js";

/** IOMMU_OPTION: one option of an iommufd, or of an object of it. */
export class IommufdOption {
  readonly #iommufd: Iommufd;
  readonly #option: number;
  readonly #object: number;

  /** @param object 0 for the iommufd itself */
  constructor(iommufd: Iommufd, option: number, object: number) {
    this.#iommufd = iommufd;
    this.#option = option;
    this.#object = object;
  }

  get(about: About): bigint {
    const bytes = this.#encode(IOMMU_OPTION_OP.GET, 0n);
    this.#iommufd.ioctl(IOMMU_OPTION, bytes, (error) => unexplained(error, "reading an option of the iommufd", about));
    return option.decode(bytes).val64;
  }

  /** All or nothing. @param explain makes the error of a refusal */
  set(value: bigint, explain: Explain): void {
    this.#iommufd.ioctl(IOMMU_OPTION, this.#encode(IOMMU_OPTION_OP.SET, value), explain);
  }

  #encode(op: number, val64: bigint): Uint8Array {
    return option.encode({ option_id: this.#option, op, object_id: this.#object, val64 });
  }
}
