import { IospanError } from "../errors.js";
import { hex, type Iova } from "../iova.js";
import { kernelName } from "../machine/device-name.js";
import { type Access, accesses } from "../vfio/container.js";
import { byteCount } from "./byte-count.js";
import type { IovaAllocator } from "./iova-allocator.js";
import { pageSizes } from "./iova-ranges.js";
import type { MappingRecord } from "./ledger.js";
import type { SpaceLimits } from "./limits.js";
import type { MappingSource } from "./mapping-source.js";

/** How memory is to be mapped. */
export interface MapOptions {
  /** Where; a free place is chosen when absent. A multiple of the granule, inside `space.iovaRanges`. */
  readonly iova?: number | bigint | undefined;
  /** What devices may do; `read-write` when absent. */
  readonly access?: Access | undefined;
  /**
   * The interfaces it is to reach, all when absent; with an object, what each of them may do. Only the `mirrored` strategy can.
   */
  readonly interfaces?: readonly string[] | Readonly<Record<string, Access>> | undefined;
  /** The part of the memory, or of the region, to map: from this byte, 0 when absent. */
  readonly offset?: number | undefined;
  /** Bytes of it; the rest when absent. */
  readonly size?: number | undefined;
}

/** The part of the memory that is meant. @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT`, `ERR_IOSPAN_MAP_ALIGNMENT`. */
export function partOf(
  memory: Pick<MappingSource, "address" | "size">,
  options: MapOptions,
  granule: number,
): { address: bigint; size: number } {
  const offset = byteCount(options.offset ?? 0, "offset", 0);
  if (options.size === undefined && offset >= memory.size) throw pastTheEnd(offset, memory.size);
  const size = byteCount(options.size ?? memory.size - offset, "size");
  if (offset + size > memory.size) {
    throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${size} bytes from ${offset} reach beyond the memory`, {
      hint: `it has ${memory.size} bytes`,
    });
  }
  const address = memory.address + BigInt(offset);
  if (address % BigInt(granule) === 0n && size % granule === 0) return { address, size };
  if (memory.address % BigInt(granule) !== 0n) throw notWholePages(address, size, granule);
  if (offset % granule !== 0) throw notOfGranule("offset", offset, granule);
  throw options.size === undefined ? notWholePages(address, size, granule) : notOfGranule("size", size, granule);
}

function pastTheEnd(offset: number, size: number): IospanError {
  const message = `offset ${offset} is at or beyond the end: nothing is left to map`;
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", message, { hint: `there are ${size} bytes` });
}

/** It is not the memory that does not fit, but the part of it that was asked for. */
function notOfGranule(what: "offset" | "size", value: number, granule: number): IospanError {
  const message = `${what} ${value} is not a multiple of the granule, ${granule} bytes`;
  return new IospanError("ERR_IOSPAN_MAP_ALIGNMENT", message, {
    hint: "the IOMMUs map whole pages; space.granule says how large those are",
  });
}

function notWholePages(address: bigint, size: number, granule: number): IospanError {
  return new IospanError(
    "ERR_IOSPAN_MAP_ALIGNMENT",
    `${hex(size)} bytes at ${hex(address)} do not consist of whole pages of the IOMMUs (${granule} bytes)`,
    {
      hint:
        "space.allocate() gives memory that does, and so does DmaMemory.allocate(machine, size, { alignment: space.granule }), " +
        'with { hugePages: "2MiB" } too where that is more than a page of the processor',
    },
  );
}

/** What a mapping's `access` and `interfaces` come to. @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT`. */
export function wantedAccess(options: MapOptions): MappingRecord["access"] {
  const { access = "read-write", interfaces } = options;
  checkAccess(access);
  if (interfaces === undefined) return access;
  if (typeof interfaces !== "object" || interfaces === null) throw noInterfaces(interfaces);
  const entries: [string, Access][] = isList(interfaces)
    ? interfaces.map((name) => [name, access])
    : Object.entries(interfaces);
  if (entries.length === 0) {
    throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", "a mapping for no interface", {
      hint: "leave `interfaces` out",
    });
  }
  for (const [, each] of entries) checkAccess(each);
  const byName = new Map(entries.map(([name, each]) => [kernelName(name), each]));
  if (byName.size === entries.length) return byName;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", "an interface is named twice", {
    hint: "name every device once",
  });
}

/** A text has entries, too: its letters. */
function noInterfaces(interfaces: unknown): IospanError {
  const found = typeof interfaces === "string" ? JSON.stringify(interfaces) : String(interfaces);
  const message = `\`interfaces\` takes a list of names, or an object from names to accesses, not ${found}`;
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", message, {
    hint: '["0000:01:00.0"], or { "0000:01:00.0": "read" }',
  });
}

function isList(interfaces: readonly string[] | Readonly<Record<string, Access>>): interfaces is readonly string[] {
  return Array.isArray(interfaces);
}

function checkAccess(access: string): void {
  if (accesses.some((known) => known === access)) return;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `access "${access}"`, { hint: `one of ${accesses.join(", ")}` });
}

/**
 * Takes the IOVAs: those asked for, else free ones at the same place within a block as the memory, so that the IOMMUs can
 * use block mappings where the memory is contiguous.
 */
export function takeIova(
  allocator: IovaAllocator,
  limits: SpaceLimits,
  { address, size }: { address: bigint; size: number },
  wanted: number | bigint | undefined,
): Iova {
  if (wanted !== undefined) return allocator.reserve(wanted, size);
  const modulus = pageSizes(limits.pageSizes.bitmap).findLast((block) => block <= size && block >= limits.granule);
  if (modulus === undefined || modulus === limits.granule) return allocator.allocate(size);
  try {
    return allocator.allocate(size, { congruentTo: { address, modulus } });
  } catch (error) {
    // No such place is left; anywhere is slower, not wrong.
    if (error instanceof IospanError && error.code === "ERR_IOSPAN_NO_IOVA") return allocator.allocate(size);
    throw error;
  }
}
