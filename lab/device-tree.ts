import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { encodeBlob } from "../src/devicetree/blob-writer.js";
import { readDeviceTree } from "../src/devicetree/device-tree.js";
import { formatSource } from "../src/devicetree/source-writer.js";
import { optionValue } from "./machines.js";
import type { Emulator } from "./qemu.js";

const run = promisify(execFile);

/**
 * The device tree that QEMU makes for a machine, with changes that are appended to it as source; as a file in a folder.
 *
 * QEMU describes the SMMU of its first PCIe bus only, though the others are there (it says so: "SMMUv3 device only supported
 * with pcie.0 for DT").
 */
export async function makeDeviceTree(
  { command }: Emulator,
  machine: readonly string[],
  changes: string,
  folder: string,
): Promise<string> {
  const [program = "", ...first] = command;
  const original = join(folder, "qemu.dtb");
  const dump = ["-nodefaults", "-no-user-config", "-display", "none", "-machine", `dumpdtb=${optionValue(original)}`];
  await run(program, [...first, ...machine, ...dump]);
  const source = formatSource(readDeviceTree(await readFile(original)));
  const tree = join(folder, "machine.dtb");
  await writeFile(tree, encodeBlob(readDeviceTree(source + changes)));
  return tree;
}
