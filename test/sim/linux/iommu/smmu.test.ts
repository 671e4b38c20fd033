import { describe, expect, it } from "vitest";
import { registers } from "../../../../src/sim/hw/smmu/registers.js";
import { IdAllocator } from "../../../../src/sim/linux/iommu/id-allocator.js";
import { outcome } from "../../support/outcome.js";
import { READ_WRITE, SmmuRig } from "./smmu-rig.js";

const SID = 0x100;
const RAM = 2 ** 34;

describe("taking an SMMU into service", () => {
  const value = (rig: SmmuRig, register: { readonly offset: number }) => rig.hardware.read32(register.offset);

  it("switches it on, with interrupts for events and errors, and faults of unknown StreamIDs recorded", () => {
    const rig = new SmmuRig();
    const { CR0, CR0ACK, CR2, IRQ_CTRL, GERROR } = registers;
    expect(CR0.decode(value(rig, CR0))).toMatchObject({ SMMUEN: 1, EVENTQEN: 1, CMDQEN: 1, PRIQEN: 0, ATSCHK: 0 });
    expect(value(rig, CR0ACK)).toBe(value(rig, CR0));
    expect(CR2.decode(value(rig, CR2))).toEqual({ E2H: 0, RECINVSID: 1, PTM: 1 });
    expect(IRQ_CTRL.decode(value(rig, IRQ_CTRL))).toMatchObject({ EVENTQ_IRQEN: 1, GERROR_IRQEN: 1, PRIQ_IRQEN: 0 });
    expect(value(rig, GERROR)).toBe(0);
    expect(rig.log.lines).toEqual([]);
    // CFGI_ALL and TLBI_NSNH_ALL, each with a SYNC.
    expect(rig.hardware.counters).toMatchObject({ commands: 4, syncs: 2, invalidations: 1 });
  });

  it.each([
    [16, { FMT: 1, SPLIT: 8, LOG2SIZE: 16 }],
    [9, { FMT: 1, SPLIT: 8, LOG2SIZE: 9 }],
    [8, { FMT: 0, SPLIT: 0, LOG2SIZE: 8 }],
    [32, { FMT: 1, SPLIT: 8, LOG2SIZE: 25 }],
  ])("StreamIDs of %i bits get a stream table as large as it takes", (streamIdBits, expected) => {
    const rig = new SmmuRig({ iommu: { streamIdBits } });
    const { STRTAB_BASE_CFG } = registers;
    expect(STRTAB_BASE_CFG.decode(value(rig, STRTAB_BASE_CFG))).toEqual(expected);
    const last = 2 ** Math.min(streamIdBits, 25) - 1;
    const { domain } = rig.attached(last);
    domain.map(0x1000, RAM, 4096, READ_WRITE);
    expect(rig.hardware.translate(last, 0x1234, true)).toBe(RAM + 0x234);
    expect(rig.hardware.translate(last - 1, 0x1234, true)).toBe(-1);
    expect(rig.log.lines).toEqual([]);
  });

  it("makes queues no larger than the SMMU's", () => {
    const rig = new SmmuRig({ features: { commandQueueLog2: 7, eventQueueLog2: 3 } });
    const { CMDQ_BASE, EVENTQ_BASE } = registers;
    expect(CMDQ_BASE.decode(rig.hardware.read64(CMDQ_BASE.offset)).LOG2SIZE).toBe(7);
    expect(EVENTQ_BASE.decode(rig.hardware.read64(EVENTQ_BASE.offset)).LOG2SIZE).toBe(3);
    const { domain } = rig.attached(SID);
    for (let page = 1; page < 300; page++) {
      domain.map(page * 4096, RAM, 4096, READ_WRITE);
      domain.unmap(page * 4096, 4096);
    }
    expect(rig.hardware.translate(SID, 4096, false)).toBe(-1);
  });
});

