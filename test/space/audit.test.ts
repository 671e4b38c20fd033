import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Iova, type IovaRange, iova } from "../../src/iova.js";
import { type AuditSubject, audit } from "../../src/space/audit.js";
import type { MappingRecord } from "../../src/space/ledger.js";
import { FakeTarget } from "../support/fake-target.js";
import { record } from "../support/records.js";

const PAGE = 0x1000;
const LAST = 2n ** 64n - 1n;

/** A target that has exactly these mappings. */
function agreeing(records: readonly MappingRecord[], iommus = "smmu0"): { target: FakeTarget; subject: AuditSubject } {
  const target = new FakeTarget(iommus);
  for (const mapping of records) target.map({ ...mapping, access: "read" });
  target.log.length = 0;
  return { target, subject: { target, records, capacity: 65535, pageSize: PAGE } };
}

const three = [record(0x1000, 0x1000), record(0x2000, 0x4000), record(0x100000, 0x2000)];

describe("audit", () => {
  it("finds nothing where kernel and ledger agree", () => {
    const both = [agreeing(three), agreeing(three.slice(0, 1), "smmu1"), agreeing([], "smmu2")];
    expect(audit(both.map(({ subject }) => subject))).toEqual({ consistent: true, differences: [], checked: 4 });
  });

  it("changes nothing", () => {
    const { target, subject } = agreeing(three);
    const before = new Map(target.entries);
    audit([subject]);
    expect(target.entries).toEqual(before);
    expect(target.log).toEqual([]);
  });

  it("finds a mapping that the kernel has not, and names its IOMMU", () => {
    const [fine, bad] = [agreeing(three), agreeing(three, "smmu1")];
    bad.target.entries.delete(iova(0x2000));
    const report = audit([fine.subject, bad.subject]);
    expect(report.consistent).toBe(false);
    expect(report.differences).toEqual([
      { problem: "missing", iommus: "smmu1", range: { start: 0x2000n, end: 0x5fffn } },
      { problem: "count", iommus: "smmu1", expected: 3, found: 2 },
    ]);
  });

  it.each([
    ["begins later", 0x3000, 0x3000],
    ["ends earlier", 0x2000, 0x3000],
  ])("finds a mapping that %s in the kernel", (_, start, size) => {
    const { target, subject } = agreeing(three);
    target.entries.delete(iova(0x2000));
    target.entries.set(iova(start), { size, address: 0n, access: "read" });
    expect(audit([subject]).differences).toEqual([
      { problem: "partial", iommus: "smmu0", range: { start: 0x2000n, end: 0x5fffn } },
    ]);
  });

  it("finds a mapping in two pieces with a hole between, by the count", () => {
    const { target, subject } = agreeing(three);
    target.entries.set(iova(0x2000), { size: 0x1000, address: 0n, access: "read" });
    target.entries.set(iova(0x5000), { size: 0x1000, address: 0n, access: "read" });
    expect(audit([subject]).differences).toEqual([{ problem: "count", iommus: "smmu0", expected: 3, found: 4 }]);
  });

  it.each([
    ["below the first mapping", 0n, 0n, 0xfffn],
    ["between two", 0x80000n, 0x6000n, 0xfffffn],
    ["above the last", 2n ** 47n, 0x102000n, 2n ** 48n - 1n],
  ])("finds something mapped %s, and says in which gap", (_, at, start, end) => {
    const { target, subject } = agreeing(three);
    target.entries.set(iova(at), { size: PAGE, address: 0n, access: "read" });
    expect(audit([subject]).differences).toEqual([
      { problem: "stray", iommus: "smmu0", range: { start, end } },
      { problem: "count", iommus: "smmu0", expected: 3, found: 4 },
    ]);
  });

  it("finds what is mapped where nothing at all should be", () => {
    const { target, subject } = agreeing([]);
    target.entries.set(iova(0x5000), { size: PAGE, address: 0n, access: "read" });
    expect(audit([subject]).differences.map(({ problem }) => problem)).toEqual(["stray", "count"]);
  });

  it("does not count where the kernel does not tell", () => {
    const { target, subject } = agreeing(three);
    target.capacity = undefined;
    expect(audit([subject]).consistent).toBe(true);
    target.capacity = 65535;
    expect(audit([{ ...subject, capacity: undefined }]).consistent).toBe(true);
  });

  it("asks about a whole 64-bit space without a question that wraps, and finds a stray at its end", () => {
    const { target, subject } = agreeing([record(LAST - 0x1fffn, 0x1000)]);
    target.ranges = [{ start: iova(0), end: iova(LAST) }];
    expect(audit([subject]).consistent).toBe(true);
    target.entries.set(iova(LAST - 0xfffn), { size: PAGE, address: 0n, access: "read" });
    const stray = audit([subject]).differences.find(({ problem }) => problem === "stray");
    expect(stray?.range).toEqual({ start: LAST - 0xfffn, end: LAST });
  });

  it.each([2n ** 62n, 2n ** 63n, LAST - 0x1ffffn])("finds a stray at %s, deep in a gap of nearly 64 bits", (at) => {
    const { target, subject } = agreeing([record(0x1000, 0x1000)]);
    target.ranges = [{ start: iova(0), end: iova(LAST) }];
    target.entries.set(iova(at), { size: PAGE, address: 0n, access: "read" });
    const strays = audit([subject]).differences.flatMap(({ problem, range }) => (problem === "stray" ? [range] : []));
    expect(strays).toHaveLength(1);
    expect(strays[0]).toSatisfy((range: IovaRange) => range.start <= at && at <= range.end);
  });

  it("is content with a mapping at the very end of the space", () => {
    const { target, subject } = agreeing([record(LAST - 0xfffn, 0x1000)]);
    target.ranges = [{ start: iova(0), end: iova(LAST) }];
    expect(audit([subject]).consistent).toBe(true);
  });

  it("finds every mapping that was removed, cut or added behind its back", () => {
    const layout = fc.array(fc.record({ gap: fc.integer({ min: 0, max: 3 }), pages: fc.integer({ min: 1, max: 4 }) }), {
      minLength: 1,
      maxLength: 8,
    });
    const harms = fc.array(
      fc.record({ kind: fc.constantFrom("remove", "cut the start", "cut the end", "add"), at: fc.nat(64) }),
      { maxLength: 4 },
    );
    fc.assert(
      fc.property(layout, harms, fc.boolean(), (pieces, list, counts) => {
        let page = 1;
        const records = pieces.map(({ gap, pages }) => {
          page += gap + pages;
          return record((page - pages) * PAGE, pages * PAGE);
        });
        const { target, subject } = agreeing(records);
        for (const harm of list) inflict(target, records, harm.kind, harm.at);
        const untouched = agreeing(records).target.entries;
        const same = [...untouched].every(([at, { size }]) => target.entries.get(at)?.size === size);
        const agree = same && target.entries.size === untouched.size;
        expect(audit([{ ...subject, capacity: counts ? 65535 : undefined }]).consistent).toBe(agree);
      }),
    );
  });
});

/** An addition keeps out of the ledger's ranges: two pieces without a hole are one mapping to everybody but the count. */
function inflict(target: FakeTarget, records: readonly MappingRecord[], kind: string, at: number): void {
  const entries = [...target.entries];
  const [start, entry] = entries[at % Math.max(entries.length, 1)] ?? [];
  if (kind === "add") {
    const free = iova(at * PAGE);
    const taken = records.some((each) => each.iova <= free && free < each.iova + BigInt(each.size));
    if (!taken && !target.isMapped(free, BigInt(PAGE)))
      target.entries.set(free, { size: PAGE, address: 0n, access: "read" });
    return;
  }
  if (start === undefined || entry === undefined) return;
  target.entries.delete(start);
  if (kind === "remove" || entry.size === PAGE) return;
  const from = kind === "cut the start" ? ((start + BigInt(PAGE)) as Iova) : start;
  target.entries.set(from, { ...entry, size: entry.size - PAGE });
}
