import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Release } from "./apt.js";
import { buildFromSource, checkBuilder, sourcePackage } from "./custom-kernel.js";
import { unpackKernel } from "./debian-kernel.js";
import { LabError } from "./host.js";
import { PROJECT } from "./project.js";
import type { Workshop } from "./workshop.js";

interface Source {
  /** The name that stays. */
  readonly name: string;
  /** For `--list`: at most 68 characters. */
  readonly summary: string;
  /** The newest package of this series is taken, */
  readonly series: string;
  /** from this release of Debian. */
  readonly release: Release;
}

/** A kernel as Debian built it. */
export interface DebianSource extends Source {
  readonly build: "debian";
  readonly flavour: "arm64" | "arm64-16k";
}

/** A kernel that is built here, of Debian's source and `kernel.config`. */
export interface CustomSource extends Source {
  readonly build: "custom";
}

export type KernelSource = DebianSource | CustomSource;

const debian = (series: string, release: Release): DebianSource => ({
  name: series,
  summary: "as Debian built it",
  series,
  release,
  build: "debian",
  flavour: "arm64",
});

/** Newest first; the first one is the default. */
export const KERNELS: readonly KernelSource[] = [
  debian("7.3", "trixie"),
  debian("6.12", "trixie"),
  debian("6.1", "bookworm"),
  debian("5.10", "bullseye"),
  {
    ...debian("7.3", "trixie"),
    name: "7.3-16k",
    summary: "as Debian built it, with pages of 16 KiB",
    flavour: "arm64-16k",
  },
  {
    name: "custom",
    summary: "compiled here, with what Debian leaves out: iommufd, vfio-platform",
    series: "7.3",
    release: "trixie",
    build: "custom",
  },
];

/** @throws {RangeError} when there is none, which names all. */
export function kernelNamed(name: string): KernelSource {
  const source = KERNELS.find((kernel) => kernel.name === name);
  if (source === undefined) throw new RangeError(`no kernel "${name}": ${KERNELS.map((each) => each.name).join(", ")}`);
  return source;
}

const CONFIGURATION = join(PROJECT, "lab/kernel.config");

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
  const folder = shop.cache.entryPath(...(await identity(source)));
  const text = await readFile(join(folder, "kernel.json"), "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  const facts = JSON.parse(text) as { readonly release: string; readonly version: string };
  return { name: source.name, ...facts, folder };
}

/** Fails where the cache lacks the kernel and this host cannot make it: to be told before anything is downloaded. */
export async function checkKernel(shop: Workshop, source: KernelSource): Promise<void> {
  if (source.build === "custom" && (await cachedKernel(shop, source)) === undefined) await checkBuilder(shop);
}

/** The kernel, made first where the cache lacks it. */
export async function buildKernel(shop: Workshop, source: KernelSource): Promise<Kernel> {
  const entry = await identity(source);
  const renew = shop.renew && !(await isNewest(shop, source));
  await shop.cache.entry(...entry, renew, (folder) => build(shop, source, folder));
  const kernel = await cachedKernel(shop, source);
  if (kernel === undefined) throw new LabError(`the kernel in ${shop.cache.entryPath(...entry)} is damaged`);
  return kernel;
}

/** Whether Debian has no newer source than the one that the kernel in the cache was compiled of. */
async function isNewest(shop: Workshop, source: KernelSource): Promise<boolean> {
  const kernel = source.build === "custom" ? await cachedKernel(shop, source) : undefined;
  if (kernel === undefined) return false;
  const apt = await shop.debian(source.release);
  if ((await apt.version(sourcePackage(source))) !== kernel.version) return false;
  shop.host.say(`Linux ${source.name}: Debian's newest source is still ${kernel.version}, nothing to compile`);
  return true;
}

async function build(shop: Workshop, source: KernelSource, folder: string): Promise<void> {
  if (source.build === "custom") return buildFromSource(shop, source, CONFIGURATION, folder);
  const apt = await shop.debian(source.release);
  await shop.host.step(`Linux ${source.name}, from Debian ${source.release}`, () =>
    unpackKernel(shop, apt, source, folder),
  );
}

/** The number changes when what makes the folder puts something else into it. */
async function identity(source: KernelSource): Promise<[string, string[]]> {
  const name = `kernel-${source.name}`;
  if (source.build === "debian") return [name, ["1", source.release]];
  const configuration = await readFile(CONFIGURATION);
  return [name, ["1", source.release, source.series, createHash("sha256").update(configuration).digest("hex")]];
}
