import * as fs from "node:fs";
import * as os from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { Command } from "commander";
import { afterAll, describe, expect, it } from "vitest";
import { readChip } from "../../src/cli/chip-file.js";
import { readTopology } from "../../src/cli/machine/read-topology.js";
import { readSurvey, type SourceFlags, saveSurvey, sourceOptions } from "../../src/cli/machine-source.js";
import { encodeBlob } from "../../src/devicetree/blob-writer.js";
import { readDeviceTree } from "../../src/devicetree/device-tree.js";
import { simulate } from "../../src/sim/simulate.js";
import type { Survey } from "../../src/survey/survey.js";
import { surveyMachine } from "../../src/survey/survey-machine.js";
import { mergeTopologies } from "../../src/topology/merge.js";
import { topologyOfDeviceTree } from "../../src/topology/topology-of-device-tree.js";
import { errorFrom, errorOf } from "../support/errors.js";
import { iortTable } from "../topology/support/iort-table.js";
import { CopiedRoot } from "./machine/copied-root.js";

const dual = readChip("dual-smmu").content;
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), "iospan-machine-source-"));
afterAll(() => fs.rmSync(scratch, { recursive: true }));
const inScratch = (name: string) => path.join(scratch, name);

const { syscalls } = simulate(dual, { drivers: "vfio" });
const whole = new CopiedRoot(syscalls);
whole.file("sys/firmware/fdt", encodeBlob(readDeviceTree(dual)));
const sysfsOnly = new CopiedRoot(syscalls, ["sys"]);
afterAll(() => {
  whole[Symbol.dispose]();
  sysfsOnly[Symbol.dispose]();
});

/** Two surveys of one machine that was named in two ways. */
const unnamed = ({ topology, kernel }: Survey) => ({
  topology: { ...topology, sources: topology.sources.length },
  kernel,
});

describe("the options that name a machine", () => {
  it("give the flags that reading takes", () => {
    const program = new Command().exitOverride();
    for (const option of sourceOptions()) program.addOption(option);
    program.parse(["-s", "a", "-t", "b", "-i", "c", "-m", "d"], { from: "user" });
    const flags: SourceFlags = program.opts();
    expect(flags).toEqual({ sysfs: "a", deviceTree: "b", iort: "c", machine: "d" });
  });

  it("do not name two machines", async () => {
    const flags = { sysfs: whole.folder, machine: "board.json" };
    const refusal = { code: "ERR_IOSPAN_INVALID_ARGUMENT", message: expect.stringContaining("two machines") };
    expect(errorOf(() => readTopology(flags))).toMatchObject(refusal);
    expect(await errorFrom(readSurvey(flags))).toMatchObject(refusal);
    expect(await errorFrom(saveSurvey(inScratch("none"), flags))).toMatchObject(refusal);
  });
});

