import type * as FileSystem from "node:fs";
import { afterEach, describe, expect, it, vi } from "vitest";
import { readChip } from "../../src/cli/chip-file.js";
import { errorOf } from "../support/errors.js";

/** What reading descriptor 0 comes to, call by call: bytes, or the code it is refused with. */
const answers: (string | Uint8Array)[] = [];
const kind = { isFile: false, isFIFO: false, isSocket: false };

vi.mock("node:fs", async (original) => {
  const real = await original<typeof FileSystem>();
  return {
    ...real,
    statSync: (file: string, options?: FileSystem.StatSyncOptions) => {
      if (file !== "/dev/stdin") return real.statSync(file, options);
      return { size: 0, isFile: () => kind.isFile, isFIFO: () => kind.isFIFO, isSocket: () => kind.isSocket };
    },
    readSync: (fd: number, into: Uint8Array) => {
      if (fd !== 0) throw new Error(`descriptor ${fd} is not the standard input`);
      const answer = answers.shift() ?? new Uint8Array();
      if (typeof answer === "string") throw Object.assign(new Error(answer), { code: answer, syscall: "read" });
      into.set(answer);
      return answer.length;
    },
  };
});

afterEach(() => {
  answers.length = 0;
  Object.assign(kind, { isFile: false, isFIFO: false, isSocket: false });
});

describe("the standard input as a chip", () => {
  it.each(["isFile", "isFIFO", "isSocket"] as const)("is read to its end where it %s, waiting if it must", (is) => {
    kind[is] = true;
    answers.push(Uint8Array.of(1, 2), "EAGAIN", Uint8Array.of(3));
    const { name, content } = readChip("/dev/stdin");
    expect([name, ...content]).toEqual(["stdin", 1, 2, 3]);
  });

  it("is not waited for on a terminal", () => {
    expect(errorOf(() => readChip("/dev/stdin"))).toHaveProperty(
      "message",
      expect.stringContaining("it is not a file"),
    );
  });

  it("ends in an error when it cannot be read", () => {
    kind.isSocket = true;
    answers.push("EIO");
    expect(errorOf(() => readChip("/dev/stdin"))).toHaveProperty(
      "message",
      "cannot read the device tree /dev/stdin: EIO",
    );
  });
});
