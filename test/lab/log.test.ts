import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { firstErrorIn } from "../../lab/log.js";

let folder = "";

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "iospan-lab-test-"));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

describe("the first error of make's output", () => {
  it.each([
    [
      "the compiler's",
      "  CC a.o\nmake[1]: *** waiting\nb.c:1:9: fatal error: stdio.h: none\nd.c:1: error: y\n",
      "b.c:1:9: fatal error: stdio.h: none",
    ],
    ["make's own", "  CC a.o\nmake: *** No rule to make 'Imag'.  Stop.\n", "make: *** No rule to make 'Imag'.  Stop."],
    ["none", "  CC a.o\n  CC error.o\n", undefined],
  ])("is %s", async (_, printed, first) => {
    const log = join(folder, "make.log");
    writeFileSync(log, printed);
    expect(await firstErrorIn(log)).toBe(first);
  });

  it("is none without a log", async () => {
    expect(await firstErrorIn(join(folder, "absent.log"))).toBeUndefined();
  });
});
