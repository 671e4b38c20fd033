import { Apt, type Release } from "./apt.js";
import type { Cache } from "./cache.js";
import type { Host } from "./host.js";

/** What every building step needs. */
export interface Workshop {
  readonly host: Host;
  readonly cache: Cache;
  /** Build again what exists already, from the newest packages. */
  readonly renew: boolean;
  /** Opened on first use, and once only: a lab whose cache is full asks no mirror anything. */
  readonly debian: (release: Release) => Promise<Apt>;
}

export function openWorkshop(host: Host, cache: Cache, renew: boolean): Workshop {
  const releases = new Map<Release, Promise<Apt>>();
  const debian = (release: Release): Promise<Apt> => {
    const apt = releases.get(release) ?? Apt.open(host, cache, release, renew);
    releases.set(release, apt);
    return apt;
  };
  return { host, cache, renew, debian };
}
