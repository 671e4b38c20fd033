import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { stripVTControlCharacters } from "node:util";
import { afterAll, describe, expect, it, vi } from "vitest";
import { readChip } from "../../src/cli/chip-file.js";
import { packageFile, shippedChips } from "../../src/cli/package-files.js";
import { widthOf } from "../../src/cli/text/width.js";
import { drawSvg } from "../../src/cli/topology/svg.js";
import { encodeBlob } from "../../src/devicetree/blob-writer.js";
import { parseSource } from "../../src/devicetree/source.js";
import { machineOne } from "../../src/sim/linux/machine-one.js";
import { simulate } from "../../src/sim/simulate.js";
import { topologyToDot } from "../../src/topology/render/dot.js";
import { topologyOfDeviceTree } from "../../src/topology/topology-of-device-tree.js";
import { CopiedSysfs } from "../topology/support/copied-sysfs.js";
import { iortTable } from "../topology/support/iort-table.js";
import { capture } from "./support/captured.js";

const folder = mkdtempSync(path.join(tmpdir(), "iospan-topology-"));
const copied = new CopiedSysfs(machineOne());
afterAll(() => {
  rmSync(folder, { recursive: true });
  copied[Symbol.dispose]();
});

function file(name: string, content: string | Uint8Array): string {
  const full = path.join(folder, name);
  writeFileSync(full, content);
  return full;
}

const wide = (text: string) => text.split("\n").filter((line) => widthOf(stripVTControlCharacters(line)) > 80);
const topology = (...argv: readonly string[]) => capture(["topology", ...argv]);

