import type { OptionalFiles } from "./optional-files.js";

/**
 * Whether this process is in the first user namespace, where capabilities count against the whole machine
 * (kernel/capability.c, capable): it has all identifiers, and others not more than they were given. A kernel without
 * namespaces has no such file (fs/proc/base.c, CONFIG_USER_NS). Undefined where nobody tells.
 */
export function isFirstUserNamespace(files: OptionalFiles): boolean | undefined {
  const map = files.text("/proc/self/uid_map");
  if (map !== undefined) return /^\s*0\s+0\s+4294967295\s*$/.test(map);
  const hasProcess = files.text("/proc/self/status") !== undefined;
  return hasProcess && files.isAbsent("/proc/self/uid_map") ? true : undefined;
}
