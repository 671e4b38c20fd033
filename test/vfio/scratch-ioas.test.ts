import { describe, expect, it } from "vitest";
import { type ErrnoName, errno } from "../../src/abi/errno.js";
import { IospanError } from "../../src/errors.js";
import { machineOne } from "../../src/sim/linux/machine-one.js";
import { faulty } from "../../src/syscalls/faulty.js";
import { O_RDWR } from "../../src/syscalls/mmap-flags.js";
import { answered } from "../../src/vfio/kernel-question.js";
import { withScratchIoas } from "../../src/vfio/scratch-ioas.js";
import { errorOf, thrownBy } from "../support/errors.js";

const ABOUT = { device: "0000:02:00.0", iommu: "smmu3.0x000000000c000000" };

function bench(refused?: { readonly call: string; readonly answer: ErrnoName }) {
  const kernel = machineOne({ iommufd: true });
  const syscalls = faulty(kernel);
  const asked = { syscalls, fd: syscalls.open("/dev/iommu", O_RDWR) };
  if (refused !== undefined) {
    syscalls.fault = { match: ({ ioctl }) => ioctl?.name === refused.call, nth: 1, errno: errno[refused.answer] };
  }
  return { kernel, asked, left: () => kernel.iommufds[0]?.ioases };
}

const failing = new IospanError("ERR_IOSPAN_SYSCALL", "no answer", { hint: "ask again" });

// biome-ignore lint/correctness/useYield: it needs no call to fail
function* fails(): Generator<never, never, undefined> {
  throw failing;
}

describe("an address space to ask in", () => {
  it("is there for the question, and gone after it", () => {
    const { asked, left, kernel } = bench();
    const during = answered(
      asked,
      // biome-ignore lint/correctness/useYield: it looks at the simulator
      withScratchIoas(ABOUT, function* (scratch) {
        return { scratch, ioases: left()?.length };
      }),
    );
    expect(during).toEqual({ scratch: expect.any(Number), ioases: 1 });
    expect([left(), kernel.pinnedPages]).toEqual([[], 0]);
  });

  it("is gone after a question that failed, too", () => {
    const { asked, left } = bench();
    expect(thrownBy(() => answered(asked, withScratchIoas(ABOUT, fails)))).toBe(failing);
    expect(left()).toEqual([]);
  });

  it("does not hide behind its own end why the question failed", () => {
    const { asked } = bench({ call: "IOMMU_DESTROY", answer: "EBUSY" });
    const error = errorOf(() => answered(asked, withScratchIoas(ABOUT, fails)));
    expect(error).toMatchObject({ message: failing.message, hint: failing.hint });
    expect((error.cause as AggregateError).errors).toMatchObject([{ syscall: "IOMMU_DESTROY", errnoName: "EBUSY" }]);
  });

  it.each([
    ["IOMMU_IOAS_ALLOC", "ENOMEM", "memory.max"],
    ["IOMMU_IOAS_ALLOC", "EIO", "dmesg"],
    ["IOMMU_DESTROY", "EIO", "dmesg"],
  ] as const)("explains %s with %s", (call, answer, hint) => {
    const { asked } = bench({ call, answer });
    // biome-ignore lint/correctness/useYield: any question will do
    const question = withScratchIoas(ABOUT, function* () {
      return true;
    });
    const facts = { ...ABOUT, code: "ERR_IOSPAN_SYSCALL", syscall: call, errnoName: answer };
    expect(errorOf(() => answered(asked, question))).toMatchObject({ ...facts, hint: expect.stringContaining(hint) });
  });
});
