import type { TopologyDevice } from "../topology/topology.js";

/** What Linux has modules for that reset it (drivers/vfio/platform/reset, module_vfio_reset_handler). */
const HANDLED: readonly string[] = ["calxeda,hb-xgmac", "amd,xgbe-seattle-v1a", "brcm,iproc-flexrm-mbox"];

/** Whether Linux itself comes with a way to reset a platform device. */
export function hasResetHandler({ compatible }: TopologyDevice): boolean {
  return compatible.some((each) => HANDLED.includes(each));
}
