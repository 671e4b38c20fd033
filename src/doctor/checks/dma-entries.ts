import { bytesText } from "../bytes-text.js";
import type { Check, Diagnosis } from "../check.js";
import { failed, noKernel, passed, untold, warned } from "../diagnoses.js";

const PARAMETER = "vfio_iommu_type1.dma_entry_limit";
const FILE = "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit";
/** vfio_iommu_type1.c: U16_MAX. */
const USUAL = 65535;

/** A container takes so many mappings, whatever their size (vfio_iommu_type1.c, vfio_dma_do_map: ENOSPC). */
export const dmaEntries: Check = {
  id: "IOSPAN-DMA-ENTRIES",
  title: "number of mappings",
  run: ({ survey: { kernel } }) => {
    if (kernel === undefined) return [noKernel];
    const { modules, parameters } = kernel.vfio;
    // An iommufd has no such limit.
    if (modules.vfio_iommu_type1 === false) return [];
    const limit = Number(parameters.get(PARAMETER) || Number.NaN);
    if (!Number.isSafeInteger(limit)) return [untold(`${FILE} cannot be read`, { fix: [`cat ${FILE}`] })];
    return [look(limit, kernel.pageSize)];
  },
};

function look(limit: number, pageSize = 4096): Diagnosis {
  const reach = `${limit} for each container: ${bytesText(limit * pageSize)} page by page, ${bytesText(limit * 2 ** 21)} in 2 MiB pieces`;
  if (limit >= USUAL) return passed(reach);
  const details = {
    evidence: [`${FILE}: ${limit}`],
    fix: [`echo ${USUAL} > ${FILE} (counts for containers made from then on)`],
  };
  return limit === 0 ? failed("a container takes no mapping at all", details) : warned(reach, details);
}
