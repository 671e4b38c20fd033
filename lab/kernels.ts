import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Apt, Release } from "./apt.js";
import { exists } from "./cache.js";
import { unpackAll } from "./debian.js";
import { LabError } from "./host.js";
import { collectModules, dependencyTable } from "./modules.js";
import type { Workshop } from "./workshop.js";

export interface KernelSource {
  /** The name that stays: a kernel series. The newest package of the series is taken. */
  readonly name: string;
  readonly release: Release;
}

/** Debian's own arm64 kernels, newest first; the first one is the default. */
export const KERNELS: readonly KernelSource[] = [
  { name: "7.3", release: "trixie" },
  { name: "6.12", release: "trixie" },
  { name: "6.1", release: "bookworm" },
  { name: "5.10", release: "bullseye" },
];

/** A kernel in the cache: `vmlinuz`, `modules/*.ko` and `modules/modules.dep` in its folder. */
export interface Kernel {
  readonly name: string;
  /** What `uname -r` prints in the guest. */
  readonly release: string;
  /** Debian's version, which tells the exact patch level. */
  readonly version: string;
  readonly folder: string;
}

/** The kernel in the cache, or undefined when it has not been built yet. */
export async function cachedKernel(shop: Workshop, source: KernelSource): Promise<Kernel | undefined> {
  const folder = shop.cache.entryPath(...identity(source));
  const text = await readFile(join(folder, "kernel.json"), "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  const facts = JSON.parse(text) as { readonly release: string; readonly version: string };
  return { name: source.name, ...facts, folder };
}

export async function buildKernel(shop: Workshop, source: KernelSource): Promise<Kernel> {
  await shop.cache.entry(...identity(source), shop.renew, async (folder) => {
    const apt = await shop.debian(source.release);
    await shop.host.step(`Linux ${source.name}, from Debian ${source.release}`, () =>
      unpackKernel(shop, apt, source, folder),
    );
  });
  const kernel = await cachedKernel(shop, source);
  if (kernel === undefined) throw new LabError(`the kernel in ${shop.cache.entryPath(...identity(source))} is damaged`);
  return kernel;
}

/** The number changes when this file puts something else into the folder. */
function identity(source: KernelSource): [string, string[]] {
  return [`kernel-${source.name}`, ["1", source.release]];
}

async function unpackKernel(shop: Workshop, apt: Apt, source: KernelSource, folder: string): Promise<void> {
  const packages = await newestPackages(apt, source);
  const root = join(folder, "root");
  await mkdir(root);
  await apt.download(
    packages.map((name) => `${name}:arm64`),
    root,
  );
  const [deb = ""] = (await readdir(root)).filter((file) => file.endsWith(".deb"));
  const version = (await shop.host.run("dpkg-deb", ["-f", join(root, deb), "Version"])).trim();
  await unpackAll(shop.host, root, root);
  await keep(shop, root, folder, version);
  await rm(root, { recursive: true });
}

/** Keeps the kernel and the few modules that the lab uses, out of thousands. */
async function keep(shop: Workshop, root: string, folder: string, version: string): Promise<void> {
  const { image, release } = await findImage(root);
  const modules = await collectModules(shop.host, root);
  await rename(image, join(folder, "vmlinuz"));
  await mkdir(join(folder, "modules"));
  for (const { name, data } of modules) await writeFile(join(folder, "modules", `${name}.ko`), data);
  await writeFile(join(folder, "modules/modules.dep"), dependencyTable(modules));
  await writeFile(join(folder, "kernel.json"), JSON.stringify({ release, version }));
}

/** From Linux 6.19 on Debian ships the kernel beside its modules, before that in /boot. */
async function findImage(root: string): Promise<{ image: string; release: string }> {
  for (const base of ["usr/lib/modules", "lib/modules"]) {
    const [release] = await readdir(join(root, base)).catch((): string[] => []);
    if (release === undefined) continue;
    const places = [join(root, base, release, "vmlinuz"), join(root, "boot", `vmlinuz-${release}`)];
    for (const image of places) if (await exists(image)) return { image, release };
  }
  throw new LabError("the kernel package holds no vmlinuz where the lab looks for it");
}

/** The package names of the newest kernel of a series, asked from apt. */
async function newestPackages(apt: Apt, source: KernelSource): Promise<string[]> {
  // Not the cloud, real-time, debug or unsigned variants: they carry a word of their own before "-arm64".
  const pattern = /^linux-(image|binary)-(\d+\.\d+[.\d]*(?:-\d+)?(?:\+\w+)?)-arm64$/;
  const names = [...(await apt.names("linux-image-")), ...(await apt.names("linux-binary-"))];
  const found = names.flatMap((name) => {
    const [, kind, version] = pattern.exec(name) ?? [];
    return kind === undefined || version === undefined ? [] : [{ kind, version }];
  });
  const versions = found.map(({ version }) => version).filter((version) => seriesOf(version) === source.name);
  const newest = versions.sort(compareVersions).at(-1);
  if (newest === undefined) {
    const series = [...new Set(found.map(({ version }) => seriesOf(version)))].join(", ");
    throw new LabError(`Debian ${source.release} has no Linux ${source.name} for arm64; it has ${series}`);
  }
  // Where there is a linux-binary package, linux-image is an empty shell that only depends on it.
  const split = found.some(({ kind, version }) => kind === "binary" && version === newest);
  return split ? [`linux-binary-${newest}-arm64`, `linux-modules-${newest}-arm64`] : [`linux-image-${newest}-arm64`];
}

function seriesOf(version: string): string {
  return /^\d+\.\d+/.exec(version)?.[0] ?? version;
}

function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((version) => version.split(/\D+/).map(Number));
  for (let i = 0; i < 6; i++) {
    const difference = (left?.[i] ?? 0) - (right?.[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
