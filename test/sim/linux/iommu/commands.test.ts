import { describe, expect, it } from "vitest";
import type { IommuDescription } from "../../../../src/sim/linux/description.js";
import { IommuGroup } from "../../../../src/sim/linux/iommu/iommu-group.js";
import { TlbGather } from "../../../../src/sim/linux/iommu/tlb-gather.js";
import { READ_WRITE, SmmuRig } from "./smmu-rig.js";

const RAM = 2 ** 34;
const SID = 0x100;
const K4 = 4096;
const M2 = 2 ** 21;

function setUp(iommu: Partial<IommuDescription> = {}) {
  const rig = new SmmuRig({ iommu });
  return { rig, ...rig.attached(SID) };
}

/** The command that invalidates `(num + 1) << scale` leaves of 4 KiB tables. */
const range = (address: number, num: number, scale: number, ttl: number) =>
  [
    "TLBI_NH_VA",
    ...(num === 0 ? [] : [`NUM=0x${num.toString(16)}`]),
    ...(scale === 0 ? [] : [`SCALE=0x${scale.toString(16)}`]),
    `Leaf=0x1 TTL=0x${ttl} TG=0x1 ASID=0x1 Address=0x${address.toString(16)}`,
  ].join(" ");

/** A range as naturally aligned powers of two, in pages: what QEMU makes of one command, and prints. */
function pieces(address: number, pages: number): readonly number[] {
  const list: number[] = [];
  for (let [at, left] = [address / K4, pages]; left > 0; ) {
    let size = 1;
    while (at % (2 * size) === 0 && 2 * size <= left) size *= 2;
    list.push(size);
    at += size;
    left -= size;
  }
  return list;
}

describe("unmapping", () => {
  it("2 MiB of pages at 0x20001000 is one range, as recorded on Linux 7.3", () => {
    const { rig, domain } = setUp();
    domain.map(0x2000_1000, RAM, M2, READ_WRITE);
    expect(rig.trace(() => domain.unmap(0x2000_1000, M2))).toEqual([range(0x2000_1000, 0, 9, 3), "SYNC"]);
    // QEMU's trace of it has ten lines, for it splits the range as its TLB can take it.
    expect(pieces(0x2000_1000, 512)).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 1]);
  });

  it.each([
    ["a page", 1, [range(0x1000, 0, 0, 3)]],
    ["31 pages", 31, [range(0x1000, 30, 0, 3)]],
    ["33 pages: the odd one first", 33, [range(0x1000, 0, 0, 3), range(0x2000, 0, 5, 3)]],
    ["511 pages", 511, [range(0x1000, 30, 0, 3), range(0x2_0000, 14, 5, 3)]],
  ])("%s", (_name, pages, expected) => {
    const { rig, domain } = setUp();
    domain.map(0x1000, RAM, pages * K4, READ_WRITE);
    expect(rig.trace(() => domain.unmap(0x1000, pages * K4))).toEqual([...expected, "SYNC"]);
  });

  it("blocks names their level", () => {
    const { rig, domain } = setUp();
    domain.map(2 ** 30, RAM, 3 * M2, READ_WRITE);
    domain.map(2 ** 32, RAM, 2 ** 31, READ_WRITE);
    expect(rig.trace(() => domain.unmap(2 ** 30, 3 * M2))).toEqual([range(2 ** 30, 2, 9, 2), "SYNC"]);
    expect(rig.trace(() => domain.unmap(2 ** 32, 2 ** 31))).toEqual([range(2 ** 32, 0, 19, 1), "SYNC"]);
  });

  it("pages and blocks waits in between: one command says one size", () => {
    const { rig, domain } = setUp();
    domain.map(M2 - K4, RAM - K4, M2 + 2 * K4, READ_WRITE);
    expect(rig.trace(() => domain.unmap(M2 - K4, M2 + 2 * K4))).toEqual([
      range(M2 - K4, 0, 0, 3),
      "SYNC",
      range(M2, 0, 9, 2),
      "SYNC",
      range(2 * M2, 0, 0, 3),
      "SYNC",
    ]);
  });

  it("a whole table of pages takes the table out before it is freed", () => {
    const { rig, domain } = setUp();
    domain.map(M2, RAM + K4, M2, READ_WRITE);
    const reserved = rig.physical.reserved;
    expect(rig.trace(() => domain.unmap(M2, M2))).toEqual([
      "TLBI_NH_VA SCALE=0x9 TG=0x1 ASID=0x1 Address=0x200000",
      "SYNC",
      range(M2, 0, 9, 2),
      "SYNC",
    ]);
    expect(rig.physical.reserved).toBe(reserved - K4);
  });

  it("stage 2 goes by VMID and intermediate address", () => {
    const { rig, domain } = setUp({ stage: 2 });
    domain.map(0x1000, RAM, 2 * K4, READ_WRITE);
    expect(rig.trace(() => domain.unmap(0x1000, 2 * K4))).toEqual([
      "TLBI_S2_IPA SCALE=0x1 Leaf=0x1 TTL=0x3 TG=0x1 VMID=0x1 Address=0x1000",
      "SYNC",
    ]);
  });

  it.each([
    [0x20010000n, 65536, 3],
    [0x2004000n, 16384, 2],
  ])("pages of other granules (0x%x) say so", (pageSizes, page, tg) => {
    const { rig, domain } = setUp({ pageSizes });
    domain.map(page, RAM, page, READ_WRITE);
    expect(rig.trace(() => domain.unmap(page, page))).toEqual([
      `TLBI_NH_VA Leaf=0x1 TTL=0x3 TG=0x${tg} ASID=0x1 Address=0x${page.toString(16)}`,
      "SYNC",
    ]);
  });

  it("what is not mapped takes no command", () => {
    const { rig, domain } = setUp();
    expect(rig.trace(() => domain.unmap(0x1000, K4))).toEqual([]);
  });

  it("can be gathered: what is side by side is invalidated together", () => {
    const { rig, domain } = setUp();
    domain.map(0x1000, RAM, 4 * K4, READ_WRITE);
    const gather = new TlbGather();
    const unmapped = rig.trace(() => {
      for (const page of [2, 1, 3]) domain.unmapLazily(page * K4, K4, gather);
    });
    expect(unmapped).toEqual([]);
    expect(rig.trace(() => domain.sync(gather))).toEqual([range(0x1000, 2, 0, 3), "SYNC"]);
    expect(rig.trace(() => domain.sync(gather))).toEqual([]);
  });

  it("what is apart is not: the first is done before the second", () => {
    const { rig, domain } = setUp();
    domain.map(0x1000, RAM, 4 * K4, READ_WRITE);
    const gather = new TlbGather();
    domain.unmapLazily(0x1000, K4, gather);
    expect(rig.trace(() => domain.unmapLazily(0x4000, K4, gather))).toEqual([range(0x1000, 0, 0, 3), "SYNC"]);
    expect(rig.trace(() => domain.sync(gather))).toEqual([range(0x4000, 0, 0, 3), "SYNC"]);
  });
});

