import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { stripVTControlCharacters } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { readChip } from "../../src/cli/chip-file.js";
import { approachNames } from "../../src/cli/demo/approaches.js";
import { releases } from "../../src/cli/demo/options.js";
import { shippedChips } from "../../src/cli/package-files.js";
import { widthOf } from "../../src/cli/text/width.js";
import { encodeBlob } from "../../src/devicetree/blob-writer.js";
import { parseSource } from "../../src/devicetree/source.js";
import { capture } from "./support/captured.js";

const folder = mkdtempSync(path.join(tmpdir(), "iospan-demo-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, content: string | Uint8Array): string {
  const full = path.join(folder, name);
  writeFileSync(full, content);
  return full;
}

/** A chip of the package's, with something changed. */
function chip(name: string, what: string | RegExp = "", into = ""): string {
  return new TextDecoder().decode(readChip(name).content).replace(what, into);
}

const wide = (text: string) => text.split("\n").filter((line) => widthOf(stripVTControlCharacters(line)) > 80);

describe("iospan demo", () => {
  it("tells the story of the default chip, and succeeds", async () => {
    const { exitCode, stdout, stderr } = await capture(["demo"]);
    expect(exitCode).toBe(0);
    expect(stderr).toBe("");
    expect(stdout).toMatch(/^dual-smmu\.dts {2}simulated Linux 7\.3/);
    expect(stdout).toContain("one DMA engine");
    expect(stdout).toContain("✗ refused  EINVAL from VFIO_DEVICE_ATTACH_IOMMUFD_PT");
    expect(stdout.match(/✓ works/g)).toHaveLength(3);
    expect(stdout).toMatch(/^ {3}both .* 1\.9\dx$/m);
    expect(stdout).toMatch(/\n✓ As expected\. [^✗]*\n$/);
    expect(stdout.split("\n").length).toBeLessThan(50);
  });

  it.each(shippedChips())("fits %s into 80 columns, with and without colours", async (name) => {
    const plain = await capture(["demo", "--chip", name]);
    expect(plain.exitCode).toBe(0);
    expect(wide(plain.stdout)).toEqual([]);
    expect(plain.stdout).not.toMatch(/ $/m);
    const coloured = await capture(["demo", "--chip", name], { terminal: true, columns: 80 });
    expect(coloured.stdout).toContain("\u001b[32m");
    expect(stripVTControlCharacters(coloured.stdout)).toBe(plain.stdout);
  });

  it.each(releases)("knows Linux %s", async (release) => {
    const { exitCode, stdout } = await capture(["demo", "--release", release]);
    expect(exitCode).toBe(0);
    expect(wide(stdout)).toEqual([]);
    expect(stdout).toContain(`simulated Linux ${release}`);
  });

  it("writes colours only where they are wanted", async () => {
    const colours = async (env: Record<string, string>, terminal: boolean) => {
      const { stdout } = await capture(["demo", "--approach", "mirrored"], { env, terminal });
      return stdout.includes("\u001b");
    };
    expect(await colours({}, true)).toBe(true);
    expect(await colours({}, false)).toBe(false);
    expect(await colours({ NO_COLOR: "1" }, true)).toBe(false);
    expect(await colours({ FORCE_COLOR: "1" }, false)).toBe(true);
  });
});

describe("--approach", () => {
  it.each([
    [["--approach", "mirrored"], ["mirrored"]],
    [
      ["--approach", "shared-container,single-domain"],
      ["single-domain", "shared-container"],
    ],
    [
      ["-a", "iommufd", "-a", "mirrored,iommufd"],
      ["mirrored", "iommufd"],
    ],
    [[], approachNames],
  ])("%j tries %j", async (argv, expected) => {
    const { exitCode, stdout } = await capture(["demo", "--json", ...argv]);
    expect(exitCode).toBe(0);
    const { approaches } = JSON.parse(stdout);
    expect(approaches.map(({ approach }: { approach: string }) => approach)).toEqual(expected);
  });
});

describe("--chip", () => {
  it("takes a source or a blob, from anywhere", async () => {
    const source = file("mine.dts", chip("dual-smmu"));
    const blob = file("mine.dtb", encodeBlob(parseSource(chip("dual-smmu"))));
    const runs = await Promise.all([source, blob].map((name) => capture(["demo", "--json", "--chip", name])));
    const [fromSource, fromBlob] = runs.map(({ stdout }) => JSON.parse(stdout));
    expect([fromSource.machine.chip, fromBlob.machine.chip]).toEqual(["mine.dts", "mine.dtb"]);
    expect(fromBlob.approaches).toEqual(fromSource.approaches);
    expect(runs.map(({ exitCode }) => exitCode)).toEqual([0, 0]);
  });

  it.each([
    ["no device tree", "hello", "/dts-v1/"],
    ["an empty file", "", "it is empty"],
    ["a damaged blob", Uint8Array.of(0xd0, 0x0d, 0xfe, 0xed, 0, 0), "blob"],
    ["a syntax error", chip("dual-smmu", "reg =", "reg"), "line"],
    ["no SMMU", "/dts-v1/;\n/ { #address-cells = <2>; #size-cells = <2>; };", "smmu"],
    ["nothing that does DMA", chip("two-pcie", /pci1234,11e8/g, "pci1234,0001"), "do DMA"],
    ["a port that cannot be reset", chip("dual-smmu", "iospan,vfio-reset;", ""), "vfio-platform"],
  ])("%s is an error", async (_, content, says) => {
    const name = file("bad.dts", content);
    const { exitCode, stdout, stderr } = await capture(["demo", "--chip", name]);
    expect(exitCode).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toMatch(/^error: .*\n( {7}.*\n)*hint: {2}.*\n( {7}.*\n)*$/);
    expect(stderr.toLowerCase()).toContain(says.toLowerCase());
    expect(wide(stderr)).toEqual([]);
    const json = await capture(["demo", "--json", "--chip", name]);
    expect([json.exitCode, json.stderr]).toEqual([2, ""]);
    expect(JSON.parse(json.stdout)).toEqual({
      error: { code: expect.stringMatching(/^ERR_IOSPAN_/), message: expect.any(String), hint: expect.any(String) },
    });
  });

  it("exits 1 when something does not behave as it should, and says what", async () => {
    // 3 MiB of memory: what every approach needs cannot be pinned.
    const name = file("small.dts", chip("dual-smmu", "<0x0 0x40000000 0x1 0x0>", "<0x0 0x40000000 0x0 0x300000>"));
    const { exitCode, stdout } = await capture(["demo", "--chip", name, "--approach", "single-domain,mirrored"]);
    expect(exitCode).toBe(1);
    expect(stdout).toContain("✗ fails    ENOMEM from");
    expect(stdout).toContain("! expected that it works");
    expect(stdout).toContain("✗ Not as expected: mirrored.");
    expect(wide(stdout)).toEqual([]);
    const json = await capture(["demo", "--json", "--chip", name, "--approach", "mirrored"]);
    expect(json.exitCode).toBe(1);
    expect(JSON.parse(json.stdout)).toMatchObject({ asExpected: false, approaches: [{ works: false }] });
  });

  it.each([
    [
      "a function that no SMMU translates for",
      /iommu-map = .*/,
      "iommu-map = <0x1000 &smmu0 0x1000 0x100>;",
      "0000:01:00.0  no IOMMU",
    ],
    ["a port that is disabled", "iospan,vfio-reset;", 'status = "disabled";', "/dma-port@9030000  status is"],
  ])("%s leaves nothing to span, which is no success", async (_, what, into, leftOut) => {
    const name = file("alone.dts", chip("dual-smmu", what, into));
    const { exitCode, stdout } = await capture(["demo", "--chip", name, "--approach", "mirrored"]);
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(/\n! Only one interface can do DMA through an IOMMU, nothing to span\.\n$/);
    expect(stdout).toContain(`left out ${leftOut}`);
  });

  it("exits 0 when what was tried is refused as it should be, and something else works", async () => {
    const { exitCode, stdout } = await capture(["demo", "--approach", "single-domain"]);
    expect(exitCode).toBe(0);
    expect(stdout).toContain("✓ As expected. With 2 IOMMUs, single-domain (EINVAL) is refused.");
  });

  it("exits 1 when nothing can span the interfaces", async () => {
    const name = file("unsafe.dts", chip("dual-smmu", /msi-map = [^;]*;|msi-parent = [^;]*;/g, ""));
    const { exitCode, stdout } = await capture(["demo", "--chip", name]);
    expect(exitCode).toBe(1);
    expect(stdout).toContain("! Nothing spans the interfaces.");
  });

  it("does not let names in it command the terminal", async () => {
    const name = file("\u001b[31mred.dts", chip("dual-smmu"));
    const { stdout } = await capture(["demo", "--chip", name, "--approach", "mirrored"]);
    expect(stdout).not.toContain("\u001b");
  });
});

describe("--json", () => {
  it("has the shape that programs rely on, and nothing else on either stream", async () => {
    const { exitCode, stdout, stderr } = await capture(["demo", "--json"], { terminal: true, env: { TERM: "dumb" } });
    expect([exitCode, stderr]).toEqual([0, ""]);
    const result = JSON.parse(stdout);
    const name = expect.any(String);
    const count = expect.any(Number);
    expect(result.machine.iommus).toContainEqual(expect.objectContaining({ name, compatible: "arm,smmu-v3" }));
    expect(result.machine.interfaces).toEqual([
      { device: "0000:01:00.0", bus: "pci", iommu: name, group: count },
      { device: "9030000.dma-port", bus: "platform", iommu: name, group: count },
    ]);
    const [refused, ...working] = result.approaches;
    expect(refused).toMatchObject({
      ...{ approach: "single-domain", works: false, throughput: null, dma: [] },
      error: { syscall: "VFIO_DEVICE_ATTACH_IOMMUFD_PT", errno: "EINVAL", message: name },
    });
    for (const each of working) {
      expect(each).toMatchObject({
        ...{ works: true, error: null, containers: count, domains: 2, pinnedPages: count },
        throughput: { onePath: count, bothPaths: count, ratio: count },
      });
      for (const dma of each.dma) expect(dma).toMatchObject({ interface: name, bytes: count, verified: true });
    }
    expect(Array.isArray(result.kernelLog)).toBe(true);
  });
});

describe("--trace", () => {
  it("has every call on the standard error output, under the approach's name", async () => {
    const { stdout, stderr } = await capture(["demo", "--trace", "--json", "-a", "single-domain,mirrored"]);
    expect(() => JSON.parse(stdout)).not.toThrow();
    const [before, single = "", mirrored = ""] = stderr.split(/^── .*─$/m);
    expect(before).toBe("");
    expect(stderr).toMatch(/^── single-domain ─+\n/);
    expect(single).toMatch(/VFIO_DEVICE_ATTACH_IOMMUFD_PT, .* = -1 EINVAL/);
    expect(mirrored.match(/VFIO_IOMMU_MAP_DMA, \{argsz=32, .*\) = 0$/gm)?.length).toBeGreaterThanOrEqual(2);
    expect(stderr).not.toContain("/sys/");
  });

  it("is broken into 80 columns on a terminal, and one line a call in a file", async () => {
    const argv = ["demo", "--trace", "-a", "mirrored"];
    const terminal = (await capture(argv, { terminal: true, columns: 80 })).stderr;
    expect(wide(terminal)).toEqual([]);
    const lines = (await capture(argv)).stderr.trimEnd().split("\n").slice(1);
    const [stages, calls] = [lines.filter((each) => /^─/.test(each)), lines.filter((each) => /^\w/.test(each))];
    expect(stages.length + calls.length).toBe(lines.length);
    expect(stages.map((each) => each.replace("─ mirrored: ", ""))).toEqual([
      "opening",
      "mapping",
      "DMA over every interface",
      "closing",
    ]);
    for (const call of calls) expect(call).toMatch(/^\w+\(.*\) = .+$/);
    const joined = stripVTControlCharacters(terminal).replace(/\s/g, "");
    for (const call of calls) expect(joined).toContain(call.replace(/\s/g, ""));
  });
});
