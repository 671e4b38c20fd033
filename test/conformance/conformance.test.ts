import { bindToVfio, iommufdStrategyNames, type StrategyName, strategyNames } from "iospan";
import { describe, it } from "vitest";
import { edu } from "../../src/sim/hw/edu.js";
import type { PlatformDescription } from "../../src/sim/linux/description.js";
import { type MachineOneOptions, machineOne, machineOneDescription } from "../../src/sim/linux/machine-one.js";
import { mechanismOf } from "./mechanism.js";
import { platform } from "./platform.js";
import type { PlatformRig, Rig, Scenario } from "./rig.js";
import { scenarios } from "./scenarios.js";

/** With one domain for all devices they have to be behind one SMMU. */
function whereItWorks(strategy: StrategyName, options: MachineOneOptions): MachineOneOptions {
  const { iommus, devices } = { ...machineOneDescription(), ...options };
  const [first] = iommus;
  if (strategy !== "single-domain" || first === undefined) return options;
  return { ...options, iommus: [first], devices: devices.map((device) => ({ ...device, iommu: first.name })) };
}

/** The laboratory's first machine, simulated: what lab/guest/prove.ts runs on real kernels runs here. */
function simulatedRig(strategy: StrategyName, options: MachineOneOptions = {}): Rig {
  const iommufd = mechanismOf(strategy) === "iommufd";
  const kernel = machineOne({ hugepages2M: 8, iommufd, ...whereItWorks(strategy, options) });
  const machine = { syscalls: kernel };
  bindToVfio(machine, "0000:01:00.0");
  return {
    machine,
    strategy,
    oneIommu: strategy === "single-domain",
    first: "0000:02:00.0",
    second: "0000:22:00.0",
    neighbour: "0000:01:00.0",
    stranger: "0000:21:00.0",
    depth: "full",
    emulated: false,
    openFiles: () => kernel.openFds.map(({ path }) => path).sort(),
  };
}

/** The same with the article's other kind of interface: a port on the SoC's own bus, which QEMU has not. */
function platformRig(strategy: StrategyName): PlatformRig {
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
    ...simulatedRig(strategy, { devices: [...devices, port], resetRequired: false }),
    port: port.name,
  };
}

function runAll<R extends Rig>(list: readonly Scenario<R>[], makeRig: () => R): void {
  for (const { name, run, skip } of list) {
    it(name, async (context) => {
      const rig = makeRig();
      const reason = skip?.(rig);
      if (reason !== undefined) context.skip(reason);
      await run(rig);
    });
  }
}

describe.each([...strategyNames, ...iommufdStrategyNames])(
  "with the strategy %s on a simulated machine",
  (strategy) => {
    for (const [subject, list] of Object.entries(scenarios)) {
      describe(subject, () => runAll(list, () => simulatedRig(strategy)));
    }
    describe("platform", () => runAll(platform, () => platformRig(strategy)));
  },
);
