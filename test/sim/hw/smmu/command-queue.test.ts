import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { wordsToBytes } from "../../../../src/sim/hw/smmu/bit-fields.js";
import { commands } from "../../../../src/sim/hw/smmu/commands.js";
import { commandErrors, registers } from "../../../../src/sim/hw/smmu/registers.js";
import type { SmmuFeatures } from "../../../../src/sim/hw/smmu/smmu.js";
import { COMMANDS_LOG2, Rig } from "./rig.js";

const { CMDQ_PROD, CMDQ_CONS, GERROR, GERRORN } = registers;
const SYNC = commands.SYNC.encode({});

function consumer(rig: Rig) {
  return CMDQ_CONS.decode(rig.smmu.read32(CMDQ_CONS.offset));
}

function acknowledge(rig: Rig): void {
  rig.smmu.write32(GERRORN.offset, rig.smmu.read32(GERROR.offset));
}

function activeErrors(rig: Rig) {
  return GERROR.decode(rig.smmu.read32(GERROR.offset) ^ rig.smmu.read32(GERRORN.offset));
}

describe("command queue", () => {
  it("consumes what is produced, around and around", () => {
    const rig = new Rig();
    let position = 0;
    let total = 0;
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** COMMANDS_LOG2 }), (count) => {
        for (let i = 0; i < count; i++) {
          const index = (position + i) % 2 ** COMMANDS_LOG2;
          rig.memory.write(rig.commandQueue + index * 16, wordsToBytes(SYNC));
        }
        position = (position + count) % 2 ** (COMMANDS_LOG2 + 1);
        total += count;
        rig.smmu.write32(CMDQ_PROD.offset, position);
        expect(consumer(rig)).toEqual({ RD: position, ERR: 0 });
        expect(rig.smmu.counters).toMatchObject({ commands: total, syncs: total });
      }),
      { numRuns: 100 },
    );
  });

  it("waits while it is disabled", () => {
    const rig = new Rig();
    rig.disable();
    rig.submit(SYNC, SYNC);
    expect(consumer(rig).RD).toBe(0);
    rig.enable();
    expect(consumer(rig).RD).toBe(2);
  });

  it.each<[string, bigint[], Partial<SmmuFeatures>]>([
    ["opcode 0", [0n, 0n], {}],
    ["an unknown opcode", [0x99n, 0n], {}],
    ["SYNC with a reserved signal", commands.SYNC.encode({ CS: 3 }), {}],
    ["a Secure stream", commands.CFGI_STE.encode({ SSec: 1 }), {}],
    ["ATC_INV without ATS", commands.ATC_INV.encode({}), {}],
    ["RESUME without a stall model", commands.RESUME.encode({}), {}],
    ["STALL_TERM without a stall model", commands.STALL_TERM.encode({}), {}],
    ["TLBI_NH_ALL without stage 1", commands.TLBI_NH_ALL.encode({}), { stage1: false }],
    ["TLBI_NH_VA without stage 1", commands.TLBI_NH_VA.encode({}), { stage1: false }],
    ["CFGI_CD without stage 1", commands.CFGI_CD.encode({}), { stage1: false }],
    ["CFGI_CD_ALL without stage 1", commands.CFGI_CD_ALL.encode({}), { stage1: false }],
    ["TLBI_S2_IPA without stage 2", commands.TLBI_S2_IPA.encode({}), { stage2: false }],
    ["TLBI_S12_VMALL without stage 2", commands.TLBI_S12_VMALL.encode({}), { stage2: false }],
    ["TLBI_EL2_ALL without EL2", commands.TLBI_EL2_ALL.encode({}), { hypervisor: false }],
    ["TLBI_EL2_ASID without EL2", commands.TLBI_EL2_ASID.encode({}), { hypervisor: false }],
    ["a range of one page without a level", commands.TLBI_NH_VA.encode({ TG: 1 }), {}],
    ["one of 16 KiB with the level that has no blocks", commands.TLBI_NH_VA.encode({ TG: 2, TTL: 1 }), {}],
  ])("stops at %s until the error is acknowledged and the command mended", (_, illegal, features) => {
    const rig = new Rig(features);
    rig.submit(SYNC, illegal, SYNC);
    expect(consumer(rig)).toEqual({ RD: 1, ERR: commandErrors.CERROR_ILL });
    expect(activeErrors(rig)).toMatchObject({ CMDQ_ERR: 1 });
    expect(rig.interrupts).toEqual(["gerror"]);
    rig.submit(SYNC);
    expect(consumer(rig).RD).toBe(1);
    // Acknowledged with the command as it was: again.
    acknowledge(rig);
    expect(activeErrors(rig)).toMatchObject({ CMDQ_ERR: 1 });
    expect(rig.interrupts).toEqual(["gerror", "gerror"]);
    rig.memory.write(rig.commandQueue + 16, wordsToBytes(SYNC));
    expect(consumer(rig).RD).toBe(1);
    acknowledge(rig);
    expect(consumer(rig).RD).toBe(4);
    expect(rig.smmu.counters).toMatchObject({ commands: 4, syncs: 4, invalidations: 0 });
  });

  it("stops where memory does not answer", () => {
    const rig = new Rig();
    rig.disable();
    rig.smmu.write64(registers.CMDQ_BASE.offset, registers.CMDQ_BASE.encode({ ADDR: 0x3000_0000, LOG2SIZE: 4 }));
    rig.enable();
    rig.smmu.write32(CMDQ_PROD.offset, 1);
    expect(consumer(rig)).toEqual({ RD: 0, ERR: commandErrors.CERROR_ABT });
    expect(activeErrors(rig)).toMatchObject({ CMDQ_ERR: 1 });
  });

  it("goes on within the interrupt that told software of the error", () => {
    const rig = new Rig();
    rig.onInterrupt = (line) => {
      if (line !== "gerror") return;
      rig.memory.write(rig.commandQueue, wordsToBytes(SYNC));
      acknowledge(rig);
    };
    rig.submit([0n, 0n], SYNC);
    expect(consumer(rig).RD).toBe(2);
    expect(activeErrors(rig)).toMatchObject({ CMDQ_ERR: 0 });
  });

  it("takes no effect of commands behind an error", () => {
    const rig = new Rig();
    rig.setSte(1, { V: 1, Config: 4 });
    rig.read(0x1000, 1);
    rig.writeSte(1, { V: 1, Config: 0 });
    rig.submit([0n, 0n], commands.CFGI_STE.encode({ SID: 1, Leaf: 1 }));
    expect(rig.read(0x1000, 1)).toBe(0x1000);
  });

  it("counts TLBI commands", () => {
    const rig = new Rig({ hypervisor: true });
    const { TLBI_NH_ALL, TLBI_NSNH_ALL, TLBI_EL2_ALL, TLBI_S12_VMALL, PREFETCH_CONFIG, PREFETCH_ADDR } = commands;
    for (const { encode } of [TLBI_NH_ALL, TLBI_NSNH_ALL, TLBI_EL2_ALL, TLBI_S12_VMALL]) rig.submit(encode({}));
    for (const { encode } of [PREFETCH_CONFIG, PREFETCH_ADDR]) rig.submit(encode({}));
    expect(rig.smmu.counters).toMatchObject({ commands: 6, invalidations: 4, syncs: 0 });
    rig.smmu.resetCounters();
    expect(rig.smmu.counters).toMatchObject({ commands: 0, invalidations: 0 });
  });
});

