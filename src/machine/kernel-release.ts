/**
 * Whether a release, as `uname -r` says it (`6.12.107+deb13-arm64`), comes before a version of Linux; undefined where it is not
 * known, or no number. Distributions may have taken a change into older releases.
 */
export function isBefore(
  release: string | undefined,
  ...version: readonly [major: number, minor: number, patch?: number]
): boolean | undefined {
  const numbers = /^(\d+)\.(\d+)(?:\.(\d+))?/
    .exec(release ?? "")
    ?.slice(1)
    .map((digits) => Number(digits ?? 0));
  if (numbers === undefined) return undefined;
  const index = version.findIndex((part, i) => part !== numbers[i]);
  return index >= 0 && (numbers[index] ?? 0) < (version[index] ?? 0);
}
