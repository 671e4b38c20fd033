import { describe, expect, it } from "vitest";
import { IospanError } from "../../src/errors.js";
import { failuresOf, withFailures } from "../../src/vfio/failures.js";

const failing = (text: string) => () => {
  throw new Error(text);
};

describe("steps that are all taken", () => {
  it("say what went wrong, in order", () => {
    let taken = 0;
    const found = failuresOf(failing("first"), () => (taken += 1), failing("second"));
    expect(found).toEqual([new Error("first"), new Error("second")]);
    expect(taken).toBe(1);
  });
});

describe("an error whose closing failed, too", () => {
  const facts = { syscall: "openat", errno: 22, device: "a", iommu: "smmu", hint: "wait" } as const;

  it("stays what it is, with both causes", () => {
    const own = new Error("own");
    const error = new IospanError("ERR_IOSPAN_ATTACH_REFUSED", "refused", { ...facts, cause: own });
    const both = withFailures(error, [new Error("EIO")]);
    expect(both).toMatchObject({ code: "ERR_IOSPAN_ATTACH_REFUSED", message: "refused", ...facts });
    expect((both as IospanError).cause).toMatchObject({ errors: [own, new Error("EIO")] });
    const without = new IospanError("ERR_IOSPAN_ATTACH_REFUSED", "refused", facts);
    expect(withFailures(without, [own])).toMatchObject({ cause: { errors: [own] } });
  });

  it("is given back as it is where nothing failed, or it is nothing to explain", () => {
    const error = new IospanError("ERR_IOSPAN_BUSY", "busy", facts);
    expect(withFailures(error, [])).toBe(error);
    expect(withFailures("text", [new Error("EIO")])).toBe("text");
  });
});
