import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Apt } from "../lab/apt.js";
import { exists } from "../lab/cache.js";
import { filesBelow, unpackAll } from "../lab/debian.js";
import { LabError } from "../lab/host.js";
import type { Workshop } from "../lab/workshop.js";

/** The package whose device trees the totals are of. A new one is a new name here, and new totals in `totals/`. */
export const PACKAGE = "linux-base-7.3.4+deb13-arm64";
const PACKAGES = /^linux-base-(\d[\d.]*)(\+\w+)?-arm64$/;
const RELEASE = "trixie";
/** What a cache entry is called, and how it is laid out. */
const ENTRY = "device-trees";
const LAYOUT = "VENDOR/BOARD.dtb";

/** Device trees of real boards, unpacked. */
export interface DebianTrees {
  readonly folder: string;
  /** {@link PACKAGE}, or the newest one where Debian has dropped that. */
  readonly package: string;
  /** Paths of all `.dtb` below the folder, in order. */
  readonly files: readonly string[];
}

/**
 * Brings all device trees that Debian builds for arm64, once: from then on they are in the lab's cache.
 * @throws LabError where they cannot be had
 */
export async function debianTrees(shop: Workshop): Promise<DebianTrees> {
  const name = (await isCached(shop)) ? PACKAGE : await available(await shop.debian(RELEASE));
  const folder = await shop.cache.entry(ENTRY, [name, LAYOUT], shop.renew, (draft) => unpack(shop, name, draft));
  const files = (await filesBelow(folder)).filter((file) => file.endsWith(".dtb")).sort();
  return { folder, package: name, files };
}

async function isCached({ cache, renew }: Workshop): Promise<boolean> {
  return !renew && (await exists(cache.entryPath(ENTRY, [PACKAGE, LAYOUT])));
}

async function available(apt: Apt): Promise<string> {
  const names = await apt.names("linux-base-");
  return choosePackage(names, RELEASE);
}

/**
 * {@link PACKAGE} if it is among the names, else the newest of its kind.
 * @throws LabError where there is none
 */
export function choosePackage(names: readonly string[], release: string): string {
  if (names.includes(PACKAGE)) return PACKAGE;
  const found = names.filter((name) => PACKAGES.test(name)).sort(byVersion);
  const newest = found.at(-1);
  if (newest === undefined) throw new LabError(`Debian ${release} has no package of device trees (linux-base-*-arm64)`);
  return newest;
}

function byVersion(a: string, b: string): number {
  const [left = "", right = ""] = [a, b].map((name) => PACKAGES.exec(name)?.[1]);
  return left.localeCompare(right, "en", { numeric: true });
}

/** Keeps the blobs alone, each below the folder of its vendor. */
async function unpack({ host, debian }: Workshop, name: string, folder: string): Promise<void> {
  const apt = await debian(RELEASE);
  await host.step(`device trees of ${name}`, async () => {
    const root = join(folder, "root");
    await mkdir(root);
    await apt.download([`${name}:arm64`], root);
    await unpackAll(host, root, root);
    const [home] = (await readdir(join(root, "usr/lib"))).filter((each) => each.startsWith("linux-image-"));
    if (home === undefined) throw new LabError(`${name} holds no device trees where they are looked for`);
    await keep(join(root, "usr/lib", home), folder);
    await rm(root, { recursive: true });
  });
}

async function keep(from: string, to: string): Promise<void> {
  for (const file of await filesBelow(from)) {
    if (!file.endsWith(".dtb")) continue;
    await mkdir(join(to, dirname(file)), { recursive: true });
    await rename(join(from, file), join(to, file));
  }
}
