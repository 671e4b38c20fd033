import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Machine, StrategyName } from "iospan";
import { gpioRegisters } from "../../test/conformance/port-registers.js";
import type { PlatformRig, Rig } from "../../test/conformance/rig.js";
import { openVfioFiles } from "./open-files.js";

/** The devices of a machine (`lab/machines.ts`), by the parts they play in the scenarios. */
export interface Cast {
  /** An edu behind the first SMMU, and another behind the second. */
  readonly first: string;
  readonly second: string;
  /** One more edu behind the first SMMU. */
  readonly beside: string;
  /** One side of a dual-port NVMe drive behind the first SMMU, and the other behind the second. */
  readonly neighbour: string;
  readonly stranger: string;
  /** Two functions of one device, in one group. */
  readonly pair: readonly [string, string];
  /** A network controller with virtual functions. */
  readonly physicalFunction: string;
  /** On the SoC's own bus. */
  readonly port?: string;
}

const TWO_PCIE_PATHS: Cast = {
  first: "0000:02:00.0",
  second: "0000:22:00.0",
  beside: "0000:05:00.0",
  neighbour: "0000:01:00.0",
  stranger: "0000:21:00.0",
  pair: ["0000:03:00.0", "0000:03:00.1"],
  physicalFunction: "0000:04:00.0",
};

const CASTS: Readonly<Record<string, Cast>> = {
  "two-pcie-paths": TWO_PCIE_PATHS,
  "stage-2": TWO_PCIE_PATHS,
  platform: { ...TWO_PCIE_PATHS, second: "0001:22:00.0", stranger: "0001:21:00.0", port: "9030000.dma-port" },
};

/** The devices of the machine that the lab booted. */
export function castOf(machine: string | undefined): Cast {
  const cast = CASTS[machine ?? ""];
  if (machine === undefined) throw new Error("this runs in the lab's guest only: npm run lab");
  if (cast === undefined) throw new Error(`no devices are known for the machine "${machine}" (lab/guest/rigs.ts)`);
  return cast;
}

const run = promisify(execFile);

/** By a process of its own, since the kernel keeps whoever asks waiting until the device is given back. */
async function unbind(name: string): Promise<void> {
  await run("sh", ["-c", 'echo "$1" >"/sys/bus/pci/devices/$1/driver/unbind"', "sh", name]);
}

/** What the scenarios run on, with one strategy. With `single-domain` all devices are behind the first SMMU. */
export function rigOf(machine: Machine, cast: Cast, strategy: StrategyName, depth: Rig["depth"]): Rig {
  const { first, neighbour, stranger, pair } = cast;
  const { pageSize } = machine.syscalls;
  const oneIommu = strategy === "single-domain";
  return {
    machine,
    strategy,
    first,
    second: oneIommu ? cast.beside : cast.second,
    neighbour,
    stranger,
    pair,
    oneIommu,
    ...(pageSize > 4096 && { granule: pageSize }),
    depth,
    emulated: true,
    unbind,
    openFiles: () => openVfioFiles(machine),
  };
}

/** The same with the machine's device on the SoC's own bus. */
export function platformRigOf(rig: Rig, port: string): PlatformRig {
  return { ...rig, port, registers: gpioRegisters, readOnlyFrame: false };
}
