import { bindToVfio, type StrategyName } from "iospan";
import { inert } from "../../src/sim/hw/device-model.js";
import { edu } from "../../src/sim/hw/edu.js";
import type { PlatformDescription } from "../../src/sim/linux/description.js";
import { type MachineOneOptions, machineOne, machineOneDescription } from "../../src/sim/linux/machine-one.js";
import { mechanismOf } from "./mechanism.js";
import { eduRegisters } from "./port-registers.js";
import type { PlatformRig, Rig } from "./rig.js";

/** With one domain for all devices they have to be behind one SMMU. */
function whereItWorks(strategy: StrategyName, options: MachineOneOptions): MachineOneOptions {
  const { iommus, devices } = { ...machineOneDescription(), ...options };
  const [first] = iommus;
  if (strategy !== "single-domain" || first === undefined) return options;
  return { ...options, iommus: [first], devices: devices.map((device) => ({ ...device, iommu: first.name })) };
}

/** Behind the first SMMU a root port more, with one device of two functions, which have no reset of their own. */
function withPair(options: MachineOneOptions): MachineOneOptions {
  const { iommus, devices } = { ...machineOneDescription(), ...options };
  const common = { bus: "pci", ...(iommus[0] && { iommu: iommus[0].name }) } as const;
  const fn = { ...common, behind: ["0000:00:05.0"], group: 50, reset: false, model: edu() } as const;
  const bridge = { vendor: 0x1b36, device: 0x000c, classCode: 0x060400, bridge: true };
  const port = { ...common, name: "0000:00:05.0", driver: "pcieport", model: inert(bridge) };
  return {
    ...options,
    devices: [...devices, port, { ...fn, name: "0000:03:00.0" }, { ...fn, name: "0000:03:00.1" }],
  };
}

/** The laboratory's first machine, simulated: what lab/guest/prove.ts runs on real kernels runs here. */
export function simulatedRig(strategy: StrategyName, options: MachineOneOptions = {}): Rig {
  const { container = "type1" } = options;
  const iommufd = mechanismOf(strategy) === "iommufd" || container !== "type1";
  const kernel = machineOne({ hugepages2M: 8, iommufd, ...whereItWorks(strategy, withPair(options)) });
  const machine = { syscalls: kernel };
  bindToVfio(machine, "0000:01:00.0");
  return {
    machine,
    strategy,
    compatContainer: container !== "type1",
    oneIommu: strategy === "single-domain",
    first: "0000:02:00.0",
    second: "0000:22:00.0",
    neighbour: "0000:01:00.0",
    stranger: "0000:21:00.0",
    pair: ["0000:03:00.0", "0000:03:00.1"],
    depth: "full",
    emulated: false,
    wait: async (milliseconds) => kernel.clock.advance(milliseconds),
    unbind: (name) => kernel.unbind(name),
    openFiles: () => kernel.openFds.map(({ path }) => path).sort(),
  };
}

/** The same with the article's other kind of interface: a port on the SoC's own bus, which QEMU has not. */
export function platformRig(strategy: StrategyName, options: MachineOneOptions = {}): PlatformRig {
  const port: PlatformDescription = {
    bus: "platform",
    name: "9030000.dma-port",
    iommu: "smmu3.0x000000000c020000",
    streamId: 0x42,
    driver: "vfio-platform",
    compatible: ["example,dual-path-dma-port"],
    resources: [
      { start: 0x9030000, size: 0x1000 },
      { start: 0x9031000, size: 0x800 },
      { start: 0x9032000, size: 0x1000, readOnly: true },
    ],
    interrupts: ["level", "edge"],
    msiIsolated: true,
    model: edu(),
  };
  const { devices } = machineOneDescription();
  return {
    ...simulatedRig(strategy, { ...options, devices: [...devices, port], resetRequired: false }),
    port: port.name,
    registers: eduRegisters,
  };
}
