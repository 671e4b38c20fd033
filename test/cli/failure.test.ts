import { writeSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { isSystemError, outputFailure } from "../../src/cli/failure.js";
import { IospanError } from "../../src/errors.js";

function thrown(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  return undefined;
}

describe("a failure to write", () => {
  it("is told in words", () => {
    const full = Object.assign(new Error("ENOSPC: no space left on device, write"), {
      code: "ENOSPC",
      syscall: "write",
    });
    expect(outputFailure(full).message).toBe(`cannot write to the standard output: ${full.message}`);
  });

  it("is the system's, not the program's nor the library's", () => {
    expect(isSystemError(thrown(() => writeSync(9999, "text")))).toBe(true);
    expect(isSystemError(new TypeError("no"))).toBe(false);
    expect(isSystemError(new IospanError("ERR_IOSPAN_DMA_FAULT", "no", { hint: "none" }))).toBe(false);
  });
});
