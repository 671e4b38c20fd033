import { afterEach, describe, expect, it, vi } from "vitest";
import { readChip } from "../../../src/cli/chip-file.js";
import { completed } from "../../../src/cli/machine/read-survey.js";
import { IospanError } from "../../../src/errors.js";
import { simulate } from "../../../src/sim/simulate.js";
import { surveyMachine } from "../../../src/survey/survey-machine.js";
import type { Syscalls } from "../../../src/syscalls/syscalls.js";

const linuxSyscalls = vi.fn<() => Syscalls>();

vi.mock("../../../src/syscalls/linux.js", () => ({ linuxSyscalls: () => linuxSyscalls() }));
afterEach(() => linuxSyscalls.mockReset());

/** What asking comes to on a machine in the place of this one. */
async function answersOf(drivers: "vfio" | Record<string, string>) {
  const machine = simulate(readChip("dual-smmu").content, { drivers });
  linuxSyscalls.mockImplementation(() => machine.syscalls);
  const survey = surveyMachine(machine.syscalls, { devices: "all" });
  const open = { files: machine.syscalls, name: "/sys", isLive: true };
  const { kernel } = await completed(open, survey, { probe: true });
  expect(machine.openFds).toEqual([]);
  return [...(kernel?.groups.values() ?? [])].map(({ answer }) => answer?.asked);
}

describe("this machine's groups", () => {
  it("are asked where VFIO has them", async () => {
    // The first group is a bridge's.
    expect(await answersOf("vfio")).toEqual(["not asked", "answered", "answered"]);
    expect(linuxSyscalls).toHaveBeenCalledOnce();
  });

  it("are not asked, nor are system calls loaded, where VFIO has none", async () => {
    expect(await answersOf({})).toEqual(["not asked", "not asked", "not asked"]);
    expect(linuxSyscalls).not.toHaveBeenCalled();
  });

  it("are not asked where there are no system calls to be had", async () => {
    const machine = simulate(readChip("dual-smmu").content, { drivers: "vfio" });
    linuxSyscalls.mockImplementation(() => {
      throw new IospanError("ERR_IOSPAN_UNSUPPORTED_PLATFORM", "no Linux", { hint: "take Linux" });
    });
    const survey = surveyMachine(machine.syscalls);
    const open = { files: machine.syscalls, name: "/sys", isLive: true };
    expect(await completed(open, survey, { probe: true })).toEqual(survey);
    linuxSyscalls.mockImplementation(() => {
      throw new Error("a bug");
    });
    await expect(completed(open, survey, { probe: true })).rejects.toThrow("a bug");
  });

  it("are asked of no other machine", async () => {
    const machine = simulate(readChip("dual-smmu").content, { drivers: "vfio" });
    const survey = surveyMachine(machine.syscalls);
    const copy = { files: machine.syscalls, name: "copy", isLive: false };
    expect(await completed(copy, survey, { probe: true, log: true })).toBe(survey);
  });
});
