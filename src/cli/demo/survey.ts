import { IospanError } from "../../errors.js";
import { hex } from "../../iova.js";
import type { SimulatedMachine } from "../../sim/simulated-machine.js";
import { IoAddressSpace } from "../../space/io-address-space.js";
import type { ExplainedPageSizes } from "../../space/iova-ranges.js";
import type { StrategyName } from "../../space/strategies/strategy.js";
import type { AutoReport, SpaceReport } from "./result.js";

/** What a program learns that opens a space and does nothing with it. */
export interface Survey {
  /** Null where no strategy can. */
  readonly auto: AutoReport | null;
  /** Null where no space can be opened. */
  readonly space: SpaceReport | null;
}

/** Opens spaces over devices, which are bound to VFIO, and closes them. */
export async function survey(machine: SimulatedMachine, names: readonly string[]): Promise<Survey> {
  return {
    auto: await opened(machine, names, "auto", ({ strategy, plan }) => ({ strategy, plan })),
    // Only with a container for each does the kernel tell what each IOMMU has against an address.
    space: await opened(machine, names, "mirrored", spaceReport),
  };
}

async function opened<T>(
  machine: SimulatedMachine,
  names: readonly string[],
  strategy: StrategyName | "auto",
  look: (space: IoAddressSpace) => T,
): Promise<T | null> {
  try {
    await using space = await IoAddressSpace.open(machine, names, { strategy });
    return look(space);
  } catch (error) {
    // The approaches tell why.
    if (error instanceof IospanError) return null;
    throw error;
  }
}

function spaceReport({ granule, iovaRanges, pageSizes }: IoAddressSpace): SpaceReport {
  return {
    granule,
    iovaRanges: iovaRanges.ranges.map(({ start, end }) => ({ start: hex(start), end: hex(end) })),
    removedIovas: iovaRanges.removed.map(({ start, end, by }) => ({ start: hex(start), end: hex(end), by })),
    pageSizes: sizesOf(pageSizes),
    removedPageSizes: pageSizes.removed,
  };
}

function sizesOf({ bitmap }: ExplainedPageSizes): readonly number[] {
  const bits = [...bitmap.toString(2)].reverse();
  return bits.flatMap((bit, index) => (bit === "1" ? 2 ** index : []));
}