describe("a copy's survey", () => {
  it("has the facts of its root, and none of this machine", async () => {
    const { kernel, topology } = await readSurvey({ sysfs: whole.folder }, { probe: true, log: true });
    const live = surveyMachine(syscalls).kernel;
    expect(kernel).toEqual({
      ...live,
      vfio: { ...live?.vfio, nodes: live?.vfio.nodes },
      log: undefined,
    });
    expect(kernel?.groups.get(1)).toEqual({ holders: [], answer: undefined });
    expect(topology.sources.map(({ kind, name }) => [kind, name])).toEqual([
      ["sysfs", whole.folder],
      ["device-tree", "/sys/firmware/fdt"],
    ]);
    expect(readTopology({ sysfs: whole.folder })).toEqual(topology);
  });

  it("has those of a sysfs alone, whichever way it is named", async () => {
    const survey = await readSurvey({ sysfs: sysfsOnly.folder });
    expect(survey.kernel).toMatchObject({ release: undefined, pageSize: undefined, vfio: { nodes: undefined } });
    expect(survey.kernel?.vfio.parameters.get("vfio_iommu_type1.dma_entry_limit")).toBe("65535");
    expect(survey.kernel?.hugePages.size).toBe(2);
    const direct = await readSurvey({ sysfs: path.join(sysfsOnly.folder, "sys") });
    expect(unnamed(direct)).toEqual(unnamed(survey));
  });

  it("goes with firmware that is named, in place of its own", async () => {
    const iort = inScratch("IORT.bin");
    fs.writeFileSync(iort, iortTable([]));
    const flags = { sysfs: whole.folder, deviceTree: "dual-smmu", iort };
    const { topology, kernel } = await readSurvey(flags, { devices: ["dma-port"] });
    expect(topology.sources.map(({ name }) => name)).toEqual([whole.folder, "dual-smmu.dts", "IORT.bin"]);
    expect(topology).toEqual(readTopology(flags));
    expect([...(kernel?.devices.keys() ?? [])]).toContain("/sys/bus/platform/devices/9030000.dma-port");
  });

  it("is refused where there is no such folder, or no sysfs in it", async () => {
    const code = "ERR_IOSPAN_INVALID_ARGUMENT";
    expect(await errorFrom(readSurvey({ sysfs: "/no/such/folder" }))).toMatchObject({ code });
    expect(await errorFrom(readSurvey({ sysfs: scratch }))).toMatchObject({ code });
    expect(errorOf(() => readTopology({ iort: "/no/such/table" }))).toMatchObject({ code });
    fs.writeFileSync(inScratch("file"), "");
    for (const flags of [{ sysfs: inScratch("file") }, { iort: scratch }, { deviceTree: scratch }]) {
      expect(errorOf(() => readTopology(flags))).toMatchObject({
        code,
        message: expect.stringMatching(/it is not a f/),
      });
    }
  });

  it.each([
    ["empty.dts", "", "is no device tree: it is empty", "name a .dts or .dtb file"],
    ["blank.dts", " \n", "is no device tree: it is empty", "name a .dts or .dtb file"],
    ["saved.json", "{}", "looks like JSON: --machine takes saved machines", "name a .dts or .dtb file"],
    ["random.dtb", "\u0001\u0000", "is no blob, which begins with 0xd00dfeed", "name a .dts or .dtb file"],
    ["wrong.dts", "/dts-v1/; / { x = <; };", "wrong.dts: line 1, column 20", "Devicetree Specification"],
  ])("names the device tree %s that cannot be read, and what is wrong", (name, content, message, hint) => {
    const deviceTree = inScratch(name);
    fs.writeFileSync(deviceTree, content);
    const error = errorOf(() => readTopology({ deviceTree }));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_DEVICE_TREE", message: expect.stringContaining(message) });
    expect(error).toMatchObject({ message: expect.stringContaining(deviceTree), hint: expect.stringContaining(hint) });
  });
});

describe("this machine's survey", () => {
  it("has what every Linux tells, and changes nothing", async () => {
    const { kernel, topology } = await readSurvey({}, { probe: true, log: true });
    expect(topology).toEqual(readTopology({}));
    expect(kernel?.release).toBe(os.release());
    expect(kernel?.process.uid).toBe(process.geteuid?.());
    expect(kernel?.pageSize).toBeGreaterThanOrEqual(4096);
    // A sysfs is named, and it is this machine's.
    expect((await readSurvey({ sysfs: "/sys" })).kernel?.release).toBe(os.release());
  });
});

describe("a device tree's survey", () => {
  it("knows no kernel", async () => {
    const topology = mergeTopologies([topologyOfDeviceTree(dual, "dual-smmu.dts")]);
    expect(await readSurvey({ deviceTree: "dual-smmu" }, { probe: true, log: true })).toEqual({
      topology,
      kernel: undefined,
    });
  });
});