describe("unmapping from a domain that no device is in", () => {
  const unmapped = (release: string) => {
    const rig = new SmmuRig({ release });
    const master = rig.device(SID);
    const domain = rig.smmu.allocateDomain();
    rig.smmu.attach(master, domain);
    domain.map(0x1000, RAM, K4, READ_WRITE);
    domain.map(M2, RAM + K4, M2, READ_WRITE);
    rig.hardware.translate(SID, 0x1000, false);
    rig.smmu.attach(master, "blocked");
    const list = rig.trace(() => {
      domain.unmap(0x1000, K4);
      domain.unmap(M2, M2);
    });
    rig.smmu.attach(master, domain);
    expect(rig.hardware.translate(SID, 0x1000, false)).toBe(-1);
    return list;
  };

  it("takes no command since domains know their SMMUs by their devices: the TLB has nothing of it", () => {
    expect(unmapped("7.3.4")).toEqual([]);
  });

  it("took the same commands before as with devices", () => {
    expect(unmapped("6.12.107").filter((command) => command !== "SYNC")).toEqual([
      range(0x1000, 0, 0, 3),
      "TLBI_NH_VA SCALE=0x9 TG=0x1 ASID=0x1 Address=0x200000",
      range(M2, 0, 9, 2),
    ]);
  });
});

describe("unmapping with an SMMU that knows no ranges", () => {
  const page = (address: number) => `TLBI_NH_VA Leaf=0x1 ASID=0x1 Address=0x${address.toString(16)}`;

  it("takes one command for each page", () => {
    const { rig, domain } = setUp({ rangeInvalidation: false });
    domain.map(0x1000, RAM, 3 * K4, READ_WRITE);
    expect(rig.trace(() => domain.unmap(0x1000, 3 * K4))).toEqual([page(0x1000), page(0x2000), page(0x3000), "SYNC"]);
  });

  it("takes batches of them, with one SYNC", () => {
    const { rig, domain } = setUp({ rangeInvalidation: false });
    domain.map(0x1000, RAM, 150 * K4, READ_WRITE);
    const list = rig.trace(() => domain.unmap(0x1000, 150 * K4));
    expect(list).toHaveLength(151);
    expect(list.indexOf("SYNC")).toBe(150);
    expect(list[149]).toBe(page(150 * K4));
  });

  it("of 512 pages and more takes one for the whole domain", () => {
    const { rig, domain } = setUp({ rangeInvalidation: false });
    domain.map(0x1000, RAM, 512 * K4, READ_WRITE);
    expect(rig.trace(() => domain.unmap(0x1000, 512 * K4))).toEqual(["TLBI_NH_ASID ASID=0x1", "SYNC"]);
    const second = setUp({ rangeInvalidation: false, stage: 2 });
    second.domain.map(0x1000, RAM, 512 * K4, READ_WRITE);
    expect(second.rig.trace(() => second.domain.unmap(0x1000, 512 * K4))).toEqual(["TLBI_S12_VMALL VMID=0x1", "SYNC"]);
  });
});

