import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { filesBelow } from "./debian.js";
import type { Host } from "./host.js";

/** Loaded before the program starts; a kernel that lacks one has it built in, or never had it. */
export const LOADED: readonly string[] = [
  "virtio_pci",
  "virtio_console",
  "9pnet_virtio",
  "9p",
  "iommufd",
  "vfio_pci",
  "vfio_iommu_type1",
];

/** There for `modprobe`, as on a real machine, but not loaded: they would take the devices. */
export const AVAILABLE: readonly string[] = ["nvme"];

export interface Module {
  /** As the kernel spells it: with underscores. */
  readonly name: string;
  readonly data: Buffer;
  /** The modules it needs directly. */
  readonly needs: readonly string[];
}

/** The wanted modules of an unpacked kernel package with all that they need, what is needed first. */
export async function collectModules(host: Host, root: string): Promise<Module[]> {
  const files = new Map<string, string>();
  for (const file of await filesBelow(root)) {
    const name = /^(.+)\.ko(\.xz)?$/.exec(basename(file))?.[1];
    if (name !== undefined) files.set(kernelName(name), join(root, file));
  }
  const modules = new Map<string, Module>();
  for (const name of [...LOADED, ...AVAILABLE]) await collect(host, name, files, modules);
  return [...modules.values()];
}

async function collect(
  host: Host,
  name: string,
  files: ReadonlyMap<string, string>,
  modules: Map<string, Module>,
): Promise<void> {
  const file = files.get(name);
  if (file === undefined || modules.has(name)) return;
  const data = await readModule(host, file);
  const needs = dependencies(data);
  for (const need of needs) await collect(host, need, files, modules);
  modules.set(name, { name, data, needs: needs.filter((need) => modules.has(need)) });
}

async function readModule(host: Host, file: string): Promise<Buffer> {
  if (!file.endsWith(".xz")) return readFile(file);
  await host.run("xz", ["--decompress", "--keep", file]);
  return readFile(file.slice(0, -".xz".length));
}

/** A module lists what it needs in its `.modinfo` section, as a string `depends=a,b`. */
function dependencies(data: Buffer): string[] {
  const list = /\0depends=([^\0]*)\0/.exec(data.toString("latin1"))?.[1] ?? "";
  return list.split(",").filter(Boolean).map(kernelName);
}

function kernelName(name: string): string {
  return name.replaceAll("-", "_");
}

/** The text of `modules.dep`, which `modprobe` reads: each module with everything below it, the nearest first. */
export function dependencyTable(modules: readonly Module[]): string {
  const byName = new Map(modules.map((module) => [module.name, module]));
  const below = (name: string): string[] => {
    const needs = byName.get(name)?.needs ?? [];
    return [...needs, ...needs.flatMap(below)];
  };
  const lines = modules.map(({ name }) => {
    const all = [...new Set(below(name))].map((need) => `${need}.ko`);
    return `${name}.ko: ${all.join(" ")}\n`;
  });
  return lines.join("");
}
