/** `major.minor.patch` of a kernel, where missing parts count as 0. */
export type Version = readonly [major: number, minor: number, patch?: number];

/** Whether a kernel is of a version or newer. @param release `uname -r` */
export function isSince(release: string, version: Version): boolean {
  const [, ...parts] = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(release) ?? [];
  for (const [index, part] of parts.entries()) {
    const difference = Number(part ?? 0) - (version[index] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}
