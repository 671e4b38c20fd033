import { IospanError } from "../errors.js";
import {
  contains,
  type ExplainedIovaRanges,
  type ExplainedPageSizes,
  explainRanges,
  formatRange,
  intersectPageSizes,
  smallestPageSize,
} from "./iova-ranges.js";
import { type MappingRecord, rangeOf } from "./ledger.js";
import type { TargetInfo } from "./strategies/strategy.js";

/** What mappings must keep to so that every IOMMU of a space can have them. */
export interface SpaceLimits {
  readonly iovaRanges: ExplainedIovaRanges;
  readonly pageSizes: ExplainedPageSizes;
  /**
   * Bytes that every mapping's IOVA, address and size are a multiple of: the largest of the IOMMUs' smallest pages.
   * So two IOMMUs without any page size in common, 4 KiB only and 64 KiB only, still share mappings of 64 KiB.
   */
  readonly granule: number;
}

/** The limits of one IOMMU or several behind one target. */
export interface LimitSource {
  readonly iommus: string;
  readonly info: TargetInfo;
}

/** The intersection over all IOMMUs, with who removed what. */
export function intersectLimits(sources: readonly LimitSource[], pageSize: number): SpaceLimits {
  const iovaRanges = explainRanges(sources.map(({ iommus, info }) => ({ source: iommus, ranges: info.ranges })));
  const pageSizes = intersectPageSizes(sources.map(({ iommus, info }) => ({ source: iommus, bitmap: info.pageSizes })));
  const smallest = sources.map(({ info }) => smallestPageSize(info.pageSizes) ?? pageSize);
  return { iovaRanges, pageSizes, granule: Math.max(pageSize, ...smallest) };
}

/**
 * Checks that what is mapped may stay mapped under other limits.
 * @throws IospanError `ERR_IOSPAN_MAP_RANGE` or `ERR_IOSPAN_MAP_ALIGNMENT` naming a mapping that may not.
 */
export function checkWithinLimits(records: Iterable<MappingRecord>, limits: SpaceLimits, device: string): void {
  for (const record of records) {
    const name = `the mapping at ${formatRange(rangeOf(record))}`;
    if (!contains(limits.iovaRanges.ranges, record.iova, record.size)) {
      throw new IospanError("ERR_IOSPAN_MAP_RANGE", `${name} is not valid for ${device}'s IOMMU`, {
        device,
        hint: "unmap it and map it elsewhere before attaching, or attach all devices before mapping",
      });
    }
    const granule = BigInt(limits.granule);
    if ((record.iova | record.address | BigInt(record.size)) % granule !== 0n) {
      throw new IospanError("ERR_IOSPAN_MAP_ALIGNMENT", `${name} does not consist of ${device}'s IOMMU's pages`, {
        device,
        hint: `its smallest page is ${limits.granule} bytes; attach all devices before mapping`,
      });
    }
  }
}
