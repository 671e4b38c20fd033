import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Host } from "./host.js";

/** Unpacks every package of a folder into a root folder, one after the other as they may share directories. */
export async function unpackAll(host: Host, packages: string, root: string): Promise<void> {
  for (const file of await readdir(packages)) {
    if (file.endsWith(".deb")) await host.run("dpkg-deb", ["-x", join(packages, file), root]);
  }
}

/** Every file below a folder, as paths relative to it. */
export async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));
}
