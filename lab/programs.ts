import { readFile, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { exists } from "./cache.js";
import { type CpioEntry, writeCpio } from "./cpio.js";
import { filesBelow } from "./debian.js";
import { PROJECT } from "./project.js";

/** Where the guest finds the copies; `guest/init.sh` mounts them over the folders that it shares with the host. */
const PLACE = "programs";
const COMPILED = ["dist", "build"];

/**
 * Adds the checkout's programs to an initramfs, as a second archive behind the first. Each file that a guest fetches from
 * the host costs it 10 to 30 ms, and a program is a hundred small modules: from memory they are there at once.
 *
 * The folders are copied whole, so that the copy hides nothing of what it lies over.
 */
export async function addPrograms(initramfs: string, target: string): Promise<void> {
  const folders = await programFolders();
  const files: CpioEntry[] = [];
  for (const folder of folders) files.push(...(await copies(folder)));
  const list: CpioEntry = { path: `${PLACE}/folders`, data: Buffer.from(`${folders.join("\n")}\n`) };
  const paths = [list, ...files].map(({ path }) => path);
  const archive = writeCpio([...parentsOf(paths), list, ...files]);
  await writeFile(target, [await readFile(initramfs), archive]);
}

/** What was compiled, and the packages it imports. */
async function programFolders(): Promise<string[]> {
  const text = await readFile(join(PROJECT, "package.json"), "utf8");
  const { dependencies = {} } = JSON.parse(text) as { readonly dependencies?: Readonly<Record<string, string>> };
  const wanted = [...COMPILED, ...Object.keys(dependencies).map((name) => `node_modules/${name}`)];
  const there = await Promise.all(wanted.map((folder) => exists(join(PROJECT, folder))));
  return wanted.filter((_, index) => there[index]);
}

async function copies(folder: string): Promise<CpioEntry[]> {
  const source = join(PROJECT, folder);
  const entries: CpioEntry[] = [];
  for (const file of await filesBelow(source)) {
    const [data, { mode }] = await Promise.all([readFile(join(source, file)), stat(join(source, file))]);
    entries.push({ path: join(PLACE, folder, file), data, executable: (mode & 0o100) !== 0 });
  }
  return entries;
}

/** Every directory that these files are in, the outer ones first. */
function parentsOf(paths: readonly string[]): CpioEntry[] {
  const directories = new Set<string>();
  for (const path of paths) {
    for (let parent = dirname(path); parent !== "."; parent = dirname(parent)) directories.add(parent);
  }
  return [...directories].sort().map((path) => ({ path, directory: true }));
}
