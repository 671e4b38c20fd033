import { describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { IospanError } from "../../src/errors.js";
import { malformed, withFacts } from "../../src/vfio/refusal.js";
import { refused } from "../support/strict-syscalls.js";

const ABOUT = { device: "0000:02:00.0", iommu: "smmu3.0x9050000" };

describe("withFacts", () => {
  it("adds whom an error is about, and keeps everything else", () => {
    const cause = refused("openat", "EIO");
    const bare = new IospanError("ERR_IOSPAN_SYSCALL", "m", { syscall: "openat", errno: errno.EIO, hint: "h", cause });
    const { code, message, hint } = bare;
    expect(withFacts(bare, ABOUT)).toMatchObject({
      ...ABOUT,
      code,
      message,
      hint,
      syscall: "openat",
      errno: errno.EIO,
      cause,
    });
  });

  it("overwrites nothing", () => {
    const of = new IospanError("ERR_IOSPAN_SYSCALL", "m", { device: "another", hint: "h" });
    expect(withFacts(of, ABOUT)).toMatchObject({ device: "another", iommu: ABOUT.iommu });
  });

  it("gives back what says it already, or has nothing to say it with", () => {
    const whole = new IospanError("ERR_IOSPAN_SYSCALL", "m", { ...ABOUT, hint: "h" });
    expect(withFacts(whole, { device: "another", iommu: "another" })).toBe(whole);
    const bare = new IospanError("ERR_IOSPAN_SYSCALL", "m", { hint: "h" });
    expect(withFacts(bare, {})).toBe(bare);
    const bug = new TypeError("bug");
    expect(withFacts(bug, ABOUT)).toBe(bug);
  });
});

describe("malformed", () => {
  it("asks for a report, and says whom it is about", () => {
    const error = malformed("the kernel says 7", ABOUT);
    expect(error).toMatchObject({ ...ABOUT, code: "ERR_IOSPAN_MALFORMED_ANSWER", message: "the kernel says 7" });
    expect(error.hint).toContain("please report");
  });
});
