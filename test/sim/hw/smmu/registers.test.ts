import { describe, expect, it } from "vitest";
import { PhysicalMemory } from "../../../../src/sim/hw/physical-memory.js";
import { addressSizes, REGISTER_FRAME_SIZE, registers } from "../../../../src/sim/hw/smmu/registers.js";
import { type SmmuFeatures, SmmuV3 } from "../../../../src/sim/hw/smmu/smmu.js";
import { Rig } from "./rig.js";

const { IDR0, IDR1, IDR3, IDR5, AIDR, IIDR, CR0, CR0ACK, CR1, CR2, GBPA } = registers;

function smmu(features: Partial<SmmuFeatures> = {}): SmmuV3 {
  return new SmmuV3(features, { memory: new PhysicalMemory(4096), interrupt: () => {} });
}

describe("register table", () => {
  it("has registers that do not overlap, and fields that do not either", () => {
    const taken = new Set<number>();
    for (const { name, offset, size, fields } of Object.values(registers)) {
      for (let at = offset; at < offset + size; at++) {
        expect(taken, name).not.toContain(at);
        taken.add(at);
      }
      expect(offset + size).toBeLessThanOrEqual(REGISTER_FRAME_SIZE);
      const bits = new Set<number>();
      for (const { low, width } of Object.values(fields)) {
        expect(low + width).toBeLessThanOrEqual(size * 8);
        for (let bit = low; bit < low + width; bit++) {
          expect(bits, name).not.toContain(bit);
          bits.add(bit);
        }
      }
    }
  });

  // Arm IHI 0070, 6.1; spot checks of what the model and its driver would otherwise only agree about with each other.
  it("is the architecture's", () => {
    expect(Object.entries(registers).map(([name, { offset }]) => [name, offset])).toEqual(
      Object.entries({
        IDR0: 0x0,
        IDR1: 0x4,
        IDR2: 0x8,
        IDR3: 0xc,
        IDR4: 0x10,
        IDR5: 0x14,
        IIDR: 0x18,
        AIDR: 0x1c,
        CR0: 0x20,
        CR0ACK: 0x24,
        CR1: 0x28,
        CR2: 0x2c,
        STATUSR: 0x40,
        GBPA: 0x44,
        AGBPA: 0x48,
        IRQ_CTRL: 0x50,
        IRQ_CTRLACK: 0x54,
        GERROR: 0x60,
        GERRORN: 0x64,
        GERROR_IRQ_CFG0: 0x68,
        GERROR_IRQ_CFG1: 0x70,
        GERROR_IRQ_CFG2: 0x74,
        STRTAB_BASE: 0x80,
        STRTAB_BASE_CFG: 0x88,
        CMDQ_BASE: 0x90,
        CMDQ_PROD: 0x98,
        CMDQ_CONS: 0x9c,
        EVENTQ_BASE: 0xa0,
        EVENTQ_PROD: 0x100a8,
        EVENTQ_CONS: 0x100ac,
        EVENTQ_IRQ_CFG0: 0xb0,
        EVENTQ_IRQ_CFG1: 0xb8,
        EVENTQ_IRQ_CFG2: 0xbc,
      }),
    );
    expect(registers.STRTAB_BASE_CFG.encode({ FMT: 1, SPLIT: 8, LOG2SIZE: 16 })).toBe(0x1_0210);
    expect(registers.CMDQ_BASE.encode({ RA: 1, ADDR: 0x1234_5678_9a20, LOG2SIZE: 8 })).toBe(0x4000_1234_5678_9a28n);
    expect(IDR5.encode({ OAS: 4, GRAN4K: 1, GRAN64K: 1 })).toBe(0x54);
  });
});

describe("ID registers", () => {
  it("say what is implemented", () => {
    const chip = smmu({
      stage2: false,
      granules: [16384],
      outputBits: 44,
      streamIdBits: 12,
      twoLevelStreamTable: false,
      rangeInvalidation: false,
      asidBits: 8,
      vmidBits: 8,
      coherentWalks: false,
      commandQueueLog2: 7,
      eventQueueLog2: 5,
      msi: false,
    });
    expect(IDR0.decode(chip.read32(IDR0.offset))).toMatchObject({
      S1P: 1,
      S2P: 0,
      TTF: 2,
      COHACC: 0,
      HYP: 0,
      ATS: 0,
      ASID16: 0,
      MSI: 0,
      SEV: 0,
      PRI: 0,
      VMID16: 0,
      CD2L: 0,
      TTENDIAN: 2,
      STALL_MODEL: 1,
      TERM_MODEL: 1,
      ST_LEVEL: 0,
    });
    expect(IDR1.decode(chip.read32(IDR1.offset))).toMatchObject({ SIDSIZE: 12, SSIDSIZE: 0, EVENTQS: 5, CMDQS: 7 });
    expect(IDR3.decode(chip.read32(IDR3.offset))).toMatchObject({ RIL: 0 });
    expect(IDR5.decode(chip.read32(IDR5.offset))).toMatchObject({ OAS: 4, GRAN4K: 0, GRAN16K: 1, GRAN64K: 0, VAX: 0 });
    expect(AIDR.decode(chip.read32(AIDR.offset))).toEqual({ ArchMajorRev: 0, ArchMinorRev: 1 });
    expect(chip.read32(IIDR.offset)).toBe(0);
  });

  it("say so for the rest, too", () => {
    const chip = smmu({ hypervisor: true, substreamIdBits: 5 });
    const all = { S1P: 1, S2P: 1, COHACC: 1, HYP: 1, ASID16: 1, MSI: 1, VMID16: 1, CD2L: 1, ST_LEVEL: 1 };
    expect(IDR0.decode(chip.read32(IDR0.offset))).toMatchObject(all);
    expect(IDR3.decode(chip.read32(IDR3.offset))).toMatchObject({ RIL: 1 });
    for (const [code, outputBits] of addressSizes.entries()) {
      expect(IDR5.decode(smmu({ outputBits }).read32(IDR5.offset)).OAS).toBe(code);
    }
  });

  it("cannot be written", () => {
    const chip = smmu();
    for (const { offset } of [IDR0, IDR1, IDR3, IDR5, AIDR, CR0ACK, registers.GERROR, registers.IRQ_CTRLACK]) {
      const before = chip.read32(offset);
      chip.write32(offset, ~before);
      expect(chip.read32(offset)).toBe(before);
    }
  });
});

