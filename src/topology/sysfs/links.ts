import { errnoName } from "../../abi/errno.js";
import type { SysfsSource } from "../../machine/sysfs.js";
import { SyscallError } from "../../syscalls/syscalls.js";

const FIRMWARE = "/sys/firmware/devicetree/base";

/**
 * Where a relative link leads, as a path of sysfs: `/sys/devices/pci0000:00/0000:00:01.0`. Links in the folders on the way
 * are not followed, which for links in /sys/class and /sys/bus do not matter.
 * @returns undefined where there is no link.
 */
export function resolveLink(source: SysfsSource, path: string): string | undefined {
  const target = readLink(source, path);
  return target === undefined ? undefined : joined(path.slice(0, path.lastIndexOf("/")), target);
}

/** The path in the device tree of a device's node; `/` is the root. @param device the device's directory, no link */
export function nodePath(source: SysfsSource, device: string): string | undefined {
  const target = resolveLink(source, `${device}/of_node`);
  if (target === undefined || !target.startsWith(FIRMWARE)) return undefined;
  return target.slice(FIRMWARE.length) || "/";
}

function readLink(source: SysfsSource, path: string): string | undefined {
  try {
    return source.syscalls.readLink(path);
  } catch (error) {
    // Gone meanwhile, no link at all, or not in the copy.
    if (error instanceof SyscallError && ["ENOENT", "ENOTDIR", "EINVAL"].includes(errnoName(error.errno)))
      return undefined;
    throw error;
  }
}

function joined(folder: string, target: string): string {
  const parts = target.startsWith("/") ? [] : folder.split("/").filter((each) => each !== "");
  for (const part of target.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "." && part !== "") parts.push(part);
  }
  return `/${parts.join("/")}`;
}
