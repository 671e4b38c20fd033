import type { Decoded } from "../../../abi/codec.js";
import type { bitmap } from "../../../abi/vfio-container.js";
import { refuse } from "../refusal.js";
import type { Dma, Type1State } from "./state.js";

type UserBitmap = Decoded<typeof bitmap>;

/** vfio_iommu_type1.c, DIRTY_BITMAP_SIZE_MAX: room for 2^31 - 1 bits. */
export const MOST_BITMAP_BYTES = 2n ** 28n;
/** Where user addresses end (access_ok). */
const USER_END = 2n ** 48n;
const WORD = 8;

/** The checks of a user's bitmap (verify_bitmap_size): it must have a bit for each page of `size`. */
export function checkBitmap({ pgsize, size: bytes, data }: UserBitmap, size: bigint): void {
  if (data + bytes > USER_END || pgsize === 0n) refuse("EINVAL");
  const pages = size / (pgsize & -pgsize);
  if (pages === 0n || bytes === 0n || bytes > MOST_BITMAP_BYTES) refuse("EINVAL");
  if (bytes < roundUp((pages + 7n) / 8n, 8n)) refuse("EINVAL");
}

/**
 * Reports every page of a mapping as written (update_user_bitmap): with a device attached that does its own DMA, type1
 * cannot know better. Whole 64-bit words are written; in the first one the bits below are kept.
 */
export function reportDirty(state: Type1State, { pgsize, data }: UserBitmap, dma: Dma, base: number): void {
  const { memory } = state.kernel.process;
  const pages = dma.size / Number(pgsize);
  const firstBit = (dma.iova - base) / Number(pgsize);
  const shift = firstBit % (8 * WORD);
  const address = Number(data) + ((firstBit - shift) / (8 * WORD)) * WORD;
  const words = new Uint8Array(Math.ceil((pages + shift) / (8 * WORD)) * WORD);
  if (shift > 0) words.set(memory.read(address, WORD).map((byte, index) => byte & below(shift - 8 * index)));
  for (let bit = shift; bit < shift + pages; bit++) words[bit >>> 3] = (words[bit >>> 3] ?? 0) | (1 << (bit & 7));
  memory.write(address, words);
}

/** A byte with the lowest `bits` set. */
function below(bits: number): number {
  return bits >= 8 ? 0xff : bits <= 0 ? 0 : (1 << bits) - 1;
}

function roundUp(value: bigint, unit: bigint): bigint {
  return ((value + unit - 1n) / unit) * unit;
}
