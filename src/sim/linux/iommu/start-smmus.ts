import { IospanError } from "../../../errors.js";
import type { Clock } from "../../hw/clock.js";
import type { PhysicalMemory } from "../../hw/physical-memory.js";
import { REGISTER_FRAME_SIZE } from "../../hw/smmu/registers.js";
import type { Bugs, IommuDescription, MachineDescription } from "../description.js";
import type { KernelLog } from "../kernel-log.js";
import type { PhysicalLayout } from "../physical-layout.js";
import type { Profile } from "../profile.js";
import { IdAllocator } from "./id-allocator.js";
import { Smmu, type SmmuBugs } from "./smmu.js";
import { SmmuEvents } from "./smmu-events.js";
import { buildSmmu } from "./smmu-hardware.js";

/** Where QEMU's virt machine has its SMMUs' registers. */
const SMMU_REGISTERS = 0xc00_0000;

/** The machine and the kernel around the SMMUs. */
export interface SmmuSurroundings {
  readonly profile: Profile;
  readonly clock: Clock;
  readonly log: KernelLog;
  readonly physical: PhysicalMemory;
  readonly layout: PhysicalLayout;
}

/**
 * Builds the SMMUs of a machine and starts their drivers.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for SMMUs that cannot be, and bugs of SMMUs that are not there.
 */
export function startSmmus({ iommus, bugs = {} }: MachineDescription, surroundings: SmmuSurroundings): readonly Smmu[] {
  checkBugs(bugs, iommus);
  const { log, profile, clock, physical, layout } = surroundings;
  const kernel = { log, profile, physical, events: new SmmuEvents(log, profile, clock), asids: new IdAllocator() };
  return iommus.map((description, index) => {
    const { name } = description;
    const address = description.registers ?? layout.place(REGISTER_FRAME_SIZE, SMMU_REGISTERS, name);
    let driver: Smmu | undefined;
    const hardware = buildSmmu(description, address, physical, (line) => driver?.interrupt(line));
    driver = new Smmu(description, index, hardware, kernel, bugsOf(bugs, name));
    return driver;
  });
}

function bugsOf({ mapSkips, unmapKeepsTlb, attachesNowhere = false }: Bugs, name: string): SmmuBugs {
  return { mapSkips: mapSkips === name, unmapKeepsTlb: unmapKeepsTlb === name, attachesNowhere };
}

function checkBugs({ mapSkips, unmapKeepsTlb }: Bugs, iommus: readonly IommuDescription[]): void {
  const known = iommus.map(({ name }) => name);
  for (const name of [mapSkips, unmapKeepsTlb]) {
    if (name === undefined || known.includes(name)) continue;
    throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `a bug is asked for in ${name}, which the machine lacks`, {
      iommu: name,
      hint: `its IOMMUs are ${known.join(", ")}`,
    });
  }
}
