import { describe, expect, it } from "vitest";
import { errno } from "../src/abi/errno.js";
import { errorCodes, IospanError } from "../src/errors.js";
import { factsOf } from "../src/syscalls/syscalls.js";
import { refused } from "./support/strict-syscalls.js";

const hint = "do this";

describe("IospanError", () => {
  it("carries every fact it is given", () => {
    const cause = new Error("why");
    const facts = { syscall: "VFIO_SET_IOMMU", errno: errno.EBUSY, device: "d", iommu: "i", hint, cause };
    const error = new IospanError("ERR_IOSPAN_BUSY", "it is busy", facts);
    expect(error).toMatchObject({ ...facts, code: "ERR_IOSPAN_BUSY", message: "it is busy", name: "IospanError" });
  });

  it("names the errno", () => {
    expect(new IospanError("ERR_IOSPAN_BUSY", "", { errno: errno.EBUSY, hint: "wait" }).errnoName).toBe("EBUSY");
    expect(new IospanError("ERR_IOSPAN_BUSY", "", { errno: 4711, hint: "wait" }).errnoName).toBe("errno 4711");
  });

  it("has no errno, and no cause of its own, where no call failed", () => {
    const error = new IospanError("ERR_IOSPAN_BUSY", "", { hint: "wait" });
    expect(error.errnoName).toBeUndefined();
    expect(Object.hasOwn(error, "cause")).toBe(false);
  });

  it("keeps the system call's error as its cause", () => {
    const cause = refused("VFIO_IOMMU_MAP_DMA", "EEXIST");
    const error = new IospanError("ERR_IOSPAN_MAP_OVERLAP", "", { ...factsOf(cause), hint: "unmap" });
    expect(error).toMatchObject({ syscall: "VFIO_IOMMU_MAP_DMA", errno: 17, errnoName: "EEXIST", cause });
  });
});

describe("errorCodes", () => {
  it("are distinct, and recognisable as the library's", () => {
    expect(new Set(errorCodes).size).toBe(errorCodes.length);
    expect(errorCodes.filter((code) => !/^ERR_IOSPAN_[A-Z_]+$/.test(code))).toEqual([]);
  });
});
