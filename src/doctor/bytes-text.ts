const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** An amount of memory, in the largest unit that it has one of: `64 KiB`, `1.5 GiB`. */
export function bytesText(count: number): string {
  let rest = count;
  let unit = 0;
  while (rest >= 1024 && unit < UNITS.length - 1) {
    rest /= 1024;
    unit += 1;
  }
  return `${Number(rest.toFixed(1))} ${UNITS[unit]}`;
}
