import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ErrnoName, errno } from "../../src/abi/errno.js";
import { type IovaRange, iova } from "../../src/iova.js";
import { machineOne } from "../../src/sim/linux/machine-one.js";
import { SyscallError } from "../../src/syscalls/syscalls.js";
import { type IovaSize, MappingProbe, type Probed } from "../../src/vfio/mapping-probe.js";
import { errorOf } from "../support/errors.js";

const ABOUT = { device: "0000:02:00.0", iommu: "smmu3.0x9050000" };

const refusedWith = (name: ErrnoName) => new SyscallError("IOMMU_IOAS_MAP", errno[name], name);

/** `x` mapped, `.` free, `#` ruled out: a byte each. */
type Layout = string;

/** Answers as iommufd does, with a device or without one; or as VFIO does, which gives no ranges. */
function probed(layout: Layout, kind: "attached" | "without devices" | "type1") {
  const changes: string[] = [];
  const part = ({ iova: at, size }: IovaSize) => layout.slice(Number(at), Number(at + size)).padEnd(Number(size), "#");
  const about: Probed = {
    about: ABOUT,
    tryMap: (range) => {
      const all = part(range);
      if (kind !== "type1" && all.includes("#")) throw refusedWith("EINVAL");
      if (all.includes("x")) throw refusedWith("EEXIST");
      if (all.includes("#")) throw refusedWith("EINVAL");
      if (kind !== "without devices") throw refusedWith("EFAULT");
      changes.push(`map ${range.iova} ${range.size}`);
    },
    undo: ({ iova: at, size }) => {
      expect(changes.pop()).toBe(`map ${at} ${size}`);
    },
    ranges: kind === "type1" ? undefined : () => rangesOf(layout),
  };
  return { about, changes };
}

function rangesOf(layout: Layout): readonly IovaRange[] {
  return [...layout.matchAll(/[^#]+/g)].map(({ 0: text, index }) => ({
    start: iova(index),
    end: iova(index + text.length - 1),
  }));
}

const probe = () => new MappingProbe(machineOne());

describe("asking whether something is mapped", () => {
  it("finds what is, whoever answers, wherever it lies, and changes nothing", () => {
    const layout = fc.string({ unit: fc.constantFrom("x", ".", "#"), minLength: 1, maxLength: 24 });
    const kinds = fc.constantFrom("attached", "without devices", "type1");
    const asking = probe();
    fc.assert(
      fc.property(layout, kinds, fc.nat(24), fc.integer({ min: 1, max: 24 }), (text, kind, at, size) => {
        const { about, changes } = probed(text, kind as "attached");
        const found = asking.isMapped(about, { iova: BigInt(at), size: BigInt(size) });
        expect(found).toBe(text.slice(at, at + size).includes("x"));
        expect(changes).toEqual([]);
      }),
    );
  });

  it("takes an answer for none that is, and one that cannot be", () => {
    const { about } = probed(".", "type1");
    const refusing = (name: ErrnoName): Probed => ({
      ...about,
      tryMap: () => {
        throw refusedWith(name);
      },
    });
    const range = { iova: 0n, size: 1n };
    expect(probe().isMapped(refusing("ENOSPC"), range)).toBe(false);
    const facts = { ...ABOUT, code: "ERR_IOSPAN_SYSCALL", errnoName: "EIO" };
    expect(errorOf(() => probe().isMapped(refusing("EIO"), range))).toMatchObject(facts);
    const undone: IovaSize[] = [];
    const pins: Probed = { ...about, tryMap: () => {}, undo: (each) => undone.push(each) };
    expect(errorOf(() => probe().isMapped(pins, range)).code).toBe("ERR_IOSPAN_MALFORMED_ANSWER");
    expect(undone).toEqual([range]);
  });

  it("says that what it did could not be undone", () => {
    const stuck: Probed = {
      ...probed(".", "without devices").about,
      undo: () => {
        throw refusedWith("EBUSY");
      },
    };
    const error = errorOf(() => probe().isMapped(stuck, { iova: 0n, size: 1n }));
    expect(error).toMatchObject({ ...ABOUT, code: "ERR_IOSPAN_SYSCALL", errnoName: "EBUSY" });
    expect(error.message).toContain("undoing");
  });

  it("gives its page back", () => {
    const kernel = machineOne();
    const before = kernel.addressSpace;
    const asking = new MappingProbe(kernel);
    asking.isMapped(probed(".", "attached").about, { iova: 0n, size: 1n });
    expect(kernel.addressSpace.filter(({ prot }) => prot === 0)).toHaveLength(1);
    asking.release();
    asking.release();
    expect(kernel.addressSpace).toEqual(before);
  });
});
