import { topologyOfMachine } from "../../survey/machine-topology.js";
import { mergeTopologies } from "../../topology/merge.js";
import type { Topology } from "../../topology/topology.js";
import type { SourceFlags } from "../machine-source.js";
import { namedFirmware } from "./named-sources.js";
import { openMachine } from "./open-machine.js";

/**
 * What the sources that were named, or this machine, say of IOMMUs and devices, as one topology. With a sysfs goes what
 * firmware it has in it, unless other firmware was named.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for sources that do not go together or cannot be read.
 */
export function readTopology(flags: SourceFlags): Topology {
  const named = namedFirmware(flags);
  const machine = openMachine(flags);
  if (machine === undefined) return mergeTopologies(named);
  return topologyOfMachine(machine.files, { name: machine.name, firmware: named.length > 0 ? named : undefined });
}
