import { mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Apt } from "./apt.js";
import { exists } from "./cache.js";
import { unpackAll } from "./debian.js";
import { LabError } from "./host.js";
import type { DebianSource } from "./kernels.js";
import { collectModules, dependencyTable } from "./modules.js";
import type { Workshop } from "./workshop.js";

/** Puts the newest kernel of a series, as Debian built it, into a folder of the cache. */
export async function unpackKernel(shop: Workshop, apt: Apt, source: DebianSource, folder: string): Promise<void> {
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
async function newestPackages(apt: Apt, source: DebianSource): Promise<string[]> {
  // Not the cloud, real-time, debug or unsigned variants: they carry a word of their own before or after "arm64".
  const pattern = new RegExp(`^linux-(image|binary)-(\\d+\\.\\d+[.\\d]*(?:-\\d+)?(?:\\+\\w+)?)-${source.flavour}$`);
  const names = [...(await apt.names("linux-image-")), ...(await apt.names("linux-binary-"))];
  const found = names.flatMap((name) => {
    const [, kind, version] = pattern.exec(name) ?? [];
    return kind === undefined || version === undefined ? [] : [{ kind, version }];
  });
  const versions = found.map(({ version }) => version).filter((version) => seriesOf(version) === source.series);
  const newest = versions.sort(compareVersions).at(-1);
  if (newest === undefined) {
    const series = [...new Set(found.map(({ version }) => seriesOf(version)))].join(", ");
    throw new LabError(
      `Debian ${source.release} has no Linux ${source.series} for ${source.flavour}; it has ${series}`,
    );
  }
  // Where there is a linux-binary package, linux-image is an empty shell that only depends on it.
  const split = found.some(({ kind, version }) => kind === "binary" && version === newest);
  return split
    ? [`linux-binary-${newest}-${source.flavour}`, `linux-modules-${newest}-${source.flavour}`]
    : [`linux-image-${newest}-${source.flavour}`];
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
