import type { OptionalFiles } from "../machine/optional-files.js";

/** `uname -r`, as /proc tells it. */
export function readRelease(files: OptionalFiles): string | undefined {
  return (
    files.text("/proc/sys/kernel/osrelease") ?? /^Linux version (\S+)/.exec(files.text("/proc/version") ?? "")?.[1]
  );
}