describe("CMD_SYNC", () => {
  it("signals on a wire after it was consumed", () => {
    const rig = new Rig();
    const seen: number[] = [];
    rig.onInterrupt = () => seen.push(consumer(rig).RD);
    rig.submit(SYNC, commands.SYNC.encode({ CS: 2 }), commands.SYNC.encode({ CS: 1 }));
    expect(rig.interrupts).toEqual(["cmdq-sync"]);
    expect(seen).toEqual([3]);
  });

  it("signals by a message", () => {
    const rig = new Rig();
    const doorbell = rig.memory.reserve(64)!;
    rig.submit(commands.SYNC.encode({ CS: 1, MSIAddress: doorbell + 8, MSIData: 0xdead_beef }));
    expect(rig.memory.read64(doorbell + 8)).toBe(0xdead_beefn);
    expect(rig.interrupts).toEqual(["cmdq-sync"]);
    rig.submit(commands.SYNC.encode({ CS: 0, MSIAddress: doorbell + 16, MSIData: 1 }));
    expect(rig.memory.read32(doorbell + 16)).toBe(0);
  });

  it("reports a message that was aborted, and one that reports that", () => {
    const rig = new Rig();
    rig.submit(commands.SYNC.encode({ CS: 1, MSIAddress: 0x3000_0000 }));
    expect(activeErrors(rig)).toMatchObject({ MSI_CMDQ_ABT_ERR: 1, CMDQ_ERR: 0 });
    expect(consumer(rig).RD).toBe(1);
    acknowledge(rig);
    rig.smmu.write32(registers.IRQ_CTRL.offset, 0);
    rig.smmu.write64(registers.GERROR_IRQ_CFG0.offset, 0x3000_0000n);
    rig.smmu.write32(registers.IRQ_CTRL.offset, registers.IRQ_CTRL.encode({ GERROR_IRQEN: 1 }));
    rig.submit([0n, 0n]);
    expect(activeErrors(rig)).toMatchObject({ CMDQ_ERR: 1, MSI_GERROR_ABT_ERR: 1, MSI_CMDQ_ABT_ERR: 0 });
  });

  it("sends no messages where there are none", () => {
    const rig = new Rig({ msi: false });
    const doorbell = rig.memory.reserve(64)!;
    rig.submit(commands.SYNC.encode({ CS: 1, MSIAddress: doorbell, MSIData: 1 }));
    expect(rig.memory.read32(doorbell)).toBe(0);
    expect(rig.interrupts).toEqual(["cmdq-sync"]);
  });
});
