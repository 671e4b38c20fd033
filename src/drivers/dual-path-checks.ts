import { hex, type Iova, iova } from "../iova.js";
import type { Device } from "../vfio/device.js";
import type { Region } from "../vfio/region.js";
import { invalid, notAnEngine } from "./dual-path-errors.js";
import type { DualPathInterfaces } from "./dual-path-job.js";
import { ALIGNMENT, ID_VALUE, MAJOR_VERSION, REGISTER } from "./dual-path-registers.js";

/** The engine's registers as an interface shows them. */
export function registersOf(device: Device): Region {
  return device.region(device.bus === "pci" ? "bar0" : 0);
}

/**
 * That each interface is such an engine's, and both are the same one's.
 * @throws IospanError `ERR_IOSPAN_NOT_SUPPORTED`
 */
export function checkEngine({ function: onPci, port }: DualPathInterfaces): void {
  for (const [device, number] of [
    [onPci, 0],
    [port, 1],
  ] as const) {
    if (device === undefined) continue;
    const registers = registersOf(device);
    const id = registers.read32(REGISTER.ID);
    if (id !== ID_VALUE)
      throw notAnEngine(device, `is no dual-path engine: its ID register reads 0x${id.toString(16)}`);
    const version = registers.read32(REGISTER.VERSION) >>> 16;
    if (version !== MAJOR_VERSION) throw notAnEngine(device, `has version ${version} of the register map`);
    const which = registers.read32(REGISTER.INTERFACE);
    if (which !== number)
      throw notAnEngine(device, `is the engine's ${which === 0 ? "PCIe function" : "platform port"}`);
  }
  if (onPci === undefined || port === undefined) return;
  const before = registersOf(onPci).read32(REGISTER.SCRATCH);
  registersOf(onPci).write32(REGISTER.SCRATCH, ~before);
  const shared = registersOf(port).read32(REGISTER.SCRATCH) === ~before >>> 0;
  registersOf(onPci).write32(REGISTER.SCRATCH, before);
  if (!shared) throw notAnEngine(port, `belongs to another engine than ${onPci.name}`);
}

/** @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` */
export function checkPowerOfTwo(name: string, value: number, least: number, most: number): void {
  if (value >= least && value <= most && Number.isInteger(Math.log2(value))) return;
  throw invalid(`${name} is ${value}`, `it must be a power of two from ${least} to ${most}`);
}

/** The longest that setTimeout() waits; for more it waits 1 ms. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` */
export function checkPatience(patience: number): void {
  if (patience === Number.POSITIVE_INFINITY || (patience > 0 && patience <= LONGEST_TIMER)) return;
  const hint = `it must be a positive number of milliseconds up to ${LONGEST_TIMER}, or Infinity`;
  throw invalid(`patience is ${patience}`, hint);
}

const LONGEST = 2 ** 32 - ALIGNMENT;
const END_OF_ADDRESSES = 2n ** 64n;

/** @returns `start` as an IOVA. @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` */
export function checkRange(what: string, start: number | bigint, length: number): Iova {
  const at = iova(start);
  if (!Number.isInteger(length) || length <= 0 || length % ALIGNMENT !== 0 || length > LONGEST)
    throw invalid(`${length} bytes cannot be one job`, `a job has 8 bytes to 4 GiB - 8, a multiple of ${ALIGNMENT}`);
  if (at % BigInt(ALIGNMENT) !== 0n || at + BigInt(length) > END_OF_ADDRESSES)
    throw invalid(`${what} is at ${hex(at)}`, `it must be a multiple of ${ALIGNMENT} and end before 2^64`);
  return at;
}
