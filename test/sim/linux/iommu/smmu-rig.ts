import { Clock } from "../../../../src/sim/hw/clock.js";
import { PhysicalMemory, type RamBank } from "../../../../src/sim/hw/physical-memory.js";
import { COMMAND_SIZE, type CommandName, commands } from "../../../../src/sim/hw/smmu/commands.js";
import { registers } from "../../../../src/sim/hw/smmu/registers.js";
import { type SmmuFeatures, type SmmuInterrupt, SmmuV3 } from "../../../../src/sim/hw/smmu/smmu.js";
import type { IommuDescription } from "../../../../src/sim/linux/description.js";
import { IdAllocator } from "../../../../src/sim/linux/iommu/id-allocator.js";
import type { DmaMaster, IommuDomain } from "../../../../src/sim/linux/iommu/iommu.js";
import { Smmu, type SmmuBugs } from "../../../../src/sim/linux/iommu/smmu.js";
import { SmmuEvents } from "../../../../src/sim/linux/iommu/smmu-events.js";
import { buildSmmu } from "../../../../src/sim/linux/iommu/smmu-hardware.js";
import { KernelLog } from "../../../../src/sim/linux/kernel-log.js";
import { profileOf } from "../../../../src/sim/linux/profile.js";

export interface RigOptions {
  readonly iommu?: Partial<IommuDescription>;
  readonly release?: string;
  readonly cpuPageSize?: number;
  readonly bugs?: Partial<SmmuBugs>;
  readonly banks?: readonly RamBank[];
  readonly asids?: IdAllocator;
  /** Hardware that no description gives. */
  readonly features?: Partial<SmmuFeatures>;
}

export const READ_WRITE = { read: true, write: true } as const;

/** One SMMU and its driver, with nothing of Linux around them but a log. */
export class SmmuRig {
  readonly physical: PhysicalMemory;
  readonly log = new KernelLog();
  readonly clock = new Clock();
  readonly hardware: SmmuV3;
  readonly smmu: Smmu;
  /** Interrupts that nobody handles before {@link handleInterrupts}; undefined: they are handled at once. */
  held: SmmuInterrupt[] | undefined;

  constructor(options: RigOptions = {}) {
    const { iommu = {}, release = "7.3.4", cpuPageSize = 4096, bugs = {}, banks, asids, features } = options;
    this.physical = new PhysicalMemory(cpuPageSize, banks);
    const profile = profileOf(release);
    const description = { name: "smmu3.0x000000000c000000", ...iommu };
    let driver: Smmu | undefined;
    const interrupt = (line: SmmuInterrupt) => {
      if (this.held === undefined) driver?.interrupt(line);
      else this.held.push(line);
    };
    this.hardware =
      features === undefined
        ? buildSmmu(description, 0xc000000, this.physical, interrupt)
        : new SmmuV3(features, { memory: this.physical, interrupt });
    const events = new SmmuEvents(this.log, profile, this.clock);
    const kernel = { log: this.log, profile, physical: this.physical, events, asids: asids ?? new IdAllocator() };
    const right = { mapSkips: false, unmapKeepsTlb: false, attachesNowhere: false };
    driver = new Smmu(description, 0, this.hardware, kernel, { ...right, ...bugs });
    this.smmu = driver;
  }

  handleInterrupts(): void {
    const lines = this.held ?? [];
    this.held = undefined;
    for (const line of lines) this.smmu.interrupt(line);
  }

  /** A device that is known to the driver. */
  device(streamId: number, name = "0000:01:00.0"): DmaMaster {
    const master = { name, bus: "pci", driverName: "vfio-pci", streamId, reserved: [] };
    this.smmu.probe(master);
    return master;
  }

  /** A device in a domain of its own. */
  attached(streamId: number): { readonly master: DmaMaster; readonly domain: IommuDomain } {
    const master = this.device(streamId);
    const domain = this.smmu.allocateDomain();
    this.smmu.attach(master, domain);
    return { master, domain };
  }

  /** Commands that the driver gives while `action` runs, as text. */
  trace(action: () => void): readonly string[] {
    const before = this.#prod;
    action();
    const { LOG2SIZE, ADDR } = registers.CMDQ_BASE.decode(this.hardware.read64(registers.CMDQ_BASE.offset));
    const list: string[] = [];
    for (let at = before; at !== this.#prod; at = (at + 1) % 2 ** (LOG2SIZE + 1)) {
      const address = ADDR + (at % 2 ** LOG2SIZE) * COMMAND_SIZE;
      list.push(show([this.physical.read64(address) ?? 0n, this.physical.read64(address + 8) ?? 0n]));
    }
    return list;
  }

  get #prod(): number {
    return registers.CMDQ_PROD.decode(this.hardware.read32(registers.CMDQ_PROD.offset)).WR;
  }
}

/** `TLBI_NH_VA ASID=1 Address=0x1000`: fields that are 0 are left out. */
function show(words: readonly bigint[]): string {
  const opcode = Number((words[0] ?? 0n) & 0xffn);
  const [name, layout] = Object.entries(commands).find(([, command]) => command.opcode === opcode)!;
  if (name === "SYNC") return "SYNC";
  const fields = Object.entries(layout.decode(words) as Record<string, number | bigint>)
    .filter(([field, value]) => field !== "Opcode" && Number(value) !== 0)
    .map(([field, value]) => `${field}=0x${value.toString(16)}`);
  return [name as CommandName, ...fields].join(" ");
}
