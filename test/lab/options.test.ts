import { availableParallelism } from "node:os";
import { CommanderError } from "commander";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { KERNELS } from "../../lab/kernels.js";
import { MATRIX } from "../../lab/matrix.js";
import { parseOptions } from "../../lab/options.js";

let said = "";

beforeEach(() => {
  said = "";
  const hear = (text: string | Uint8Array): boolean => {
    said += String(text);
    return true;
  };
  vi.spyOn(process.stdout, "write").mockImplementation(hear);
  vi.spyOn(process.stderr, "write").mockImplementation(hear);
});

afterEach(() => {
  vi.restoreAllMocks();
});

/** The kernels and machines that a command line runs. */
function cellsOf(...args: string[]): string[] {
  return parseOptions(args).cells.map(({ kernel, machine }) => `${kernel.name} on ${machine.name}`);
}

/** What a command line is refused with. */
function refusal(...args: string[]): string {
  let thrown: unknown;
  try {
    parseOptions(args);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(CommanderError);
  const { exitCode, message } = thrown as CommanderError;
  expect(exitCode).not.toBe(0);
  expect(said).toContain(message);
  return message;
}

describe("what runs", () => {
  it("is the proof on the newest kernel and the first machine, where nothing is said", () => {
    expect(parseOptions([])).toMatchObject({
      mode: "run",
      command: ["node", "build/lab/guest/prove.js"],
      timeout: 900,
      append: "",
      update: false,
    });
    expect(cellsOf()).toEqual(["7.3 on two-pcie-paths"]);
  });

  it("is the user's command, whose options are its own", () => {
    const { mode, command, timeout } = parseOptions(["-t", "60", "node", "x.js", "--all", "-t", "1"]);
    expect([mode, command, timeout]).toEqual(["run", ["node", "x.js", "--all", "-t", "1"], 60]);
    expect(parseOptions(["--", "--all"]).command).toEqual(["--all"]);
  });

  it("is one guest at a time, or as many as were asked for, or with --all as the processor is worth", () => {
    expect(parseOptions([]).jobs).toBe(1);
    expect(parseOptions(["-k", "all", "-j", "3"]).jobs).toBe(3);
    expect(parseOptions(["--all"]).jobs).toBe(Math.min(availableParallelism(), 4));
    expect(parseOptions(["--all", "--jobs", "1"]).jobs).toBe(1);
  });

  it.each([
    [
      ["-k", "6.1,5.10"],
      ["6.1 on two-pcie-paths", "5.10 on two-pcie-paths"],
    ],
    [
      ["-k", "6.1", "-k", "5.10,6.1"],
      ["6.1 on two-pcie-paths", "5.10 on two-pcie-paths"],
    ],
    [["-k", "all"], KERNELS.map(({ name }) => `${name} on two-pcie-paths`)],
    [["-m", "stage-2"], ["7.3 on stage-2"]],
    [["-m", "platform"], ["custom on platform"]],
    [["--shell", "-k", "6.12"], ["6.12 on two-pcie-paths"]],
    [["--prepare", "-m", "platform"], ["custom on platform"]],
    [["--list"], []],
  ])("%j: %j", (args, cells) => {
    expect(cellsOf(...args)).toEqual(cells);
  });

  it("joins kernel parameters", () => {
    expect(parseOptions(["-a", "a=1", "-a", "b c"]).append).toBe("a=1 b c");
  });
});

describe("--all", () => {
  it("is the whole matrix", () => {
    expect(parseOptions(["--all"])).toMatchObject({ mode: "all", cells: MATRIX });
  });

  it("is the part with the kernels and the machine that are named", () => {
    const custom = parseOptions(["--all", "--kernel", "custom"]).cells;
    expect(custom).toEqual(MATRIX.filter(({ kernel }) => kernel.name === "custom"));
    expect(custom.some(({ compatContainer }) => compatContainer)).toBe(true);
    expect(cellsOf("--all", "--machine", "stage-2")).toEqual(["7.3 on stage-2"]);
    expect(cellsOf("--all", "--machine", "two-pcie-paths", "--kernel", "6.1,7.3")).toEqual([
      "6.1 on two-pcie-paths",
      "7.3 on two-pcie-paths",
    ]);
  });

  it("says what there is, where nothing is left", () => {
    const message = refusal("--all", "--machine", "platform", "--kernel", "6.1");
    expect(message).toContain("7.3 on stage-2; custom on platform");
  });
});

describe("a refusal", () => {
  it.each([
    ["--all", "--shell"],
    ["--all", "--prepare"],
    ["--all", "--list"],
    ["--shell", "--prepare"],
    ["--shell", "--list"],
    ["--prepare", "--list"],
    ["--prepare", "--timeout=5"],
    ["--prepare", "--append=quiet"],
    ["--list", "--kernel=7.3"],
    ["--list", "--machine=platform"],
    ["--list", "--timeout=900"],
    ["--list", "--append=quiet"],
    ["--list", "--update"],
  ])("%s with %s names both", (first, second) => {
    for (const args of [
      [first, second],
      [second, first],
    ]) {
      const message = refusal(...args);
      expect(message).toContain("cannot be used with");
      for (const arg of args) expect(message).toContain(arg.split("=")[0]);
    }
  });

  it.each(["--all", "--shell", "--prepare", "--list"])("%s takes no command", (mode) => {
    expect(refusal(mode, "--", "true")).toBe(`error: ${mode} takes no command`);
  });

  it.each([
    [["--kernel", "4.19"], 'no kernel "4.19": 7.3, 6.12'],
    [["--kernel", "7.3,"], 'no kernel ""'],
    [["--machine", "sun"], 'no machine "sun": two-pcie-paths, stage-2, platform'],
    [["--machine", "platform", "--kernel", "custom,6.1"], "take --kernel custom"],
    [["--jobs", "0"], "a number of guests"],
    [["--jobs", "1.5"], "a number of guests"],
    [["--timeout", "0"], "a number of seconds"],
    [["--timeout", "soon"], "a number of seconds"],
    [["--nothing"], "unknown option"],
  ])("%j: %s", (args, words) => {
    expect(refusal(...args)).toContain(words);
  });
});

it("helps in 80 columns, and that is no failure", () => {
  expect(() => parseOptions(["--help"])).toThrow(expect.objectContaining({ exitCode: 0 }));
  expect(said).toContain("--machine");
  expect(said).toContain("Examples");
  expect(said.split("\n").filter((line) => line.length > 80)).toEqual([]);
});
