const BINARY = ["bytes", "KiB", "MiB", "GiB", "TiB"] as const;
const DECIMAL = ["B/s", "kB/s", "MB/s", "GB/s", "TB/s"] as const;

/** An amount of memory: `4 KiB`, `1.5 MiB`. */
export function bytes(count: number): string {
  return scaled(count, 1024, BINARY);
}

/** A throughput: `7.83 GB/s`. */
export function bytesPerSecond(rate: number): string {
  return scaled(rate, 1000, DECIMAL);
}

/** `1 page`, `2 pages`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** `a`, `a and b`, `a, b and c`. */
export function listed(items: readonly string[]): string {
  const [last = ""] = items.slice(-1);
  return items.length < 2 ? last : `${items.slice(0, -1).join(", ")} and ${last}`;
}

/** Three digits that count, and no zeros after the point. */
function scaled(value: number, step: number, units: readonly string[]): string {
  let rest = value;
  let unit = 0;
  // Rounded, since 999.9 is shown as the next unit's 1.
  while (Math.round(rest) >= step && unit < units.length - 1) {
    rest /= step;
    unit += 1;
  }
  return `${rest >= 100 ? Math.round(rest) : Number(rest.toPrecision(3))} ${units[unit]}`;
}
