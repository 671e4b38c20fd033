import type { IommuDomain } from "../iommu/iommu.js";
import type { IommuGroup } from "../iommu/iommu-group.js";
import { MsiCookie } from "../iommu/msi-cookie.js";
import { refusalOf, refuse } from "../refusal.js";
import type { IovaList, Range } from "./iova-list.js";
import { dropDma } from "./pinning.js";
import { findDma, type Type1Domain, type Type1State } from "./state.js";

/**
 * Puts a group into a container (vfio_iommu_type1.c, vfio_iommu_type1_attach_group): into a domain that is there already, if
 * that domain's IOMMU takes it, else into one of its own that gets all mappings. A refusal leaves the container as it was.
 */
export function attachGroup(state: Type1State, group: IommuGroup): void {
  if (state.vaddrInvalid > 0) refuse("EBUSY");
  if (state.domains.some(({ groups }) => groups.includes(group))) refuse("EINVAL");
  const first = group.members[0] ?? refuse("ENODEV");
  const own = first.iommu.allocateDomain(first);
  try {
    group.attach(own);
    try {
      const ranges = join(state, group, own);
      if (!shareDomain(state, group, own)) addDomain(state, group, own);
      state.ranges.replaceBy(ranges);
    } catch (error) {
      group.detach();
      throw error;
    }
  } catch (error) {
    own.free();
    throw error;
  }
}

/** The ranges with the group in the container; refuses where existing mappings would not fit. */
function join(state: Type1State, group: IommuGroup, own: IommuDomain): IovaList {
  if (apertureConflicts(state, own.aperture)) refuse("EINVAL");
  const reserved = group.reservedRegions();
  for (const { start, end, type } of reserved) {
    if (type !== "direct-relaxable" && findDma(state, start, end - start + 1) !== undefined) refuse("EINVAL");
  }
  const ranges = state.ranges.copy();
  ranges.shrink(own.aperture);
  ranges.exclude(reserved);
  if (ranges.isEmpty) refuse("EINVAL");
  requireIsolatedInterrupts(state, group);
  return ranges;
}

function apertureConflicts(state: Type1State, { start, end }: Range): boolean {
  const { span } = state.ranges;
  if (span === undefined) return false;
  if (start > span.end || end < span.start) return true;
  const below = start > span.start && findDma(state, span.start, start - span.start) !== undefined;
  const above = end < span.end && findDma(state, end + 1, span.end - end) !== undefined;
  return below || above;
}

function requireIsolatedInterrupts({ kernel }: Type1State, group: IommuGroup): void {
  if (kernel.parameters.allowUnsafeInterrupts || group.members.every(({ msiIsolated }) => msiIsolated)) return;
  kernel.log.print(
    'vfio_iommu_type1_attach_group: No interrupt remapping support.  Use the module param "allow_unsafe_interrupts" to enable VFIO IOMMU support on this platform',
  );
  refuse("EPERM");
}

/** Tries the domains that are there, newest first. Whatever a driver answers, the next one is tried. */
function shareDomain(state: Type1State, group: IommuGroup, own: IommuDomain): boolean {
  for (const candidate of state.domains) {
    if (!isCandidate(candidate.domain, own)) continue;
    group.detach();
    if (refusalOf(() => group.attach(candidate.domain)) === undefined) {
      own.free();
      candidate.groups.push(group);
      return true;
    }
    group.attach(own);
  }
  return false;
}

function isCandidate(domain: IommuDomain, own: IommuDomain): boolean {
  return domain.iommu.operations === own.iommu.operations && domain.enforcesCoherency === own.enforcesCoherency;
}

function addDomain(state: Type1State, group: IommuGroup, own: IommuDomain): void {
  replay(state, own);
  const window = group.doorbellWindow;
  if (window !== undefined) own.msiCookie = new MsiCookie(window, state.kernel.physical.pageSize);
  state.domains.unshift({ domain: own, groups: [group] });
  updatePageSizes(state);
}

/** Maps in a new domain what the newest one has: pages are pinned and counted already (vfio_iommu_replay). */
function replay(state: Type1State, own: IommuDomain): void {
  const source = state.domains[0]?.domain;
  try {
    for (const { iova, size, physicalAddress } of source?.mappings() ?? []) {
      for (const { start, end, value: dma } of state.dmas.within(iova, iova + size)) {
        own.map(start, physicalAddress + start - iova, end - start, dma.protection);
      }
    }
  } catch (error) {
    for (const { value: dma } of state.dmas) own.unmap(dma.iova, dma.size);
    throw error;
  }
}

/** Takes a group out (vfio_iommu_type1_detach_group). With the last one go all mappings. */
export function detachGroup(state: Type1State, group: IommuGroup): void {
  const ranges = state.ranges.copy();
  const holder = state.domains.find(({ groups }) => groups.includes(group));
  if (holder !== undefined) {
    group.detach();
    holder.groups.splice(holder.groups.indexOf(group), 1);
    if (holder.groups.length === 0) removeDomain(state, holder, ranges);
  }
  refreshReserved(state, ranges);
  state.ranges.replaceBy(ranges);
}

function removeDomain(state: Type1State, holder: Type1Domain, ranges: IovaList): void {
  if (state.domains.length === 1) for (const { value: dma } of [...state.dmas]) dropDma(state, dma);
  holder.domain.free();
  state.domains.splice(state.domains.indexOf(holder), 1);
  ranges.widen(commonAperture(state));
  updatePageSizes(state);
}

function commonAperture({ domains }: Type1State): Range {
  return {
    start: Math.max(0, ...domains.map(({ domain }) => domain.aperture.start)),
    end: Math.min(2 ** 64, ...domains.map(({ domain }) => domain.aperture.end)),
  };
}

/** Cuts the holes anew for the groups that are left (vfio_iommu_resv_refresh). */
function refreshReserved({ domains }: Type1State, ranges: IovaList): void {
  const { span } = ranges;
  if (span === undefined) return;
  ranges.clear();
  ranges.shrink(span);
  ranges.exclude(domains.flatMap(({ groups }) => groups.flatMap((group) => group.reservedRegions())));
}

/** What all domains can, smaller pages than the processor's as one of its own (vfio_update_pgsize_bitmap). */
function updatePageSizes(state: Type1State): void {
  const pageSize = BigInt(state.kernel.physical.pageSize);
  const common = state.domains.reduce((bitmap, { domain }) => bitmap & domain.pageSizes, 2n ** 64n - 1n);
  const small = common & (pageSize - 1n);
  state.pageSizes = small === 0n ? common : (common - small) | pageSize;
}
