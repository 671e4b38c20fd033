import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { exists } from "./cache.js";
import { unpackAll } from "./debian.js";
import { type Host, LabError, onPath } from "./host.js";
import type { Workshop } from "./workshop.js";

/** The first QEMU that can put an SMMUv3 in front of each PCIe root bus. */
const OLDEST = [10, 2] as const;
const PACKAGES = ["qemu-system-arm", "qemu-efi-aarch64"];
const FIRMWARE = "usr/share/qemu-efi-aarch64/QEMU_EFI.fd";

export interface Emulator {
  readonly version: string;
  /** The program and its first arguments. */
  readonly command: readonly string[];
  /** UEFI for the guest. */
  readonly firmware: string;
}

/** The host's own QEMU where it is new enough, else Debian's. */
export async function findEmulator(shop: Workshop): Promise<Emulator> {
  return (await hostEmulator(shop.host)) ?? (await debianEmulator(shop));
}

async function hostEmulator(host: Host): Promise<Emulator | undefined> {
  const program = await onPath("qemu-system-aarch64");
  if (program === undefined || !(await exists(`/${FIRMWARE}`))) return undefined;
  const version = await versionOf(host, [program]);
  return isNewEnough(version) ? { version, command: [program], firmware: `/${FIRMWARE}` } : undefined;
}

/**
 * QEMU with its libraries, unpacked into the cache and started through its own dynamic loader. So the packages of a newer
 * Debian run on an older host, and that takes no root, no chroot and no mount that could be left behind.
 */
async function debianEmulator(shop: Workshop): Promise<Emulator> {
  const { host, cache } = shop;
  const root = await cache.entry("qemu", ["trixie-backports", ...PACKAGES], shop.renew, async (folder) => {
    const apt = await shop.debian("trixie");
    await host.step("QEMU, from Debian trixie-backports", async () => {
      const packages = join(folder, "packages");
      await apt.downloadWithDependencies(PACKAGES, "trixie-backports", packages);
      await unpackAll(host, packages, folder);
      await rm(packages, { recursive: true });
      await trim(folder);
      await mustBeNewEnough(host, folder);
    });
  });
  const command = await loaderCommand(root);
  return { version: await versionOf(host, command), command, firmware: join(root, FIRMWARE) };
}

/** Firmware for other machines is three quarters of the packages. */
async function trim(root: string): Promise<void> {
  const share = join(root, "usr/share");
  for (const name of await readdir(share)) {
    if (name !== "qemu" && name !== "qemu-efi-aarch64") await rm(join(share, name), { recursive: true });
  }
  await mkdir(join(root, "etc"), { recursive: true });
}

async function mustBeNewEnough(host: Host, root: string): Promise<void> {
  const version = await versionOf(host, await loaderCommand(root));
  if (!isNewEnough(version)) {
    throw new LabError(`Debian trixie-backports has QEMU ${version}, the lab needs ${OLDEST.join(".")} or newer`);
  }
}

async function loaderCommand(root: string): Promise<string[]> {
  for (const name of await readdir(join(root, "usr/lib"))) {
    const libraries = join(root, "usr/lib", name);
    const loader = name.endsWith("-linux-gnu")
      ? (await readdir(libraries)).find((file) => /^ld-linux.*\.so\.\d+$/.test(file))
      : undefined;
    if (loader === undefined) continue;
    const program = join(root, "usr/bin/qemu-system-aarch64");
    const data = ["-L", join(root, "usr/share/qemu")];
    return [join(libraries, loader), "--library-path", libraries, program, ...data];
  }
  throw new LabError(`no dynamic loader in ${root}: delete that folder and start again`);
}

async function versionOf(host: Host, [program = "", ...args]: readonly string[]): Promise<string> {
  const text = await host.run(program, [...args, "--version"]);
  return /version (\d+\.\d+\.\d+)/.exec(text)?.[1] ?? "0";
}

function isNewEnough(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
}
