/** The release that `simulate` takes where none is asked for. */
export const DEFAULT_RELEASE = "7.3";

/** Whole releases for those that are known by two numbers: what VFIO programs can notice was measured on them or, for 6.14, read. */
const RELEASES: Readonly<Record<string, string>> = {
  "5.10": "5.10.0-32-arm64",
  "6.1": "6.1.0-50-arm64",
  "6.12": "6.12.107+deb13-arm64",
  "6.14": "6.14.0",
  "7.3": "7.3.4+deb13-arm64",
};

/** `uname -r` for a release that may be given by two numbers. */
export function fullRelease(release: string): string {
  return Object.hasOwn(RELEASES, release) ? (RELEASES[release] ?? release) : release;
}
