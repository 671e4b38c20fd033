import { createHash } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { type CpioEntry, writeCpio } from "./cpio.js";
import type { Kernel } from "./kernels.js";
import { LOADED } from "./modules.js";
import { PROJECT } from "./project.js";
import type { Workshop } from "./workshop.js";

/** The little that must be there before a file system can be mounted: busybox, the modules, and the first program. */
export async function buildInitramfs(shop: Workshop, kernel: Kernel, userland: string): Promise<string> {
  const init = await readFile(join(PROJECT, "lab/guest/init.sh"));
  const digest = createHash("sha256").update(init).digest("hex");
  const inputs = ["1", digest, basename(kernel.folder), kernel.version, basename(userland), ...LOADED];
  const folder = await shop.cache.entry(`initramfs-${kernel.name}`, inputs, shop.renew, async (draft) => {
    const busybox = await readFile(join(userland, "bin/busybox"));
    const directories = ["bin", "lib", "lib/modules", `lib/modules/${kernel.release}`];
    const entries: CpioEntry[] = [
      ...directories.map((path) => ({ path, directory: true }) as const),
      { path: "init", data: init, executable: true },
      { path: "bin/busybox", data: busybox, executable: true },
      ...(await moduleEntries(kernel)),
    ];
    await writeFile(join(draft, "initramfs.cpio"), writeCpio(entries));
  });
  return join(folder, "initramfs.cpio");
}

async function moduleEntries(kernel: Kernel): Promise<CpioEntry[]> {
  const source = join(kernel.folder, "modules");
  const target = `lib/modules/${kernel.release}`;
  const files = await readdir(source);
  const copies = files.map(async (file) => ({ path: `${target}/${file}`, data: await readFile(join(source, file)) }));
  // modprobe complains about modules that are built in, so the guest is told which ones are files.
  const loaded = LOADED.filter((name) => files.includes(`${name}.ko`)).join("\n");
  return [...(await Promise.all(copies)), { path: `${target}/modules.lab`, data: Buffer.from(`${loaded}\n`) }];
}
