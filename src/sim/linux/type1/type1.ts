import {
  VFIO_EXTENSION,
  VFIO_IOMMU_DIRTY_PAGES,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_UNMAP_DMA,
} from "../../../abi/vfio-container.js";
import { VFIO_IOMMU_GET_INFO } from "../../../abi/vfio-container-info.js";
import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import type { IommuGroup } from "../iommu/iommu-group.js";
import type { Profile } from "../profile.js";
import { refuse } from "../refusal.js";
import { attachGroup, detachGroup } from "./attach.js";
import { dirtyPages } from "./dirty.js";
import { getInfo } from "./info.js";
import { mapDma } from "./map.js";
import { newType1, type Type1Kernel, type Type1State } from "./state.js";
import { unmapDma } from "./unmap.js";

/** VFIO_SET_IOMMU's 6, TYPE1_NESTING, which the headers no longer name. */
const NESTING = 6;

/** What the backend can whatever is attached (vfio_iommu_type1_check_extension without a container's state). */
export function type1Extension(profile: Profile, extension: number): number {
  switch (extension) {
    case VFIO_EXTENSION.TYPE1_IOMMU:
    case VFIO_EXTENSION.TYPE1v2_IOMMU:
      return 1;
    case VFIO_EXTENSION.UNMAP_ALL:
      return profile.updateVaddr ? 1 : 0;
    case NESTING:
      return profile.nesting === "gone" ? 0 : 1;
    default:
      return 0;
  }
}

/** The IOMMU backend of a container: vfio_iommu_type1.c. */
export class Type1 {
  /** For snapshots. */
  readonly state: Type1State;
  readonly #nesting: boolean;

  /** @param type what VFIO_SET_IOMMU was given */
  constructor(kernel: Type1Kernel, type: number) {
    this.state = newType1(kernel, type !== VFIO_EXTENSION.TYPE1_IOMMU);
    this.#nesting = type === NESTING;
  }

  attachGroup(group: IommuGroup): void {
    // iommu_enable_nesting comes when the driver has fixed the stage already.
    if (this.#nesting && this.state.kernel.profile.nesting === "EPERM") refuse("EPERM");
    attachGroup(this.state, group);
  }

  detachGroup(group: IommuGroup): void {
    detachGroup(this.state, group);
  }

  checkExtension(extension: number): number {
    const { profile } = this.state.kernel;
    if (extension === VFIO_EXTENSION.UPDATE_VADDR) return profile.updateVaddr ? 1 : 0;
    if (extension !== VFIO_EXTENSION.DMA_CC_IOMMU) return type1Extension(profile, extension);
    if (profile.coherencyIsCapability) return 1;
    return this.state.domains.every(({ domain }) => domain.enforcesCoherency) ? 1 : 0;
  }

  ioctl(request: number, argument: IoctlArgument): number {
    switch (request) {
      case VFIO_IOMMU_GET_INFO.request:
        return getInfo(this.state, argument);
      case VFIO_IOMMU_MAP_DMA.request:
        return mapDma(this.state, argument);
      case VFIO_IOMMU_UNMAP_DMA.request:
        return unmapDma(this.state, argument);
      case VFIO_IOMMU_DIRTY_PAGES.request:
        return dirtyPages(this.state, argument);
      default:
        return refuse("ENOTTY");
    }
  }
}
