import { type MachineOneOptions, machineOne } from "../../src/sim/linux/machine-one.js";
import { IoAddressSpace } from "../../src/space/io-address-space.js";
import type { StrategyName } from "../../src/space/strategies/strategy.js";
import type { Syscalls } from "../../src/syscalls/syscalls.js";

/** The DMA engines of the lab's machine, behind an SMMU each. */
export const EDUS = ["0000:02:00.0", "0000:22:00.0"] as const;

/** The lab's machine on a kernel with everything. */
export const withIommufd = (options: MachineOneOptions = {}) => machineOne({ iommufd: true, ...options });

export const open = (syscalls: Syscalls, strategy?: StrategyName | "auto") =>
  IoAddressSpace.open({ syscalls }, EDUS, { strategy });

export const planOf = async (syscalls: Syscalls, strategy?: StrategyName | "auto") => {
  await using space = await open(syscalls, strategy);
  return { strategy: space.strategy, plan: space.plan };
};

/** What is open, pinned and counted. */
export const leftOf = (kernel: ReturnType<typeof machineOne>) => {
  const { openFds, containers, iommufds, pinnedPages, lockedBytes } = kernel;
  return { openFds, containers, iommufds, pinnedPages, lockedBytes };
};
export const NOTHING = { openFds: [], containers: [], iommufds: [], pinnedPages: 0, lockedBytes: 0 };
