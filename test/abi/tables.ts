import { readdirSync } from "node:fs";
import type { Struct } from "../../src/abi/codec.js";
import { cPattern, type NameSet } from "../../src/abi/flags.js";
import type { Ioctl } from "../../src/abi/ioctl.js";

/** Everything src/abi exports, so that no table can escape the tests by not being listed. */
export interface Tables {
  readonly structs: readonly Struct[];
  readonly ioctls: readonly Ioctl[];
  readonly nameSets: readonly NameSet[];
  /** Single constants named as in C: `VFIO_API_VERSION`. */
  readonly constants: readonly (readonly [name: string, value: number])[];
}

/** Structs that the headers leave without a name: a pointer to a bare integer, or bare bytes. */
export const unnamedInC = ["iospan_container_fd", "iospan_vf_token"];

const directory = new URL("../../src/abi/", import.meta.url);

export async function loadTables(): Promise<Tables> {
  const files = readdirSync(directory).filter((name) => name.endsWith(".ts"));
  const modules: object[] = await Promise.all(files.map((name) => import(new URL(name, directory).href)));
  const exports = modules.flatMap((module): [string, unknown][] => Object.entries(module));
  return {
    structs: exports.map(([, value]) => value).filter(isStruct),
    ioctls: exports.map(([, value]) => value).filter(isIoctl),
    nameSets: exports.map(([, value]) => value).filter(isNameSet),
    constants: exports.filter((entry): entry is [string, number] => isCConstant(entry)),
  };
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

export function isStruct(value: unknown): value is Struct {
  return isObject(value) && "fields" in value && "offsetOf" in value;
}

function isIoctl(value: unknown): value is Ioctl {
  return isObject(value) && "request" in value && "argument" in value;
}

function isNameSet(value: unknown): value is NameSet {
  return isObject(value) && cPattern in value;
}

function isCConstant([name, value]: readonly [string, unknown]): boolean {
  return typeof value === "number" && /^(VFIO|IOMMU)/.test(name);
}