describe("control registers", () => {
  it("acknowledge at once, and hold what is implemented", () => {
    const chip = smmu();
    chip.write32(CR0.offset, 0xffff_ffff);
    const all = { SMMUEN: 1, PRIQEN: 0, EVENTQEN: 1, CMDQEN: 1, ATSCHK: 1, VMW: 0 };
    expect(CR0.decode(chip.read32(CR0.offset))).toEqual(all);
    expect(CR0ACK.decode(chip.read32(CR0ACK.offset))).toEqual(all);
    chip.write32(registers.IRQ_CTRL.offset, 0xffff_ffff);
    expect(chip.read32(registers.IRQ_CTRLACK.offset)).toBe(5);
    chip.write32(CR1.offset, 0xffff_ffff);
    expect(chip.read32(CR1.offset)).toBe(0xfff);
    chip.write32(GBPA.offset, 0x7fff_ffff);
    expect(chip.read32(GBPA.offset)).toBe(0);
  });

  it("hold still what is in use", () => {
    const rig = new Rig({ hypervisor: true });
    const { STRTAB_BASE, STRTAB_BASE_CFG, CMDQ_BASE, EVENTQ_BASE, CMDQ_CONS, EVENTQ_PROD } = registers;
    for (const { offset } of [STRTAB_BASE, STRTAB_BASE_CFG, CMDQ_BASE, EVENTQ_BASE, CMDQ_CONS, EVENTQ_PROD, CR2]) {
      const before = rig.smmu.read32(offset);
      rig.smmu.write32(offset, ~before);
      expect(rig.smmu.read32(offset)).toBe(before);
      rig.disable();
      rig.smmu.write32(offset, 5);
      expect(rig.smmu.read32(offset)).toBe(5);
      rig.smmu.write32(offset, before);
      rig.enable();
    }
  });

  it("have E2H only with EL2", () => {
    const chip = smmu();
    chip.write32(CR2.offset, CR2.encode({ E2H: 1, RECINVSID: 1, PTM: 1 }));
    expect(CR2.decode(chip.read32(CR2.offset))).toEqual({ E2H: 0, RECINVSID: 1, PTM: 1 });
  });
});

describe("register accesses", () => {
  it("are 4 or 8 bytes, aligned", () => {
    const chip = smmu();
    const { STRTAB_BASE } = registers;
    const eight = Uint8Array.of(0x40, 1, 2, 3, 4, 5, 6, 0x40);
    chip.write(STRTAB_BASE.offset, eight);
    expect(chip.read64(STRTAB_BASE.offset)).toBe(0x4006_0504_0302_0140n);
    const bytes = (offset: number, length: number) => {
      const into = new Uint8Array(length).fill(0xee);
      chip.read(offset, into);
      return [...into];
    };
    expect(bytes(STRTAB_BASE.offset, 8)).toEqual([...eight]);
    expect(bytes(STRTAB_BASE.offset + 4, 4)).toEqual([4, 5, 6, 0x40]);
    expect(bytes(STRTAB_BASE.offset + 4, 8)).toEqual(new Array(8).fill(0));
    expect(bytes(STRTAB_BASE.offset, 2)).toEqual([0, 0]);
    chip.write(STRTAB_BASE.offset, Uint8Array.of(1));
    chip.write(STRTAB_BASE.offset + 2, Uint8Array.of(1, 2, 3, 4));
    expect(bytes(STRTAB_BASE.offset, 8)).toEqual([...eight]);
  });

  it("read zeros where there is no register", () => {
    const chip = smmu();
    for (const offset of [0x1c8, 0xfe0, 0x10000, 0x10098, 0x100b0, 0x1fffc]) {
      chip.write32(offset, 0xffff_ffff);
      expect(chip.read32(offset)).toBe(0);
    }
  });

  it("come through the physical address space", () => {
    const memory = new PhysicalMemory(4096);
    const chip = new SmmuV3({}, { memory, interrupt: () => {} });
    memory.place(0x9050000, REGISTER_FRAME_SIZE, chip);
    expect(memory.read32(0x9050000 + IDR5.offset)).toBe(chip.read32(IDR5.offset));
    memory.write32(0x9050000 + CR0.offset, CR0.encode({ EVENTQEN: 1 }));
    expect(chip.read32(CR0ACK.offset)).toBe(4);
  });
});

describe("features", () => {
  it.each([
    [{ stage1: false, stage2: false }],
    [{ granules: [] }],
    [{ outputBits: 41 as 40 }],
    [{ outputBits: 52, granules: [4096] }],
    [{ largeInput: true, granules: [4096, 16384] }],
    [{ streamIdBits: 33 }],
    [{ substreamIdBits: 21 }],
    [{ commandQueueLog2: 20 }],
    [{ eventQueueLog2: -1 }],
    [{ tlbEntries: 100 }],
  ] as [Partial<SmmuFeatures>][])("that no SMMU has are refused: %j", (features) => {
    expect(() => smmu(features)).toThrow(expect.objectContaining({ code: "ERR_IOSPAN_INVALID_ARGUMENT" }));
  });
});
