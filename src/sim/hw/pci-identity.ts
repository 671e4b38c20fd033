import { IospanError } from "../../errors.js";
import type { PciIdentity } from "./device-model.js";

/**
 * Refuses what no configuration space can say (PCI Local Bus 3.0, 6.2.5 and 6.8.1).
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` naming the field.
 */
export function checkPciIdentity(identity: PciIdentity): void {
  const { vendor, device, classCode, msiVectors = 1, bars = [] } = identity;
  checkBits("vendor", vendor, 16);
  checkBits("device", device, 16);
  checkBits("classCode", classCode, 24);
  checkBits("subsystemVendor", identity.subsystemVendor ?? 0, 16);
  checkBits("subsystem", identity.subsystem ?? 0, 16);
  checkBits("revision", identity.revision ?? 0, 8);
  if (!isPowerOfTwo(msiVectors) || msiVectors > 32) throw wrong("msiVectors", msiVectors, "1, 2, 4, 8, 16 or 32");
  const seen = new Set<number>();
  for (const { index, size } of bars) {
    if (!Number.isInteger(index) || index < 0 || index > 5) throw wrong("the index of a BAR", index, "0 to 5");
    if (seen.has(index)) throw wrong("the index of a BAR", index, "different for each BAR");
    if (!isPowerOfTwo(size) || size < 16 || size > 2 ** 31) throw wrong("a BAR's size", size, SIZES);
    seen.add(index);
  }
}

const SIZES = "a power of two from 16 bytes to 2 GiB";

function isPowerOfTwo(value: number): boolean {
  return Number.isInteger(value) && value > 0 && Number.isInteger(Math.log2(value));
}

function checkBits(field: string, value: number, bits: number): void {
  if (Number.isInteger(value) && value >= 0 && value < 2 ** bits) return;
  throw wrong(field, value, `an integer of ${bits} bits`);
}

function wrong(field: string, value: number, allowed: string): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${field} of a PCI identity is ${value}`, {
    hint: `it must be ${allowed}`,
  });
}
