import { inert, type PciIdentity } from "../../../src/sim/hw/device-model.js";
import { edu } from "../../../src/sim/hw/edu.js";
import type { MachineDescription, PciDescription } from "../../../src/sim/linux/description.js";
import type { SimulatedKernel } from "../../../src/sim/linux/kernel.js";
import { machineOne, machineOneDescription } from "../../../src/sim/linux/machine-one.js";

const [SMMU] = machineOneDescription().iommus;
const ROOT_PORT: PciIdentity = { vendor: 0x1b36, device: 0x000c, classCode: 0x060400, bridge: true };
const PORT = "0000:00:05.0";

/** Two functions of one device, a physical and a virtual function, and one that no IOMMU translates for. */
export const [ONE, OTHER, PF, VF, BARE] = [
  "0000:03:00.0",
  "0000:03:00.1",
  "0000:04:00.0",
  "0000:04:10.0",
  "0000:05:00.0",
] as const;

function fn(name: string, port: string, rest: Partial<PciDescription> = {}): PciDescription {
  const iommu = SMMU?.name ?? "";
  return { bus: "pci", name, iommu, driver: "vfio-pci", behind: [port], model: edu(), ...rest };
}

/**
 * The laboratory's first machine with a few functions more.
 * @param more functions on the bus of the first two
 */
export function pciMachine(
  changes: Partial<Record<string, Partial<PciDescription>>> = {},
  options: Partial<MachineDescription> = {},
  more = 0,
): SimulatedKernel {
  const port = (name: string): PciDescription =>
    fn(name, "", { behind: [], driver: "pcieport", model: inert(ROOT_PORT) });
  const { iommu: _, ...bare } = fn(BARE, "0000:00:07.0", { driver: "none" });
  const functions = [
    port(PORT),
    fn(ONE, PORT),
    fn(OTHER, PORT),
    ...Array.from({ length: more }, (_, index) => fn(`0000:03:01.${index}`, PORT)),
    port("0000:00:06.0"),
    fn(VF, "0000:00:06.0", { physicalFunction: PF }),
    fn(PF, "0000:00:06.0"),
    port("0000:00:07.0"),
    bare,
  ].map((each) => ({ ...each, ...changes[each.name] }));
  const { devices } = machineOneDescription();
  return machineOne({ iommufd: true, devices: [...devices, ...functions], ...options });
}
