/**
 * What it costs to look at a large machine: `iospan topology` as a process of its own over a sysfs with 2000 PCI functions,
 * each in a group, behind 16 SMMUs, against the same command over a chip with four devices.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

const FUNCTIONS = 2000;
const SMMUS = 16;
const ROUNDS = 7;
const MOST_MS = 300;
const DRIVERS = ["nvme", "vfio-pci", "mlx5_core"];
/** Files that real functions have beside those that are read. */
const OTHERS = ["revision", "irq", "numa_node", "enable", "resource", "local_cpulist", "driver_override"];

const root = mkdtempSync(path.join(tmpdir(), "iospan-bench-sysfs-"));
const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");

function file(name: string, text: string): void {
  mkdirSync(path.join(root, path.dirname(name)), { recursive: true });
  writeFileSync(path.join(root, name), text);
}

function link(name: string, target: string): void {
  mkdirSync(path.join(root, path.dirname(name)), { recursive: true });
  symlinkSync(path.relative(path.dirname(name), target), path.join(root, name));
}

function smmu(index: number): string {
  return `devices/platform/smmu.${index}/iommu/smmu3.0x${hex(index, 16)}`;
}

function addFunction(index: number): void {
  const domain = hex(index % SMMUS, 4);
  const name = `${domain}:${hex(Math.floor(index / SMMUS), 2)}:00.0`;
  const home = `devices/pci${domain}:00/${name}`;
  const driver = DRIVERS[index % DRIVERS.length];
  const modalias = "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02";
  file(`${home}/modalias`, `${modalias}\n`);
  file(
    `${home}/uevent`,
    `DRIVER=${driver}\nPCI_CLASS=10802\nPCI_ID=1B36:0010\nPCI_SUBSYS_ID=1AF4:1100\nPCI_SLOT_NAME=${name}\nMODALIAS=${modalias}\n`,
  );
  for (const other of OTHERS) file(`${home}/${other}`, "0\n");
  link(`bus/pci/devices/${name}`, home);
  link(`${home}/subsystem`, "bus/pci");
  link(`${home}/driver`, `bus/pci/drivers/${driver}`);
  link(`${home}/iommu`, smmu(index % SMMUS));
  link(`${home}/iommu_group`, `kernel/iommu_groups/${index}`);
  file(`kernel/iommu_groups/${index}/type`, "DMA-FQ\n");
  file(`kernel/iommu_groups/${index}/reserved_regions`, "0x0000000008000000 0x00000000080fffff msi\n");
  link(`kernel/iommu_groups/${index}/devices/${name}`, home);
}

function milliseconds(args: readonly string[]): number {
  const before = performance.now();
  const command = path.join(process.cwd(), "dist", "cli", "main.js");
  execFileSync(process.execPath, [command, "topology", ...args], { stdio: ["ignore", "pipe", "inherit"] });
  return performance.now() - before;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

try {
  for (let index = 0; index < SMMUS; index++) {
    mkdirSync(path.join(root, smmu(index)), { recursive: true });
    link(`class/iommu/${path.basename(smmu(index))}`, smmu(index));
  }
  for (let index = 0; index < FUNCTIONS; index++) addFunction(index);
  const rounds = Array.from(
    { length: ROUNDS },
    () => [milliseconds(["--sysfs", root]), milliseconds(["--device-tree", "dual-smmu"])] as const,
  );
  const large = median(rounds.map(([each]) => each));
  const small = median(rounds.map(([, each]) => each));
  const verdict = large - small <= MOST_MS ? "ok" : "over";
  console.log(
    `iospan topology, ${FUNCTIONS} functions: ${large.toFixed(0)} ms, of which ${small.toFixed(0)} are the start`,
  );
  console.log(`${(large - small).toFixed(0)} ms after the start, budget ${MOST_MS}: ${verdict}`);
} finally {
  rmSync(root, { recursive: true });
}
