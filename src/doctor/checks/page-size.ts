import { intersectPageSizes, pageSizes, smallestPageSize } from "../../space/iova-ranges.js";
import { bytesText } from "../bytes-text.js";
import type { Check, Diagnosis, Patient } from "../check.js";
import { askKernel, noKernel, passed, untold, warned } from "../diagnoses.js";
import { examinedGroups } from "../examined-group.js";

/** Mappings are multiples of the largest of the IOMMUs' smallest pages. */
export const pageSize: Check = {
  id: "IOSPAN-PAGE-SIZE",
  title: "page sizes of the IOMMUs",
  run: (patient) => {
    const groups = examinedGroups(patient).filter(({ noiommu }) => !noiommu);
    if (groups.length === 0) return [];
    const { kernel } = patient.survey;
    if (kernel === undefined) return [noKernel];
    const sources = groups.flatMap(({ iommu, facts }) => {
      const answer = facts?.answer;
      return answer?.asked === "answered" ? [{ source: iommu, bitmap: answer.pageSizes }] : [];
    });
    if (sources.length < groups.length) {
      return [
        untold("the kernel tells them once a group is opened", {
          fix: [askKernel],
        }),
      ];
    }
    return [look(sources, kernel)];
  },
};

type Sources = Parameters<typeof intersectPageSizes>[0];

function look(sources: Sources, { pageSize: page = 4096 }: NonNullable<Patient["survey"]["kernel"]>): Diagnosis {
  const { bitmap } = intersectPageSizes(sources);
  const smallest = sources.map((source) => ({ ...source, size: smallestPageSize(source.bitmap) ?? page }));
  const granule = Math.max(page, ...smallest.map(({ size }) => size));
  const evidence = sources.map((source) => `${source.source}: ${pageSizes(source.bitmap).map(bytesText).join(", ")}`);
  const fix = [
    `map multiples of ${bytesText(granule)}, of memory that is contiguous in such pieces: reserved huge pages`,
  ];
  if (granule > page) {
    return warned(
      `mappings are multiples of ${bytesText(granule)}, more than the processor's pages (${bytesText(page)})`,
      { evidence, fix },
    );
  }
  if (bitmap === 0n) return warned("the IOMMUs have no page size in common", { evidence, fix });
  return passed(`${pageSizes(bitmap).map(bytesText).join(", ")} on all`);
}