describe("devices", () => {
  it("with a StreamID beyond the SMMU's are a mistake of the description", () => {
    const rig = new SmmuRig({ iommu: { streamIdBits: 9 } });
    expect(() => rig.device(0x200)).toThrow(/StreamID 0x200, and StreamIDs of .* have 9 bits/);
    const wide = new SmmuRig({ iommu: { streamIdBits: 32 } });
    expect(() => wide.device(0x2000000)).toThrow(/StreamID 0x2000000, and Linux's stream table for .* covers 25 bits/);
  });

  it("with a StreamID that another one has are not served", () => {
    const rig = new SmmuRig();
    rig.device(SID, "0000:01:00.0");
    const other = { name: "0000:03:00.0", bus: "pci", driverName: "", streamId: SID, reserved: [] };
    expect(rig.smmu.probe(other)).toBe(false);
    expect(rig.log.lines).toEqual([
      "pci 0000:03:00.0: Aliasing StreamID 0x100 (from 0000:01:00.0) unsupported, expect DMA to be broken",
    ]);
  });

  it("of another SMMU are refused, or believed to be attached", () => {
    const attach = (release: string, attachesNowhere = false) => {
      const rig = new SmmuRig({ release, bugs: { attachesNowhere } });
      const foreign = new SmmuRig({ iommu: { device: "arm-smmu-v3.1.auto" } }).smmu.allocateDomain();
      const master = rig.device(SID);
      const answer = outcome(() => rig.smmu.attach(master, foreign));
      return [answer, ...rig.log.lines];
    };
    const line = "vfio-pci 0000:01:00.0: cannot attach to SMMU arm-smmu-v3.1.auto (upstream of arm-smmu-v3.0.auto)";
    expect(attach("6.1.176")).toEqual(["ENXIO", line]);
    expect(attach("6.12.107")).toEqual(["EINVAL"]);
    expect(attach("6.14.0")).toEqual([undefined]);
    expect(attach("7.3.4")).toEqual(["EINVAL"]);
    expect(attach("7.3.4", true)).toEqual([undefined]);
  });
});

describe("domains", () => {
  it("of all SMMUs share ASIDs, the lowest first", () => {
    const asids = new IdAllocator();
    const one = new SmmuRig({ asids });
    const other = new SmmuRig({ asids });
    const first = one.attached(SID);
    other.attached(SID);
    first.domain.map(0x1000, RAM, 4096, READ_WRITE);
    expect(one.trace(() => first.domain.unmap(0x1000, 4096))[0]).toContain("ASID=0x1 ");
    one.smmu.attach(first.master, "blocked");
    first.domain.free();
    const master = other.device(0x200, "0000:02:00.0");
    for (const asid of ["0x1", "0x3"]) {
      const domain = other.smmu.allocateDomain();
      other.smmu.attach(master, domain);
      domain.map(0x1000, RAM, 4096, READ_WRITE);
      expect(other.trace(() => domain.unmap(0x1000, 4096))[0]).toContain(`ASID=${asid} `);
    }
  });

  it("run out with the ASIDs: EBUSY", () => {
    const asids = new IdAllocator();
    for (let id = 1; id < 2 ** 16 - 1; id++) asids.allocate(2 ** 16 - 1);
    const rig = new SmmuRig({ asids });
    const domain = rig.smmu.allocateDomain();
    expect(outcome(() => rig.smmu.allocateDomain())).toBe("EBUSY");
    domain.free();
    expect(outcome(() => rig.smmu.allocateDomain())).toBeUndefined();
  });

  it("run out with an SMMU's VMIDs: ENOSPC, and other SMMUs have their own", () => {
    const features = { stage1: false, vmidBits: 8, outputBits: 32 } as const;
    const rig = new SmmuRig({ features });
    const domains = Array.from({ length: 255 }, () => rig.smmu.allocateDomain());
    expect(outcome(() => rig.smmu.allocateDomain())).toBe("ENOSPC");
    expect(outcome(() => new SmmuRig({ features }).smmu.allocateDomain())).toBeUndefined();
    domains[7]?.free();
    expect(outcome(() => rig.smmu.allocateDomain())).toBeUndefined();
  });

  it("prefer stage 1 where an SMMU has both", () => {
    const rig = new SmmuRig({ features: { stage1: true, stage2: true } });
    const { domain } = rig.attached(SID);
    domain.map(0x1000, RAM, 4096, { read: false, write: true });
    expect(rig.hardware.translate(SID, 0x1000, false)).toBe(RAM);
  });

  it("keep devices apart: the same IOVA goes elsewhere", () => {
    const rig = new SmmuRig();
    const one = rig.attached(SID);
    const other = rig.attached(0x200);
    one.domain.map(0x1000, RAM, 4096, READ_WRITE);
    other.domain.map(0x1000, RAM + 0x5000, 4096, READ_WRITE);
    const both = () => [SID, 0x200].map((streamId) => rig.hardware.translate(streamId, 0x1000, false));
    expect(both()).toEqual([RAM, RAM + 0x5000]);
    one.domain.unmap(0x1000, 4096);
    expect(both()).toEqual([-1, RAM + 0x5000]);
  });

  it("that a device leaves no longer translate for it", () => {
    const rig = new SmmuRig();
    const { master, domain } = rig.attached(SID);
    domain.map(0x1000, RAM, 4096, READ_WRITE);
    expect(rig.hardware.translate(SID, 0x1000, false)).toBe(RAM);
    rig.smmu.attach(master, "blocked");
    expect(rig.hardware.translate(SID, 0x1000, false)).toBe(-1);
    expect(rig.log.lines).toEqual([]);
    const next = rig.smmu.allocateDomain();
    rig.smmu.attach(master, next);
    expect(rig.hardware.translate(SID, 0x1000, false)).toBe(-1);
    expect(rig.log.lines.length).toBeGreaterThan(0);
  });
});

describe("a kernel with a bug", () => {
  it("maps nothing and says it did", () => {
    const rig = new SmmuRig({ bugs: { mapSkips: true } });
    const { domain } = rig.attached(SID);
    domain.map(0x1000, RAM, 8192, READ_WRITE);
    expect(outcome(() => domain.map(0x1000, 2 ** 50, 4096, READ_WRITE))).toBe("ERANGE");
    expect(rig.hardware.translate(SID, 0x1000, false)).toBe(-1);
    expect([domain.mappings(), domain.physicalAddressOf(0x1000)]).toEqual([[], undefined]);
    expect(domain.unmap(0x1000, 8192)).toBe(8192);
  });

  it("unmaps and leaves the TLB alone", () => {
    const rig = new SmmuRig({ bugs: { unmapKeepsTlb: true } });
    const { master, domain } = rig.attached(SID);
    domain.map(0x1000, RAM, 8192, READ_WRITE);
    expect(rig.hardware.translate(SID, 0x1000, false)).toBe(RAM);
    expect(rig.trace(() => domain.unmap(0x1000, 8192))).toEqual([]);
    expect(domain.mappings()).toEqual([]);
    expect(rig.hardware.translate(SID, 0x1000, false)).toBe(RAM);
    expect(rig.hardware.translate(SID, 0x2000, false)).toBe(-1);
    rig.smmu.attach(master, "blocked");
    rig.smmu.attach(master, domain);
    expect(rig.hardware.translate(SID, 0x1000, false)).toBe(-1);
  });
});
