import { describe, expect, it } from "vitest";
import { type ErrnoName, errno } from "../../src/abi/errno.js";
import { IOMMU_DESTROY } from "../../src/abi/iommufd-object.js";
import { SyscallError } from "../../src/syscalls/syscalls.js";
import { answered, answeredAsync, type KernelQuestion } from "../../src/vfio/kernel-question.js";
import { rejectionOf, thrownBy } from "../support/errors.js";
import { fd, strictSyscalls } from "../support/strict-syscalls.js";

const ANSWERS: readonly (ErrnoName | undefined)[] = ["ENOENT", undefined, "EBUSY"];

/** A file that gives these answers, one after the other, synchronously or off the event loop. */
function file(answers: readonly (ErrnoName | undefined)[]) {
  const left = [...answers];
  const way: string[] = [];
  const next = (how: string) => {
    way.push(how);
    const name = left.shift();
    if (name !== undefined) throw new SyscallError("IOMMU_DESTROY", errno[name], name);
    return 0;
  };
  const syscalls = strictSyscalls({ ioctl: () => next("sync"), ioctlAsync: async () => next("async") });
  return { asked: { syscalls, fd: fd(20) }, way };
}

function* question(): KernelQuestion<readonly (number | undefined)[]> {
  const got: (number | undefined)[] = [];
  for (const _ of ANSWERS) got.push((yield { call: IOMMU_DESTROY, bytes: new Uint8Array(8) })?.errno);
  return got;
}

describe("a question of several calls", () => {
  it("gets the same answers either way", async () => {
    const [now, later] = [file(ANSWERS), file(ANSWERS)];
    const expected = [errno.ENOENT, undefined, errno.EBUSY];
    expect(answered(now.asked, question())).toEqual(expected);
    expect(await answeredAsync(later.asked, question())).toEqual(expected);
    expect([now.way, later.way]).toEqual([Array(3).fill("sync"), Array(3).fill("async")]);
  });

  it("ends with what is no refusal", async () => {
    const failure = new TypeError("a bug");
    const fail = () => {
      throw failure;
    };
    const syscalls = strictSyscalls({ ioctl: fail, ioctlAsync: async () => fail() });
    expect(thrownBy(() => answered({ syscalls, fd: fd(20) }, question()))).toBe(failure);
    expect(await rejectionOf(answeredAsync({ syscalls, fd: fd(20) }, question()))).toBe(failure);
  });
});
