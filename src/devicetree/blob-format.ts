// The flattened format (Devicetree Specification 0.4, chapter 5). Everything is big-endian.

/** Where the header's 32-bit fields are. */
export const HEADER = {
  magic: 0,
  totalsize: 4,
  off_dt_struct: 8,
  off_dt_strings: 12,
  off_mem_rsvmap: 16,
  version: 20,
  last_comp_version: 24,
  boot_cpuid_phys: 28,
  size_dt_strings: 32,
  size_dt_struct: 36,
} as const;

/** Bytes of the header of version 17; version 16 has no size_dt_struct. */
export const HEADER_SIZE = 40;
export const HEADER_SIZE_16 = 36;
export const MAGIC = 0xd00dfeed;

/** What the structure block is made of. */
export const TOKEN = { BEGIN_NODE: 1, END_NODE: 2, PROP: 3, NOP: 4, END: 9 } as const;

/** The version that is written. */
export const VERSION = 17;
/** The oldest version that is understood: since it, nodes have no full paths for names. */
export const OLDEST_VERSION = 16;

/** Bytes of an entry of the memory reservation block: address and size, both of 64 bits. */
export const RESERVATION_SIZE = 16;

/** Whether these bytes begin as a blob does. */
export function isBlob(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(HEADER.magic) === MAGIC;
}

/** The next multiple of 4. */
export function aligned(offset: number): number {
  return (offset + 3) & ~3;
}
