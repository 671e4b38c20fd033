import {
  dmaMap,
  dmaUnmap,
  VFIO_DMA_MAP_FLAG,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_UNMAP_DMA,
} from "../abi/vfio-container.js";
import type { IovaRange } from "../iova.js";
import type { ContainerKind } from "./container-kind.js";
import type { Asked } from "./kernel-question.js";
import type { Probed } from "./mapping-probe.js";
import type { About } from "./refusal.js";

/** A container to ask for its mappings. @param ranges where mappings may lie */
export function probedContainer(
  { syscalls, fd }: Asked,
  kind: ContainerKind,
  ranges: () => readonly IovaRange[],
  about: About,
): Probed {
  return {
    about,
    tryMap: ({ iova, size }, vaddr) => {
      const bytes = dmaMap.encode({ flags: VFIO_DMA_MAP_FLAG.READ, vaddr, iova, size });
      syscalls.ioctl(fd, VFIO_IOMMU_MAP_DMA, bytes);
    },
    undo: (range) => {
      syscalls.ioctl(fd, VFIO_IOMMU_UNMAP_DMA, dmaUnmap.encode(range));
    },
    ranges: kind === "iommufd" ? ranges : undefined,
  };
}
