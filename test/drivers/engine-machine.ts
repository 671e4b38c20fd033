import { dualPathEngine } from "../../src/sim/hw/dual-path-engine/dual-path-engine.js";
import type { DeviceDescription, MachineDescription } from "../../src/sim/linux/description.js";
import { SimulatedKernel } from "../../src/sim/linux/kernel.js";
import { machineOneDescription } from "../../src/sim/linux/machine-one.js";

export const FUNCTION = "0000:03:00.0";
export const PORT = "9030000.dma-port";
/** Another engine's port. */
export const OTHER_PORT = "9040000.dma-port";
export const SMMU0 = "smmu3.0x000000000c000000";
export const SMMU1 = "smmu3.0x000000000c020000";

const LINK = { bandwidth: 4e9, latency: 400 };

/**
 * Machine one, with an engine whose function is behind the first SMMU and whose port is behind the second.
 * @param reset whether the kernel can reset the function
 */
export function engineMachine(changes: Partial<MachineDescription> = {}, reset = true): SimulatedKernel {
  const engine = dualPathEngine();
  const common = { msiIsolated: true, link: LINK };
  const devices: readonly DeviceDescription[] = [
    { ...common, bus: "pci", name: FUNCTION, iommu: SMMU0, driver: "vfio-pci", reset, model: engine.function },
    { ...port(PORT, 0x9030000, 0x42), ...common, model: engine.port },
    { ...port(OTHER_PORT, 0x9040000, 0x43), ...common, model: dualPathEngine().port },
  ];
  const description = machineOneDescription({ resetRequired: false, ...changes });
  return new SimulatedKernel({ ...description, devices: [...description.devices, ...devices] });
}

function port(name: string, start: number, streamId: number) {
  return {
    bus: "platform",
    name,
    iommu: SMMU1,
    streamId,
    driver: "vfio-platform",
    compatible: ["iospan,dual-path-engine"],
    resources: [{ start, size: 0x1000 }],
    interrupts: ["level"],
    resetHandler: true,
  } as const;
}
