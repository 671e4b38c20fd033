import { describe, expect, it } from "vitest";
import { PhysicalMemory } from "../../../../src/sim/hw/physical-memory.js";
import { registers } from "../../../../src/sim/hw/smmu/registers.js";
import { SmmuV3 } from "../../../../src/sim/hw/smmu/smmu.js";
import { CoherentMemory } from "../../../../src/sim/linux/iommu/coherent-memory.js";
import { CommandQueue } from "../../../../src/sim/linux/iommu/command-queue.js";
import { newCommand } from "../../../../src/sim/linux/iommu/command-words.js";
import { handleGlobalErrors } from "../../../../src/sim/linux/iommu/global-errors.js";
import { SmmuRig } from "./smmu-rig.js";

const { CR0, IRQ_CTRL, GERROR, GERRORN, CMDQ_BASE, EVENTQ_BASE } = registers;

function setUp() {
  const memory = new PhysicalMemory(4096, [{ start: 2 ** 30, size: 2 ** 24 }]);
  const printed: string[] = [];
  let queue: CommandQueue | undefined;
  const interrupt = (line: string) => {
    if (line === "gerror" && queue !== undefined) handleGlobalErrors(hardware, queue, (text) => printed.push(text));
  };
  const hardware: SmmuV3 = new SmmuV3({ msi: false }, { memory, interrupt });
  queue = new CommandQueue(hardware, new CoherentMemory(memory, 48), 4);
  queue.install();
  hardware.write32(IRQ_CTRL.offset, IRQ_CTRL.encode({ GERROR_IRQEN: 1 }));
  hardware.write32(CR0.offset, CR0.encode({ CMDQEN: 1 }));
  return { hardware, queue, printed };
}

const acknowledged = (hardware: SmmuV3) => hardware.read32(GERROR.offset) === hardware.read32(GERRORN.offset);

describe("global errors", () => {
  it("an illegal command is shown and skipped", () => {
    const { hardware, queue, printed } = setUp();
    queue.issueAndSync([newCommand({ opcode: 0xee })]);
    expect(printed).toEqual([
      "unexpected global error reported (0x00000001), this could be serious",
      "CMDQ error (cons 0x01000000): Illegal command",
      "skipping command in error state:",
      "\t0x00000000000000ee",
      "\t0x0000000000000000",
    ]);
    expect(acknowledged(hardware)).toBe(true);
    queue.issueAndSync([]);
    queue.issueAndSync([newCommand({ opcode: 0x30 })]);
    expect(hardware.counters.invalidations).toBe(1);
  });

  it("commands that cannot be read are tried again, until the kernel hangs", () => {
    const { hardware, queue, printed } = setUp();
    hardware.write32(CR0.offset, 0);
    hardware.write64(CMDQ_BASE.offset, CMDQ_BASE.encode({ ADDR: 2 ** 40, LOG2SIZE: 4 }));
    const answering = hardware.write32.bind(hardware);
    // Acknowledged once, the SMMU tries at once and fails again: there is no end to it.
    let times = 0;
    hardware.write32 = (offset, value) => {
      if (offset !== GERRORN.offset || ++times < 3) answering(offset, value);
    };
    hardware.write32(CR0.offset, CR0.encode({ CMDQEN: 1 }));
    expect(() => queue.issueAndSync([newCommand({ opcode: 0x30 })])).toThrow(/no longer reads commands/);
    expect(printed.slice(0, 3)).toEqual([
      "unexpected global error reported (0x00000001), this could be serious",
      "CMDQ error (cons 0x02000000): Abort on command fetch",
      "retrying command fetch",
    ]);
  });

  it("events that cannot be written are lost", () => {
    const rig = new SmmuRig();
    rig.attached(0x100);
    const enabled = rig.hardware.read32(CR0.offset);
    rig.hardware.write32(CR0.offset, CR0.encode({ ...CR0.decode(enabled), EVENTQEN: 0 }));
    rig.hardware.write64(EVENTQ_BASE.offset, EVENTQ_BASE.encode({ ADDR: 2 ** 20, LOG2SIZE: 7 }));
    rig.hardware.write32(CR0.offset, enabled);
    rig.hardware.translate(0x100, 0x1000, false);
    const smmu = "arm-smmu-v3 arm-smmu-v3.0.auto:";
    expect(rig.log.lines).toEqual([
      `${smmu} unexpected global error reported (0x00000004), this could be serious`,
      `${smmu} EVTQ write aborted -- events may have been lost`,
    ]);
    expect(acknowledged(rig.hardware)).toBe(true);
  });

  it("no error: nothing is said", () => {
    const { hardware, queue, printed } = setUp();
    handleGlobalErrors(hardware, queue, (text) => printed.push(text));
    expect(printed).toEqual([]);
  });
});
