/** 2^n for n up to 63; an exponentiation costs as much as the rest of a TLB lookup. */
export const powers: Readonly<Float64Array> = Float64Array.from({ length: 64 }, (_, exponent) => 2 ** exponent);
/** 2^-n for n up to 63. */
export const inversePowers: Readonly<Float64Array> = Float64Array.from({ length: 64 }, (_, n) => 2 ** -n);

/** How far an address is into the block of 2^`sizeBits` bytes that it lies in. */
export function offsetInBlock(address: number, sizeBits: number): number {
  return address - Math.floor(address * (inversePowers[sizeBits] as number)) * (powers[sizeBits] as number);
}
