import { describe, expect, it, vi } from "vitest";
import { iova } from "../../src/iova.js";
import { machineOneDescription } from "../../src/sim/linux/machine-one.js";
import { MAP_FIXED } from "../../src/syscalls/mmap-flags.js";
import { errorOf } from "../support/errors.js";
import { FIRST, IommufdRig } from "./rig.js";

const manyRanges = () => {
  const { iommus } = machineOneDescription();
  const reserved = Array.from({ length: 300 }, (_, index) => {
    const start = 0x1_0000_0000 + index * 0x10000;
    return { start, end: start + 0xfff, type: "reserved" as const };
  });
  return { iommus: iommus.map((each) => ({ ...each, reserved })) };
};

/** Pieces of memory that were taken and not given back: covered, until no view of them is left, or unmapped. */
function kept({ kernel }: IommufdRig): () => number {
  let pieces = 0;
  const { mmap, munmap } = { mmap: kernel.mmap.bind(kernel), munmap: kernel.munmap.bind(kernel) };
  vi.spyOn(kernel, "mmap").mockImplementation((request) => {
    pieces += (request.flags & MAP_FIXED) === 0 ? 1 : -1;
    return mmap(request);
  });
  vi.spyOn(kernel, "munmap").mockImplementation((address, length) => {
    pieces -= 1;
    munmap(address, length);
  });
  return () => pieces;
}

describe("asking which IOVAs can be mapped", () => {
  it("keeps no memory, however much the answer takes", async () => {
    const rig = await IommufdRig.open(manyRanges());
    await rig.attached(FIRST);
    const pieces = kept(rig);
    expect(rig.ioas.rules().ranges).toHaveLength(302);
    rig.ioas.allow(
      Array.from({ length: 300 }, (_, index) => {
        const start = 0x100000 + index * 0x2000;
        return { start: iova(start), end: iova(start + 0xfff) };
      }),
    );
    expect(pieces()).toBe(0);
  });

  it.each(["IOMMU_IOAS_IOVA_RANGES", "IOMMU_IOAS_ALLOW_IOVAS", "mmap"])(
    "keeps none where %s fails, which is explained",
    async (call) => {
      const rig = await IommufdRig.open();
      const pieces = kept(rig);
      const ask = () => (call.endsWith("ALLOW_IOVAS") ? rig.ioas.allow([]) : rig.ioas.rules());
      rig.refuse(call, "ENOMEM");
      expect(errorOf(ask)).toMatchObject({ errnoName: "ENOMEM", hint: expect.stringMatching(/./) });
      expect(pieces()).toBe(0);
      ask();
    },
  );
});
