/**
 * What the device trees of real boards hold, counted through the topology: `node build/bench/device-trees.js FOLDER` reads
 * every .dtb below the folder. Debian's package linux-base-VERSION-arm64 has some 1700 (usr/lib/linux-image-VERSION).
 */
import { readdirSync, readFileSync, realpathSync } from "node:fs";
import path from "node:path";
import { type Topology, type TopologyDevice, topologyOfDeviceTree } from "iospan";

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error("usage: device-trees FOLDER");

const counts = new Map<string, number>();
const add = (what: string, count = 1) => counts.set(what, (counts.get(what) ?? 0) + count);
const names = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".dtb"));
// Links to folders lead to the same files again.
const files = [...new Set(names.map((name) => realpathSync(path.join(folder, name))))];

const via = (device: TopologyDevice, ...wanted: string[]) => [
  ...new Set(device.links.filter((link) => wanted.includes(link.via)).map(({ iommu }) => iommu)),
];
const isHost = ({ isBus, compatible, name }: TopologyDevice) => isBus && /pci/.test([name, ...compatible].join());

/** A PCIe host behind one IOMMU, a platform device behind another. */
function hasTwoWays(devices: readonly TopologyDevice[]): boolean {
  const hosts = new Set(devices.filter(isHost).flatMap((each) => via(each, "iommu-map")));
  const others = new Set(devices.filter((each) => !isHost(each)).flatMap((each) => via(each, "iommus")));
  return [...hosts].some((host) => [...others].some((other) => other !== host));
}

function countFile({ iommus, devices, findings }: Topology): void {
  add("IOMMU nodes", iommus.length);
  const masters = devices.filter((each) => each.bus !== "pci" || via(each, "iommus").length > 0);
  add("masters", masters.length);
  add("  disabled themselves", masters.filter((each) => each.disabledBecause?.startsWith("its ")).length);
  add("  disabled by an ancestor only", masters.filter((each) => each.disabledBecause?.startsWith("the ")).length);
  if (iommus.length > 0) add("files with an IOMMU node");
  const on = new Set(iommus.filter(({ enabled }) => enabled).map((each) => each.path));
  if (on.size > 0) add("  one enabled");
  if (iommus.length > 1) add("files with several IOMMU nodes");
  const active = masters.filter(({ enabled }) => enabled);
  const named = new Set(active.flatMap((each) => each.links.map(({ iommu }) => iommu)));
  if (named.size > 1) add("  with enabled masters on two at least");
  if ([...named].filter((each) => on.has(each)).length > 1) add("  and these two enabled");
  if (iommus.some(({ addresses }) => addresses.length > 1)) add("files with an IOMMU of several banks");
  if (devices.some((each) => via(each, "iommus").length > 1)) add("files with a device whose iommus name several");
  if (devices.some((each) => via(each, "iommus", "iommu-map").length > 1 && via(each, "iommus").length > 0)) {
    add("files with a device whose iommus and iommu-map span several");
  }
  if (hasTwoWays(devices)) add("files with PCIe behind one and platform devices behind another");
  const live = active.map((each) => ({ ...each, links: each.links.filter(({ iommu }) => on.has(iommu)) }));
  if (hasTwoWays(live)) add("  all enabled");
  for (const id of new Set(findings.map((each) => each.id))) add(`files with finding ${id}`);
}

const start = performance.now();
for (const file of files) {
  try {
    countFile(topologyOfDeviceTree(readFileSync(file), file));
    add("files read");
  } catch (error) {
    add("files refused");
    console.log(file, error instanceof Error ? error.message : error);
  }
}
for (const [what, count] of counts) console.log(what.padEnd(64), count);
console.log(`${((performance.now() - start) / files.length).toFixed(2)} ms per file`);
