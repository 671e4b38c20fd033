/** The release that `simulate` takes where none is asked for. */
export const DEFAULT_RELEASE = "7.3";

/**
 * Whole releases for those that are known by two numbers: what VFIO programs can notice was measured on Debian's builds of
 * them or, for 6.14, read. They name no build of Debian's, since those for arm64 lack iommufd, which is simulated.
 */
const RELEASES: Readonly<Record<string, string>> = {
  "5.10": "5.10.223",
  "6.1": "6.1.176",
  "6.12": "6.12.107",
  "6.14": "6.14.0",
  "7.3": "7.3.4",
};

/** `uname -r` for a release that may be given by two numbers. */
export function fullRelease(release: string): string {
  return Object.hasOwn(RELEASES, release) ? (RELEASES[release] ?? release) : release;
}
