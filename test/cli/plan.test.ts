import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { stripVTControlCharacters } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { readChip } from "../../src/cli/chip-file.js";
import { shippedChips } from "../../src/cli/package-files.js";
import { widthOf } from "../../src/cli/text/width.js";
import { simulate } from "../../src/sim/simulate.js";
import { CopiedSysfs } from "../topology/support/copied-sysfs.js";
import { capture } from "./support/captured.js";

const folder = mkdtempSync(path.join(tmpdir(), "iospan-plan-"));
const copied = new CopiedSysfs(
  simulate(readChip("dual-smmu").content, { drivers: "vfio", resetRequired: false }).syscalls,
);
const bare = new CopiedSysfs(simulate(readChip("dual-smmu").content).syscalls);
afterAll(() => {
  rmSync(folder, { recursive: true });
  copied[Symbol.dispose]();
  bare[Symbol.dispose]();
});

const plan = (...argv: readonly string[]) => capture(["plan", ...argv]);
const BOTH = ["01:00.0", "dma-port"] as const;
/** Commands are not broken, so that they can be copied. */
const wide = (text: string) =>
  text.split("\n").filter((line) => !/^ +# /.test(line) && widthOf(stripVTControlCharacters(line)) > 80);

describe("iospan plan", () => {
  it("says first whether it goes, then why, and what is to be done", async () => {
    const { exitCode, stdout, stderr } = await plan("--device-tree", "dual-smmu", ...BOTH);
    expect(exitCode).toBe(0);
    expect(stderr).toBe("");
    expect(stdout).toBe(`Yes, after 3 steps: these 2 devices can share one I/O address space; they are
behind 2 IOMMUs, which come to hold the same mappings: smmu3.0x000000000c000000
and smmu3.0x000000000c020000.

Devices
  0000:01:00.0      behind smmu3.0x000000000c000000
  9030000.dma-port  behind smmu3.0x000000000c020000

Strategies
  iommufd           unknown  it takes /dev/iommu and /dev/vfio/devices (Linux
                             6.6, built with both); ls /dev/iommu there tells
  shared-container  unknown  Linux 6.14 to 6.15.2 blocks the DMA of devices
                             behind a second SMMUv3 without a word; uname -r
                             tells whether it is one
  mirrored          yes      a container for each of smmu3.0x000000000c000000
                             and smmu3.0x000000000c020000, on every kernel with
                             VFIO
  single-domain     no       a domain of smmu3.0x000000000c000000 takes no
                             device behind smmu3.0x000000000c020000 (EINVAL)

Limits
  addresses  0x0-0x7ffffff, 0x8100000 and up; how far is told when VFIO has the
             devices
             without 0x8000000-0x80fffff: for every device
  pages      told when VFIO has the devices
  memory     the limit is not known; a GiB that is mapped counts 1 GiB with
             iommufd and shared-container, 2 GiB with mirrored
  mappings   65535 in a container: 256 MiB in pieces of 4 KiB, 128 GiB in pieces
             of 2 MiB and 64 TiB in pieces of 1 GiB

To do first
  1. have vfio-platform take 9030000.dma-port without a reset handler, unless
     there is a module with one (vfio-reset:…); vfio-platform takes
     CONFIG_VFIO_PLATFORM, which many distributions lack
     # modprobe vfio-platform reset_required=0
  2. bind 0000:01:00.0, to vfio-pci; or, with a way back: iospan bind
     0000:01:00.0
     # echo vfio-pci > /sys/bus/pci/devices/0000:01:00.0/driver_override
     # echo 0000:01:00.0 > /sys/bus/pci/drivers_probe
  3. bind 9030000.dma-port, to vfio-platform; or, with a way back: iospan bind
     9030000.dma-port
     # echo vfio-platform > /sys/bus/platform/devices/9030000.dma-port/driver_override
     # echo 9030000.dma-port > /sys/bus/platform/drivers_probe

Beware
  - Linux comes with no reset for 9030000.dma-port: VFIO takes it with
    reset_required=0, and its driver has to stop its DMA
  - VFIO refuses 9030000.dma-port (EPERM) unless its interrupts are isolated, on
    Arm by an msi-parent; nothing read tells
  - VFIO refuses 0000:01:00.0 (EPERM) unless its interrupts go to an ITS
    (msi-map), as is taken for granted here; nothing read tells
  - 0000:01:00.0 and 9030000.dma-port are interfaces of one device, dma@0,0
`);
  });

  it("fails where it does not go, and says why in the first line", async () => {
    const text = new TextDecoder().decode(readChip("dual-smmu").content).replaceAll("dma-coherent;", "");
    const tree = path.join(folder, "incoherent.dts");
    writeFileSync(tree, text);
    const { exitCode, stdout } = await plan("-t", tree, ...BOTH);
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(/^No: VFIO refuses what is behind smmu3\.0x000000000c000000: firmware does not say/);
    expect(stdout).not.toContain("To do first");
    expect(stdout.match(/for the same reason/g)).toHaveLength(1);
  });

  it("fails where it is not known", async () => {
    const { exitCode, stdout } = await plan("--sysfs", bare.folder, "01:00.0", "9030000.dma-port");
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(/^Not known: /);
    expect(stdout).toContain("for the same reason");
  });

  it("lists what can be named where nothing is", async () => {
    const { exitCode, stdout } = await plan("--device-tree", "dual-smmu");
    expect(exitCode).toBe(0);
    expect(stdout).toBe(`Name the devices that shall share an address space, two or more of:
  4010000000.pcie   smmu3.0x000000000c000000
  0000:01:00.0      smmu3.0x000000000c000000
  9030000.dma-port  smmu3.0x000000000c020000
1 device behind an IOMMU is not for VFIO: iospan plan DEVICE says why
Interfaces of one device: iospan plan 0000:01:00.0 9030000.dma-port
`);
    const { candidates } = JSON.parse((await plan("-t", "dual-smmu", "--json")).stdout);
    expect(candidates.engines).toEqual([{ name: "dma@0,0", interfaces: ["0000:01:00.0", "9030000.dma-port"] }]);
    expect(candidates.devices[0]).toMatchObject({ driver: "unknown", group: "unknown", verdict: "yes" });
  });

  it("tells why nothing can be named where nothing can, what most have in common first", async () => {
    const text = new TextDecoder().decode(readChip("dual-smmu").content).replaceAll("dma-coherent;", "");
    const tree = path.join(folder, "incoherent-all.dts");
    writeFileSync(tree, text);
    const { exitCode, stdout } = await plan("-t", tree);
    expect(exitCode).toBe(1);
    const words = stdout.replace(/\s+/g, " ");
    expect(words).toContain("4 devices behind an IOMMU are not for VFIO: iospan plan DEVICE says why");
    expect(words).toContain(
      " 3 VFIO refuses what is behind its IOMMU: firmware does not say that it is coherent (dma-coherent; EINVAL when it is bound)",
    );
    expect(words).toContain(" 1 it is a PCI bridge");
  });

  it("names what has no device, and what it may have been meant for", async () => {
    const { exitCode, stderr } = await plan("-t", "dual-smmu", "01:00.0", "dma-prt");
    expect(exitCode).toBe(2);
    expect(stderr).toContain("did you mean");
    const twice = await plan("-t", "dual-smmu", "01:00.0", "0000:01:00.0");
    expect([twice.exitCode, twice.stderr.includes("are one device")]).toEqual([2, true]);
  });

  it("gives all of it as JSON", async () => {
    const { exitCode, stdout } = await plan("--sysfs", copied.folder, "01:00.0", "9030000.dma-port", "--json");
    const value = JSON.parse(stdout);
    expect(exitCode).toBe(0);
    expect(value).toMatchObject({ verdict: "yes", steps: [], companions: [] });
    expect(value.devices.map((each: { name: string }) => each.name)).toEqual(["0000:01:00.0", "9030000.dma-port"]);
    expect(value.strategies.map((each: { strategy: string }) => each.strategy)).toEqual([
      ...["iommufd", "shared-container", "mirrored", "single-domain"],
    ]);
    expect(value.iovaRanges.known.removed[0]).toMatchObject({ start: "0x8000000", end: "0x80fffff" });
    expect(value.pageSizes).toMatchObject({ granule: null });
  });

  it("saves a machine, to be planned elsewhere with the same result", async () => {
    const file = path.join(folder, "machine.json");
    const saved = await plan("--sysfs", copied.folder, "--save", file);
    expect(saved).toMatchObject({ exitCode: 0, stderr: "" });
    expect(saved.stdout).toContain("iospan plan --machine");
    expect(readFileSync(file, "utf8").length).toBeGreaterThan(100);
    const names = ["01:00.0", "9030000.dma-port"];
    const here = JSON.parse((await plan("--sysfs", copied.folder, ...names, "--json")).stdout);
    const there = JSON.parse((await plan("--machine", file, ...names, "--json")).stdout);
    expect(there).toEqual(here);
  });

  it.each(shippedChips())("keeps to 80 columns: %s", async (chip) => {
    const { stdout } = await plan("-t", chip);
    const names = JSON.parse((await plan("-t", chip, "--json")).stdout).candidates.devices.map(
      (each: { path: string }) => each.path,
    );
    const all = await plan("-t", chip, ...names);
    expect(all.stdout).toMatch(/^(Yes|No|Not known)/);
    expect([...wide(stdout), ...wide(all.stdout)]).toEqual([]);
  });

  it("explains itself", async () => {
    const { exitCode, stdout } = await plan("--help");
    expect(exitCode).toBe(0);
    for (const text of ["--machine", "--no-probe", "--save", "Exit code", "iospan plan -t dual-smmu"]) {
      expect(stdout).toContain(text);
    }
    expect(wide(stdout)).toEqual([]);
  });
});