describe("mapping", () => {
  it("takes no command", () => {
    const { rig, domain } = setUp();
    expect(rig.trace(() => domain.map(0x1000, RAM, 2 ** 24, READ_WRITE))).toEqual([]);
  });

  it("a block where an empty table is takes the table out first", () => {
    const { rig, domain } = setUp();
    domain.map(M2, RAM, K4, READ_WRITE);
    domain.unmap(M2, K4);
    const reserved = rig.physical.reserved;
    expect(rig.trace(() => domain.map(M2, RAM, M2, READ_WRITE))).toEqual([
      "TLBI_NH_VA SCALE=0x9 TG=0x1 ASID=0x1 Address=0x200000",
      "SYNC",
    ]);
    expect(rig.physical.reserved).toBe(reserved - K4);
    expect(rig.hardware.translate(SID, M2 + 5, false)).toBe(RAM + 5);
  });

  it("and unmapping leaf by leaf leaves the tables", () => {
    const { rig, domain } = setUp();
    domain.map(0x1000, RAM, K4, READ_WRITE);
    const reserved = rig.physical.reserved;
    domain.unmap(0x1000, K4);
    expect(rig.physical.reserved).toBe(reserved);
  });
});

describe("attaching", () => {
  const entry = ["CFGI_STE SID=0x100 Leaf=0x1", "SYNC"];
  const context = ["CFGI_CD SID=0x100 Leaf=0x1", "SYNC"];
  const prefetch = "PREFETCH_CONFIG SID=0x100";

  it("writes the context, then the entry, each in two steps", () => {
    const rig = new SmmuRig();
    const master = rig.device(SID);
    const domain = rig.smmu.allocateDomain();
    expect(rig.trace(() => rig.smmu.attach(master, domain))).toEqual([
      ...context,
      ...context,
      ...entry,
      ...entry,
      prefetch,
    ]);
  });

  it("undone, it takes the entry back, forgets the domain, and clears the context", () => {
    const { rig, master } = setUp();
    expect(rig.trace(() => rig.smmu.attach(master, "blocked"))).toEqual([
      ...entry,
      ...entry,
      prefetch,
      "TLBI_NH_ASID ASID=0x1",
      "SYNC",
      ...context,
      ...context,
    ]);
  });

  it("does not forget a domain that another device of the SMMU is in", () => {
    const { rig, master, domain } = setUp();
    const other = rig.device(0x200, "0000:02:00.0");
    rig.smmu.attach(other, domain);
    const list = rig.trace(() => rig.smmu.attach(master, "blocked"));
    expect(list.filter((command) => command.startsWith("TLBI"))).toEqual([]);
    expect(rig.trace(() => rig.smmu.attach(other, "blocked"))).toContain("TLBI_NH_ASID ASID=0x1");
  });

  it("a group to the domain that it is in takes no command", () => {
    const rig = new SmmuRig();
    const group = new IommuGroup(0, rig.log);
    group.add(Object.assign(rig.device(SID), { iommu: rig.smmu, msiIsolated: true }));
    const domain = rig.smmu.allocateDomain();
    expect(rig.trace(() => group.replace(domain))).not.toEqual([]);
    expect(rig.trace(() => group.replace(domain))).toEqual([]);
  });

  it("to stage 2 has no context", () => {
    const rig = new SmmuRig({ iommu: { stage: 2 } });
    const master = rig.device(SID);
    const domain = rig.smmu.allocateDomain();
    expect(rig.trace(() => rig.smmu.attach(master, domain))).toEqual([...entry, ...entry, prefetch]);
    expect(rig.trace(() => rig.smmu.attach(master, "blocked"))).toEqual([
      ...entry,
      ...entry,
      prefetch,
      "TLBI_S12_VMALL VMID=0x1",
      "SYNC",
    ]);
  });

  it("from one domain to another changes the context, and not the entry", () => {
    const { rig, master } = setUp();
    const next = rig.smmu.allocateDomain();
    expect(rig.trace(() => rig.smmu.attach(master, next))).toEqual([
      ...context,
      ...context,
      ...context,
      prefetch,
      "TLBI_NH_ASID ASID=0x1",
      "SYNC",
    ]);
  });
});
