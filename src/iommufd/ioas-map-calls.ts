import type { Ioctl } from "../abi/ioctl.js";
import {
  IOMMU_IOAS_COPY,
  IOMMU_IOAS_MAP,
  IOMMU_IOAS_MAP_FILE,
  ioasCopy,
  ioasMap,
  ioasMapFile,
} from "../abi/iommufd-ioas.js";
import type { DmaMapping } from "../vfio/container.js";
import { ANYWHERE, type CopiedMapping, FIXED, type FileMapping, type UnplacedMapping } from "./io-mapping.js";
import {
  type Circumstances,
  copyRefused,
  ioasMapRefused,
  mapAnywhereRefused,
  mapFileRefused,
} from "./ioas-refusals.js";

/** A call that maps. */
export interface MapCall {
  readonly call: Ioctl;
  readonly bytes: Uint8Array;
  /** Makes the error of a refusal. */
  explain(error: unknown, circumstances: Circumstances): unknown;
}

/** Maps memory of the process at an IOVA of the caller's. */
export function mapCall(ioas_id: number, mapping: DmaMapping): MapCall {
  const { iova, address: user_va, size: length, access } = mapping;
  return {
    call: IOMMU_IOAS_MAP,
    bytes: ioasMap.encode({ ioas_id, flags: FIXED[access], user_va, iova, length }),
    explain: (error, circumstances) => ioasMapRefused(error, mapping, circumstances),
  };
}

/** Maps memory of the process where the kernel likes, which writes to `bytes` where that is. */
export function mapAnywhereCall(ioas_id: number, memory: UnplacedMapping): MapCall {
  const { address: user_va, size: length, access } = memory;
  return {
    call: IOMMU_IOAS_MAP,
    bytes: ioasMap.encode({ ioas_id, flags: ANYWHERE[access], user_va, length }),
    explain: (error, circumstances) => mapAnywhereRefused(error, memory, circumstances),
  };
}

/** Maps a part of a file. */
export function mapFileCall(ioas_id: number, mapping: FileMapping): MapCall {
  const { fd, offset: start, iova, size: length, access } = mapping;
  return {
    call: IOMMU_IOAS_MAP_FILE,
    bytes: ioasMapFile.encode({ ioas_id, flags: FIXED[access], fd, start, iova, length }),
    explain: (error, circumstances) => mapFileRefused(error, mapping, circumstances),
  };
}

/** Maps what another address space has mapped. */
export function copyCall(src_ioas_id: number, dst_ioas_id: number, mapping: CopiedMapping): MapCall {
  const { from: src_iova, iova: dst_iova, size: length, access } = mapping;
  return {
    call: IOMMU_IOAS_COPY,
    bytes: ioasCopy.encode({ src_ioas_id, dst_ioas_id, flags: FIXED[access], src_iova, dst_iova, length }),
    explain: (error, circumstances) => copyRefused(error, mapping, circumstances),
  };
}
