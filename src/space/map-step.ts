import { IospanError } from "../errors.js";
import type { Access } from "../vfio/container.js";
import type { MappingRecord } from "./ledger.js";
import type { Step } from "./steps.js";
import type { MapTarget } from "./strategies/strategy.js";

/** The call that enters a mapping in a target: by its address in the process, or as a part of a file. */
export function mapStep(target: MapTarget, record: MappingRecord, access: Access): Step {
  const { file, address: start } = record.memory;
  if (file === undefined) {
    const mapping = { ...record, access };
    return { now: () => target.map(mapping), later: () => target.mapAsync(mapping) };
  }
  const { iova, size, address } = record;
  const mapping = { fd: file, offset: Number(address - start), iova, size, access };
  const unable = () => mapsNoFiles(target);
  return {
    now: () => (target.mapFile === undefined ? unable() : target.mapFile(mapping)),
    later: () => (target.mapFileAsync === undefined ? unable() : target.mapFileAsync(mapping)),
  };
}

function mapsNoFiles({ devices, iommus }: MapTarget): never {
  throw new IospanError("ERR_IOSPAN_NOT_SUPPORTED", `what ${devices} map in takes no files`, {
    device: devices,
    iommu: iommus,
    hint: 'open the space with { strategy: "iommufd" }',
  });
}
