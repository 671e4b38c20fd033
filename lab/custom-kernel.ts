import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Apt } from "./apt.js";
import { unpackAll } from "./debian.js";
import { type Host, LabError, seconds } from "./host.js";
import type { CustomSource } from "./kernels.js";
import { firstErrorIn, newLog } from "./log.js";
import type { Workshop } from "./workshop.js";

const CROSS = "aarch64-linux-gnu-";
/** What the kernel's own build starts, and what its programs for the host are compiled with. */
const NEEDED = ["make", "gcc", "bc", "bison", "flex", "/usr/include/stdio.h"];
/** Files that this configuration compiles, roughly: to tell how far it is. */
const FILES = 1400;
const TELL_EVERY = 30_000;

/** The Debian package with the source. */
export function sourcePackage({ series }: Pick<CustomSource, "series">): string {
  return `linux-source-${series}`;
}

/** Fails where this host lacks what the build takes, or the cache is where the kernel's Makefile refuses to work. */
export async function checkBuilder({ host, cache }: Workshop): Promise<void> {
  if (/[\s:]/.test(cache.folder)) {
    throw new LabError(
      `the kernel's Makefile takes no path with a space or a colon, as that of the cache: ${cache.folder}\n` +
        "  name another folder: IOSPAN_LAB_CACHE=FOLDER",
    );
  }
  await host.need([...NEEDED, `${crossPrefix()}gcc`]);
}

function crossPrefix(): string {
  return process.arch === "arm64" ? "" : CROSS;
}

/**
 * Builds a kernel with everything built in: `make tinyconfig`, and on top of that the options of a file, each of which has
 * to be there in the end. Takes ten minutes on two cores.
 */
export async function buildFromSource(
  shop: Workshop,
  source: CustomSource,
  configuration: string,
  folder: string,
): Promise<void> {
  const { host } = shop;
  await checkBuilder(shop);
  const work = join(folder, "work");
  await mkdir(work);
  const { tree, version } = await host.step(`the source of Linux ${source.series}`, async () =>
    unpackSource(host, await shop.debian(source.release), source, work),
  );
  const make = makeIn(tree, host, await newLog(shop.cache.folder, `make-${source.name}`));
  await configure(host, make, tree, configuration);
  await host.step(`Linux ${source.name}, ten minutes on two cores`, () => compile(host, make));
  const release = (await make(["-s", "kernelrelease"])).trim();
  await rename(join(tree, "arch/arm64/boot/Image"), join(folder, "vmlinuz"));
  await mkdir(join(folder, "modules"));
  await writeFile(join(folder, "modules/modules.dep"), "");
  await writeFile(join(folder, "kernel.json"), JSON.stringify({ release, version }));
  await rm(work, { recursive: true });
}

type Make = (targets: readonly string[], onOutput?: (text: string) => void) => Promise<string>;

function makeIn(tree: string, host: Host, log: string): Make {
  const always = ["-C", tree, "ARCH=arm64", `CROSS_COMPILE=${crossPrefix()}`];
  return async (targets, onOutput) => {
    try {
      return await host.run("make", [...always, ...targets], { onOutput, log });
    } catch (error) {
      if (!(error instanceof LabError)) throw error;
      const first = (await firstErrorIn(log)) ?? error.message;
      throw new LabError(`make ${targets.join(" ")} failed: ${first}\n  all that it printed: ${log}`, { cause: error });
    }
  };
}

async function unpackSource(host: Host, apt: Apt, source: CustomSource, work: string) {
  const name = sourcePackage(source);
  await apt.download([name], work);
  const [deb = ""] = (await readdir(work)).filter((file) => file.endsWith(".deb"));
  const version = (await host.run("dpkg-deb", ["-f", join(work, deb), "Version"])).trim();
  await unpackAll(host, work, work);
  await host.run("tar", ["-xJf", join(work, "usr/src", `${name}.tar.xz`)], { cwd: work });
  return { tree: join(work, name), version };
}

async function configure(host: Host, make: Make, tree: string, configuration: string): Promise<void> {
  await make(["-s", "tinyconfig"]);
  await host.run("scripts/kconfig/merge_config.sh", ["-m", ".config", configuration], { cwd: tree });
  await make(["-s", "olddefconfig"]);
  const settings = new Set((await readFile(join(tree, ".config"), "utf8")).split("\n"));
  const wanted = (await readFile(configuration, "utf8")).split("\n").filter((line) => line.endsWith("=y"));
  const missing = wanted.filter((line) => !settings.has(line));
  if (missing.length === 0) return;
  throw new LabError(`this kernel's configuration does not take ${missing.join(", ")} of ${configuration}`);
}

async function compile(host: Host, make: Make): Promise<void> {
  const start = performance.now();
  let files = 0;
  const count = (text: string): void => {
    files += text.match(/^ {2}(?:CC|AS) /gm)?.length ?? 0;
  };
  const tell = (): void => host.say(`compiled ${files} of about ${FILES} files after ${seconds(start)}`);
  const timer = setInterval(tell, TELL_EVERY);
  try {
    await make([`-j${availableParallelism()}`, "Image"], count);
  } finally {
    clearInterval(timer);
  }
}