describe("a saved machine", () => {
  it("surveys as what it was saved from", async () => {
    for (const [name, file] of [
      ["plain", inScratch("board.json")],
      ["compressed", inScratch("board.json.gz")],
    ] as const) {
      await saveSurvey(file, { sysfs: whole.folder }, { probe: true });
      const survey = await readSurvey({ machine: file }, { devices: ["dma-port"] });
      expect(unnamed(survey), name).toEqual(
        unnamed(await readSurvey({ sysfs: whole.folder }, { devices: ["dma-port"] })),
      );
      expect(readTopology({ machine: file })).toEqual(survey.topology);
      expect(survey.topology.sources[0]).toEqual({ kind: "sysfs", name: path.basename(file) });
      const together = readTopology({ machine: file, deviceTree: "dual-smmu" });
      expect(together.sources.map((source) => source.name)).toEqual([path.basename(file), "dual-smmu.dts"]);
    }
    expect(fs.statSync(inScratch("board.json.gz")).size).toBeLessThan(fs.statSync(inScratch("board.json")).size / 3);
    expect(fs.readdirSync(scratch).filter((name) => name.includes("tmp"))).toEqual([]);
  });

  it("is written whole or not at all", async () => {
    const file = inScratch("kept.json");
    const link = inScratch("link.json");
    fs.writeFileSync(file, "older");
    fs.symlinkSync(file, link);
    expect(await errorFrom(saveSurvey(file, { sysfs: "/no/such/folder" }))).toMatchObject({
      code: "ERR_IOSPAN_INVALID_ARGUMENT",
    });
    expect(fs.readFileSync(file, "utf8")).toBe("older");
    await saveSurvey(link, { sysfs: sysfsOnly.folder });
    expect(JSON.parse(fs.readFileSync(file, "utf8"))).toMatchObject({ format: "iospan-machine", version: 1 });
    expect(fs.lstatSync(link).isSymbolicLink()).toBe(true);
    for (const wrong of ["/dev/null", scratch, "/no/such/folder/board.json"]) {
      const error = await errorFrom(saveSurvey(wrong, { sysfs: sysfsOnly.folder }));
      expect(error).toMatchObject({ code: "ERR_IOSPAN_INVALID_ARGUMENT", message: expect.stringContaining(wrong) });
      expect((error as Error).message).not.toContain(".tmp");
    }
    expect(fs.readdirSync(scratch).filter((name) => name.includes("tmp"))).toEqual([]);
  });

  it("is of a machine, not of firmware or of what is saved", async () => {
    const file = inScratch("again.json");
    await saveSurvey(file, { sysfs: whole.folder });
    for (const flags of [
      { machine: file },
      { deviceTree: "dual-smmu" },
      { sysfs: whole.folder, deviceTree: "dual-smmu" },
    ]) {
      const error = await errorFrom(saveSurvey(inScratch("other.json"), flags));
      expect(error).toMatchObject({ code: "ERR_IOSPAN_INVALID_ARGUMENT" });
    }
    expect(fs.existsSync(inScratch("other.json"))).toBe(false);
  });

  it.each([
    ["missing.json", undefined, "ERR_IOSPAN_INVALID_ARGUMENT", "there is no such file"],
    ["cut.json", '{"format": "iospan-mach', "ERR_IOSPAN_SAVED_MACHINE", "cut.json is no saved machine"],
    ["cut.json.gz", gzipSync("{}").subarray(0, 12), "ERR_IOSPAN_INVALID_ARGUMENT", "cut.json.gz"],
    ["dual-smmu.dts", dual, "ERR_IOSPAN_SAVED_MACHINE", "dual-smmu.dts is no saved machine"],
  ] as const)("is not read of %s", async (name, content, code, message) => {
    const machine = inScratch(name);
    if (content !== undefined) fs.writeFileSync(machine, content);
    const refusal = { code, message: expect.stringContaining(message), hint: expect.stringContaining("saved") };
    expect(await errorFrom(readSurvey({ machine }))).toMatchObject(refusal);
    expect(errorOf(() => readTopology({ machine }))).toMatchObject(refusal);
  });

  it("is not read of a folder", () => {
    expect(errorOf(() => readTopology({ machine: scratch }))).toMatchObject({
      message: expect.stringContaining("not a file"),
    });
  });
});
