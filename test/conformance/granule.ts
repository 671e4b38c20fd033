import { DmaMemory, type DmaMemoryOptions } from "iospan";
import type { Rig } from "./rig.js";

/** Bytes that IOVA, address and size of a mapping for all devices of a rig are a multiple of. */
export const granuleOf = ({ granule = 4096 }: Pick<Rig, "granule">): number => granule;

/** Memory of so many granules, which can be mapped one by one. */
export function granules(
  { machine, ...rig }: Pick<Rig, "machine" | "granule">,
  count: number,
  options: DmaMemoryOptions = {},
): DmaMemory {
  const granule = granuleOf(rig);
  return DmaMemory.allocate(machine, count * granule, { alignment: granule, ...options });
}
