import { decodeCapabilities, findCapability } from "../abi/capability.js";
import {
  availableMappings,
  iovaRanges,
  type1Info,
  VFIO_IOMMU_INFO,
  VFIO_IOMMU_TYPE1_INFO,
} from "../abi/vfio-container-info.js";
import { type IovaRange, iova as toIova } from "../iova.js";
import type { ContainerKind } from "./container-kind.js";
import { type About, malformed } from "./refusal.js";

/** What a container says of itself. */
export interface ContainerInfo {
  /** Bitmap of the page sizes that every IOMMU behind it supports. */
  readonly pageSizes: bigint;
  /** Where mappings may lie. */
  readonly ranges: readonly IovaRange[];
  /** How many more mappings it takes; undefined where the kernel does not count them: before Linux 5.10, and in an iommufd. */
  readonly available: number | undefined;
}

/** A page of IOVA ranges is some 250 of them; no real machine has more, and a wrong answer must not fill the memory. */
const MOST_BYTES = 2 ** 20;

/**
 * Asks with room for the struct, then again with as much room as the kernel wants; the chain may grow in between.
 * @param ask makes the call with a struct that says how long it is.
 * @throws IospanError `ERR_IOSPAN_MALFORMED_ANSWER` for an answer that makes no sense.
 */
export function readContainerInfo(kind: ContainerKind, ask: (bytes: Uint8Array) => void, about: About): ContainerInfo {
  let bytes = type1Info.encode();
  ask(bytes);
  for (let wanted = type1Info.decode(bytes).argsz; wanted > bytes.length; wanted = type1Info.decode(bytes).argsz) {
    if (wanted > MOST_BYTES) throw malformed(`the container wants ${wanted} bytes to describe itself`, about);
    bytes = type1Info.encode({}, new Uint8Array(wanted - type1Info.size));
    ask(bytes);
  }
  return decode(kind, bytes);
}

function decode(kind: ContainerKind, bytes: Uint8Array): ContainerInfo {
  const { flags, iova_pgsizes, cap_offset } = type1Info.decode(bytes);
  const chain = decodeCapabilities(bytes, (flags & VFIO_IOMMU_INFO.CAPS) === 0 ? 0 : cap_offset);
  const ranges = findCapability(chain, VFIO_IOMMU_TYPE1_INFO.CAP_IOVA_RANGE);
  const available = findCapability(chain, VFIO_IOMMU_TYPE1_INFO.DMA_AVAIL);
  // An iommufd says that there can be 2^32-1 more, however many there are (iommufd_fill_cap_dma_avail).
  const isCounted = available !== undefined && kind === "type1";
  return {
    pageSizes: iova_pgsizes,
    // A kernel too old to tell (before 5.6) lets the mapping itself fail.
    ranges: ranges === undefined ? [{ start: toIova(0), end: toIova(2n ** 64n - 1n) }] : iovaRanges(ranges),
    available: isCounted ? availableMappings(available) : undefined,
  };
}
