import { capabilityHeader } from "../../../abi/capability.js";
import { encodeArray } from "../../../abi/codec.js";
import {
  dmaAvailCapability,
  iovaRange,
  iovaRangeCapability,
  migrationCapability,
  type1Info,
  VFIO_IOMMU_INFO,
  VFIO_IOMMU_TYPE1_INFO,
} from "../../../abi/vfio-container-info.js";
import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import { copyOut, readStruct } from "../files/user-argument.js";
import { refuse } from "../refusal.js";
import { MOST_BITMAP_BYTES } from "./bitmap.js";
import { smallestPage, type Type1State } from "./state.js";

/** VFIO_IOMMU_GET_INFO (vfio_iommu_type1_get_info). Too small a buffer is told the size it takes, and no error. */
export function getInfo(state: Type1State, argument: IoctlArgument): number {
  const least = type1Info.endOf("iova_pgsizes");
  const { argsz } = readStruct(type1Info, argument, least);
  if (argsz < least) refuse("EINVAL");
  const flags = VFIO_IOMMU_INFO.PGSIZES | VFIO_IOMMU_INFO.CAPS;
  const chain = buildChain(capabilities(state), state.kernel.profile.alignedCapabilities);
  const fits = argsz >= type1Info.size + chain.length;
  const header = type1Info.encode({
    argsz: fits ? argsz : type1Info.size + chain.length,
    flags,
    iova_pgsizes: state.pageSizes,
    cap_offset: fits ? type1Info.size : 0,
  });
  if (fits) copyOut(argument, chain, type1Info.size);
  // cap_offset came later than the rest: programs that do not know it do not get it.
  copyOut(
    argument,
    header.subarray(0, argsz >= type1Info.endOf("cap_offset") ? Math.min(argsz, type1Info.size) : least),
  );
  return 0;
}

/** The capabilities in the kernel's order, their `next` still open. */
function capabilities(state: Type1State): readonly Uint8Array[] {
  const { ranges } = state.ranges;
  const header = (id: number) => ({ id, version: 1, next: 0 });
  const migration = migrationCapability.encode({
    header: header(VFIO_IOMMU_TYPE1_INFO.CAP_MIGRATION),
    pgsize_bitmap: smallestPage(state),
    max_dirty_bitmap_size: MOST_BITMAP_BYTES,
  });
  const available = dmaAvailCapability.encode({
    header: header(VFIO_IOMMU_TYPE1_INFO.DMA_AVAIL),
    avail: state.available,
  });
  const allowed = iovaRangeCapability.encode(
    { header: header(VFIO_IOMMU_TYPE1_INFO.CAP_IOVA_RANGE), nr_iovas: ranges.length },
    encodeArray(iovaRange, ranges),
  );
  return [migration, available, allowed];
}

/** Puts capabilities behind one another, each pointing to the next (drivers/vfio/vfio_main.c, vfio_info_cap_add). */
function buildChain(parts: readonly Uint8Array[], aligned: boolean): Uint8Array {
  const lengths = parts.map(({ length }) => (aligned ? Math.ceil(length / 8) * 8 : length));
  const chain = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0));
  let at = 0;
  for (const [index, part] of parts.entries()) {
    chain.set(part, at);
    const next = at + (lengths[index] ?? 0);
    if (index < parts.length - 1) capabilityHeader.patch(chain, at, { next: type1Info.size + next });
    at = next;
  }
  return chain;
}