describe("iospan topology", () => {
  it("shows a device tree as IOMMUs and what is behind them", async () => {
    const { exitCode, stdout, stderr } = await topology("--device-tree", "dual-smmu");
    expect(exitCode).toBe(0);
    expect(stderr).toBe("");
    expect(stdout).toBe(`dual-smmu.dts (device tree)
2 IOMMUs, 4 devices, 4 GiB of memory; groups and drivers are unknown
├─ smmu3.0x000000000c000000  arm,smmu-v3
│  ├─ 4010000000.pcie  platform  PCI host  IDs 0x0 to 0xffff
│  ├─ 0000:00:01.0     PCIe      1b36:000c  ID 0x8
│  └─ 0000:01:00.0     PCIe      1234:d9e1  ID 0x100  part of dma@0,0
└─ smmu3.0x000000000c020000  arm,smmu-v3
   └─ 9030000.dma-port  platform  ID 0x42  part of dma@0,0
`);
  });

  it("prints what the README shows", async () => {
    const readme = readFileSync(packageFile("README.md"), "utf8");
    const [, sample = ""] = /npx iospan topology --device-tree dual-smmu\n(.*?)```/s.exec(readme) ?? [];
    expect((await topology("--device-tree", "dual-smmu")).stdout).toBe(sample);
  });

  it("shows a copied sysfs as IOMMU, group and device with its driver", async () => {
    const { exitCode, stdout } = await topology("--sysfs", copied.folder);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^reserved in every group: msi 0x8000000 to 0x80fffff$/m);
    expect(stdout).toMatch(/^│ {2}[├└]─ group 6 +0000:02:00\.0 {2}PCIe {6}1234:11e8 {2}vfio-pci$/m);
    const bare = await topology("--sysfs", copied.folder, "--by", "bus");
    expect(bare.stdout).toMatch(/^└─ pci {2}11 devices$/m);
  });

  it("takes a copy of the root as well as one of /sys", async () => {
    const chip = simulate(readChip("dual-smmu").content);
    using root = new CopiedSysfs(chip.syscalls);
    const parent = mkdtempSync(path.join(tmpdir(), "iospan-root-"));
    cpSync(root.folder, path.join(parent, "sys"), { recursive: true, verbatimSymlinks: true });
    const { stdout } = await topology("--sysfs", parent, "--json");
    rmSync(parent, { recursive: true });
    expect(JSON.parse(stdout).iommus).toHaveLength(2);
  });

  it("reads the firmware that a copy has in it, and goes on without what is damaged", async () => {
    const { content } = readChip("dual-smmu");
    using copy = new CopiedSysfs(simulate(content).syscalls);
    copy.file("firmware/fdt", encodeBlob(parseSource(new TextDecoder().decode(content))));
    const good = await topology("--sysfs", copy.folder, "--json");
    expect(JSON.parse(good.stdout)).toMatchObject({
      sources: [{ kind: "sysfs" }, { kind: "device-tree" }],
      findings: [],
    });
    copy.file("firmware/acpi/tables/IORT", "IORT, but not really a table of any kind");
    const { exitCode, stdout } = await topology("--sysfs", copy.folder);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/- \/sys\/firmware\/acpi\/tables\/IORT was left out: IORT: byte 0x4/);
  });

  it("merges what is given together, and tells where they disagree", async () => {
    using copy = new CopiedSysfs(simulate(readChip("dual-smmu").content).syscalls);
    const other = new TextDecoder().decode(readChip("dual-smmu").content).replace("<&smmu1 0x42>", "<&smmu0 0x42>");
    const { stdout } = await topology("--sysfs", copy.folder, "--device-tree", file("other.dts", other));
    expect(stdout).toMatch(/^ {2}! 9030000\.dma-port is behind smmu3\.0x000000000c020000, says the kernel, and/m);
    expect(stdout).toContain("not used by Linux");
    expect(wide(stdout)).toEqual([]);
  });

  it("reads an IORT", async () => {
    const smmu = { type: "smmu-v3", address: 0x1000n, model: 0, flags: 0, ownMapping: undefined } as const;
    const { exitCode, stdout } = await topology("--iort", file("IORT", iortTable([{ body: smmu }])));
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(
      /^IORT \(ACPI IORT\)\n1 IOMMU, 0 devices; .*\n└─ smmu3\.0x0000000000001000 {2}arm,smmu-v3\n$/,
    );
  });

  it.each(["iommu", "group", "bus"])("goes by %s, in 80 columns, with and without colours", async (by) => {
    const sources = [["--sysfs", copied.folder], ...shippedChips().map((name) => ["--device-tree", name])];
    for (const source of sources) {
      const plain = await topology(...source, "--by", by);
      expect(wide(plain.stdout)).toEqual([]);
      expect(plain.stdout).not.toMatch(/ $/m);
      const env = { COLUMNS: "80" };
      const coloured = await capture(["topology", ...source, "--by", by], { terminal: true, env });
      expect(coloured.stdout).toContain("\u001b[");
      expect(stripVTControlCharacters(coloured.stdout)).toBe(plain.stdout);
      const quiet = await capture(["topology", ...source, "--by", by], {
        terminal: true,
        env: { ...env, NO_COLOR: "1" },
      });
      expect(quiet.stdout).toBe(plain.stdout);
    }
  });

  it("keeps long and hostile names within a line", async () => {
    const long = "x".repeat(90);
    const name = file(
      "long.dts",
      `/dts-v1/; / { a: ${long} { #iommu-cells = <1>; status = "disabled"; compatible = "arm,smmu-v3"; };
        ${long}2 { compatible = "y"; status = "fail-${long}"; iommus = <&a 1>, <&a 2>, <&a 3>; }; };`,
    );
    for (const by of ["iommu", "bus"]) {
      const { stdout } = await topology("--device-tree", name, "--by", by);
      expect(wide(stdout)).toEqual([]);
      expect(stdout).toContain("…");
    }
  });

  it("writes the other formats", async () => {
    const as = async (...argv: string[]) => (await topology("--device-tree", "dual-smmu", ...argv)).stdout;
    expect(await as("--format", "mermaid")).toMatch(/^---\ntitle: "dual-smmu\.dts"\n---\nflowchart LR\n/);
    expect(await as("--format", "dot")).toMatch(/^digraph "dual-smmu\.dts" \{/);
    expect(JSON.parse(await as("--format", "json"))).toEqual(JSON.parse(await as("--json")));
  });

  it("filters, and says by its exit code that nothing is left", async () => {
    const one = await topology("--device-tree", "dual-smmu", "--device", "dma-port");
    expect(one.exitCode).toBe(0);
    expect(one.stdout).toContain("1 IOMMU, 1 device");
    const none = await topology("--device-tree", "dual-smmu", "--driver", "nvme");
    expect(none.exitCode).toBe(1);
  });

  it.each([
    [["--iommu", "xyz"], "no IOMMU matches xyz; there are smmu3.0x000000000c000000, smmu3.0x000000000c020000"],
    [["--group", "3"], "groups are unknown: a device tree has none, the kernel makes them"],
    [["--driver", "nvme"], "drivers are unknown: a device tree has none, the kernel chooses them"],
    [["--bus", "usb"], "no device is on a bus usb; there are platform, pci"],
    [["--device", "dma-prt"], "no device matches dma-prt; there are "],
    [["--device", "dma-port", "--bus", "pci"], "nothing has all that was asked for at once"],
  ])("says why nothing is left with %j", async (filters, reason) => {
    const { exitCode, stdout } = await capture(["topology", "-t", "dual-smmu", ...filters]);
    expect(exitCode).toBe(1);
    const [source, ...rest] = stdout.trimEnd().split("\n");
    expect(source).toBe("dual-smmu.dts (device tree)");
    expect(rest.map((each) => each.trim()).join(" ")).toContain(reason);
  });

  it("leaves out a column in all rows or in none", async () => {
    for (const [columns, shown] of [
      [60, 0],
      [80, 2],
    ] as const) {
      const { stdout } = await capture(["topology", "-t", "dual-smmu"], { env: { COLUMNS: String(columns) } });
      expect(stdout.match(/1b36:000c|1234:d9e1/g) ?? []).toHaveLength(shown);
    }
  });

  it("filters by group and bus, in every format", async () => {
    for (const format of ["tree", "json", "mermaid", "dot", "svg"]) {
      const group = await topology("--sysfs", copied.folder, "--group", "6", "--format", format);
      expect(group.stdout).toContain("0000:02:00.0");
      expect(group.stdout).not.toContain("0000:01:00.0");
      const bus = await topology("--device-tree", "dual-smmu", "--bus", "platform", "--format", format);
      expect(bus.stdout).toContain("9030000.dma-port");
      expect(bus.stdout).not.toContain("0000:01:00.0");
    }
    expect((await topology("--sysfs", copied.folder, "--group", "none")).stdout).not.toMatch(/group \d/);
    const wrong = await topology("--group", "six");
    expect(wrong).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("--group takes a number or none") });
  });

  it("says in one line what a board does not use, and each of it where all is wanted", async () => {
    const off = Array.from(
      { length: 9 },
      (_, index) => `off${index} { compatible = "acme,off"; iommus = <&a ${index}>; status = "disabled"; };`,
    ).join(" ");
    const source = `/dts-v1/; / { a: iommu { #iommu-cells = <1>; compatible = "arm,smmu-v3"; };
      on { compatible = "acme,on"; iommus = <&a 99>; }; ${off} };`;
    const board = file("off.dts", source);
    const short = (await topology("--device-tree", board)).stdout;
    expect(short).toMatch(/^ {3}└─ 9 switched off \(--all\): off0, off1, .*…?$/m);
    expect(short).not.toContain("off: disabled");
    expect((await topology("--device-tree", board, "--all")).stdout.match(/off: disabled/g)).toHaveLength(9);
    expect((await topology("--device-tree", board, "--format", "dot")).stdout).not.toContain("off0");
    expect((await topology("--device-tree", board, "--format", "dot", "--all")).stdout).toContain("off0");
  });

  it("shows the first of many findings of a kind, and all of them where they are wanted", async () => {
    const shared = Array.from({ length: 12 }, (_, at) => `d${at} { compatible = "x"; iommus = <&a ${at >> 1}>; };`);
    const board = file("shared.dts", `/dts-v1/; / { a: iommu { #iommu-cells = <1>; }; ${shared.join(" ")} };`);
    const { stdout } = await topology("--device-tree", board);
    expect(stdout.match(/ share ID /g)).toHaveLength(2);
    expect(stdout).toContain("and 4 more like these: --all shows them");
    expect((await topology("--device-tree", board, "--all")).stdout.match(/ share ID /g)).toHaveLength(6);
  });

  it("uses the columns of a wider terminal", async () => {
    const { stdout } = await capture(["topology", "--sysfs", copied.folder, "--by", "group"], { terminal: true });
    const widest = Math.max(...stdout.split("\n").map((each) => widthOf(stripVTControlCharacters(each))));
    expect(widest).toBeGreaterThan(80);
    expect(widest).toBeLessThanOrEqual(120);
  });

  it("watches until Ctrl-C, which is no failure, and leaves nothing behind", async () => {
    const listeners = process.listenerCount("SIGINT");
    const watching = topology("--device-tree", "dual-smmu", "--watch");
    await vi.waitUntil(() => process.listenerCount("SIGINT") > listeners);
    process.emit("SIGINT");
    const { exitCode, stdout } = await watching;
    expect(exitCode).toBe(0);
    expect(stdout).toBe((await topology("--device-tree", "dual-smmu")).stdout);
    expect(process.listenerCount("SIGINT")).toBe(listeners);
  });

  it("draws an SVG that needs no other file", async () => {
    const { exitCode, stdout } = await topology("--device-tree", "dual-smmu", "--format", "svg");
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^<svg [\s\S]*<\/svg>\n$/);
    expect(stdout).not.toMatch(/<!DOCTYPE|<script|href=|url\(|@import/);
    for (const text of [
      "0000:01:00.0",
      "9030000.dma-port",
      "PCIe interface",
      "StreamID 0x100",
      "StreamID 0x42",
      "4 GiB",
    ])
      expect(stdout.replaceAll("&#160;", " ")).toContain(text);
    expect(stdout.match(/class="node iommu"/g)).toHaveLength(2);
    expect(stdout.match(/class="edge"/g)).toHaveLength(5);
    expect(stdout).toContain('class="cluster engine"');
    expect(stdout).toContain("@media (prefers-color-scheme:dark)");
  });

  it("draws whatever names there are", async () => {
    const hostile = '</text><script>&amp;\u0001"\\';
    const source = `/dts-v1/; / { model = "x"; a: iommu { #iommu-cells = <1>; compatible = "arm,smmu-v3"; };
      d { compatible = "y"; iommus = <&a 1>; }; };`;
    const { exitCode, stdout } = await topology("--device-tree", file("evil&<b>.dts", source), "--format", "svg");
    expect(exitCode).toBe(0);
    expect(stdout).not.toContain("<b>.dts");
    const picture = await drawSvg(
      topologyToDot({ ...topologyOfDeviceTree(source), sources: [{ kind: "device-tree", name: hostile }] }),
    );
    expect(picture).not.toContain("<script>");
    expect(picture).toContain("&lt;/text&gt;");
  });

  it("refuses to draw what is no picture", async () => {
    await expect(drawSvg("digraph {")).rejects.toMatchObject({ code: "ERR_IOSPAN_PICTURE" });
  });

  it("shows this machine where nothing is named", async () => {
    const { exitCode, stdout, stderr } = await topology();
    expect(stderr).toBe("");
    expect([0, 1]).toContain(exitCode);
    expect(stdout).toMatch(/^\/sys/);
    expect(wide(stdout)).toEqual([]);
  });

  it.each([
    [["--device-tree", "/nowhere.dtb"], /cannot read the device tree \/nowhere\.dtb: there is no such file/],
    [["--sysfs", "/nowhere"], /cannot read the sysfs \/nowhere: there is no such folder/],
    [["--sysfs", tmpdir()], /is no sysfs/],
    [["--iort", "/nowhere"], /cannot read the table \/nowhere: there is no such file/],
    [["--iort", tmpdir()], /cannot read the table/],
    [["--format", "xml"], /--format/],
    [["--by", "colour"], /--by/],
    [["--nonsense"], /unknown option/],
  ])("refuses %j", async (argv, message) => {
    const { exitCode, stdout, stderr } = await topology(...argv);
    expect(exitCode).toBe(2);
    expect(stdout).toBe("");
    expect(stderr.replace(/\s+/g, " ")).toMatch(message);
    expect(stderr).toMatch(/^hint: /m);
    const json = await topology(...argv, "--json");
    expect(JSON.parse(json.stdout).error.hint).not.toBe("");
  });

  it("explains itself, with examples", async () => {
    const { exitCode, stdout } = await topology("--help");
    expect(exitCode).toBe(0);
    expect(stdout).toContain("Examples:");
    expect(wide(stdout)).toEqual([]);
    expect((await capture(["--help"])).stdout).toMatch(/^ {2}topology /m);
  });
});
