import type * as FileSystem from "node:fs";
import { afterEach, describe, expect, it, vi } from "vitest";
import { readChip } from "../../../src/cli/chip-file.js";
import { readSavedMachine } from "../../../src/cli/machine/saved-machine-file.js";
import { readStandardInput } from "../../../src/cli/standard-input.js";
import { simulate } from "../../../src/sim/simulate.js";
import { formatSavedMachine } from "../../../src/survey/saved/format-saved-machine.js";
import { contentOf, recordMachine } from "../../../src/survey/saved/saved-machine.js";
import { surveyMachine } from "../../../src/survey/survey-machine.js";
import { errorOf, thrownBy } from "../../support/errors.js";

/** What reading descriptor 0 comes to, call by call: bytes, or the code it is refused with. */
const answers: (string | Uint8Array)[] = [];

vi.mock("node:fs", async (original) => {
  const real = await original<typeof FileSystem>();
  return {
    ...real,
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
});

describe("the standard input", () => {
  it("is read to its end, waiting where it must", () => {
    answers.push(Uint8Array.of(1, 2), "EAGAIN", Uint8Array.of(3));
    expect([...(readStandardInput(3) ?? [])]).toEqual([1, 2, 3]);
    expect([...(readStandardInput(0) ?? [1])]).toEqual([]);
  });

  it("is not read for ever, nor when it cannot be", () => {
    answers.push(Uint8Array.of(1, 2), Uint8Array.of(3, 4));
    expect(readStandardInput(3)).toBeUndefined();
    answers.push("EIO");
    expect(thrownBy(() => readStandardInput(3))).toMatchObject({ code: "EIO" });
  });
});

describe("a saved machine from the standard input", () => {
  it("surveys as what it was saved from", () => {
    const { syscalls } = simulate(readChip("dual-smmu").content);
    const made = { taken: new Date(0).toISOString(), iospan: "0" };
    const bytes = new TextEncoder().encode(formatSavedMachine(contentOf(recordMachine(syscalls), made)));
    for (const name of ["-", "/dev/stdin"]) {
      for (let at = 0; at < bytes.length; at += 10_000) answers.push(bytes.subarray(at, at + 10_000));
      expect(readSavedMachine(name).survey()).toEqual(surveyMachine(syscalls));
    }
  });

  it("is refused by its name", () => {
    answers.push(Uint8Array.of(0x7b));
    expect(errorOf(() => readSavedMachine("-")).message).toMatch(/^the standard input is no saved machine: /);
    answers.push("EIO");
    expect(errorOf(() => readSavedMachine("-")).message).toBe("cannot read the saved machine -: EIO");
  });
});
