import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { stripVTControlCharacters } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { readChip } from "../../src/cli/chip-file.js";
import { packageFile, shippedChips } from "../../src/cli/package-files.js";
import { widthOf } from "../../src/cli/text/width.js";
import { encodeBlob } from "../../src/devicetree/blob-writer.js";
import { parseSource } from "../../src/devicetree/source.js";
import { machineOne } from "../../src/sim/linux/machine-one.js";
import { simulate } from "../../src/sim/simulate.js";
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
│  ├─ 4010000000.pcie  platform  a bus  IDs 0x0 to 0xffff
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
    expect(stdout).toMatch(/^│ {2}[├└]─ group 6 {2}reserved: msi 0x8000000 to 0x80fffff$/m);
    expect(stdout).toMatch(/^│ {2}[│ ] {2}└─ 0000:02:00\.0 {2}PCIe {6}1234:11e8 {2}vfio-pci$/m);
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
      const coloured = await capture(["topology", ...source, "--by", by], { terminal: true });
      expect(coloured.stdout).toContain("\u001b[");
      expect(stripVTControlCharacters(coloured.stdout)).toBe(plain.stdout);
      const quiet = await capture(["topology", ...source, "--by", by], { terminal: true, env: { NO_COLOR: "1" } });
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
    expect(await as("--format", "mermaid")).toMatch(/^flowchart LR\n/);
    expect(await as("--format", "dot")).toMatch(/^digraph topology \{/);
    expect(JSON.parse(await as("--format", "json"))).toEqual(JSON.parse(await as("--json")));
  });

  it("filters, and says by its exit code that nothing is left", async () => {
    const one = await topology("--device-tree", "dual-smmu", "--device", "dma-port");
    expect(one.exitCode).toBe(0);
    expect(one.stdout).toContain("1 IOMMU, 1 device");
    const none = await topology("--device-tree", "dual-smmu", "--driver", "nvme");
    expect(none.exitCode).toBe(1);
  });

  it("shows this machine where nothing is named", async () => {
    const { exitCode, stdout, stderr } = await topology();
    expect(stderr).toBe("");
    expect([0, 1]).toContain(exitCode);
    expect(stdout).toMatch(/^\/sys/);
    expect(wide(stdout)).toEqual([]);
  });

  it.each([
    [["--device-tree", "/nowhere.dtb"], /cannot read the chip \/nowhere\.dtb: there is no such file/],
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
