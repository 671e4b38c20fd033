import { HEADER, HEADER_SIZE, HEADER_SIZE_16, isBlob, OLDEST_VERSION, VERSION } from "./blob-format.js";
import { deviceTreeError } from "./device-tree-error.js";

/** Part of a blob. */
export interface Block {
  readonly start: number;
  /** The offset behind its last byte. */
  readonly end: number;
}

/** What a blob's header says. */
export interface BlobHeader {
  readonly structure: Block;
  readonly strings: Block;
  /** It ends with an entry of zeros; `end` is where the blob ends. */
  readonly reservations: Block;
  readonly bootCpu: number;
}

const HINT = "the file is damaged or no device tree blob: make it again with dtc";

/** The error for a malformed blob. @param offset where in the blob */
export function blobError(offset: number, problem: string, hint = HINT): Error {
  return deviceTreeError(`byte 0x${offset.toString(16)} of the blob`, problem, hint);
}

/**
 * Reads the header and finds the blocks, all of which lie inside the blob.
 * @throws IospanError `ERR_IOSPAN_DEVICE_TREE`
 */
export function readHeader(bytes: Uint8Array): BlobHeader {
  if (!isBlob(bytes))
    throw blobError(0, "it does not begin with 0xd00dfeed", "pass a .dtb file, or the text of a .dts");
  if (bytes.length < HEADER_SIZE_16) throw blobError(0, `its header is cut off after ${bytes.length} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const field = (name: keyof typeof HEADER) => view.getUint32(HEADER[name]);
  const hasStructureSize = checkVersion(field("version"), field("last_comp_version"));
  const total = field("totalsize");
  const headerSize = hasStructureSize ? HEADER_SIZE : HEADER_SIZE_16;
  if (total > bytes.length) throw blobError(HEADER.totalsize, `it should have ${total} bytes and has ${bytes.length}`);
  if (total < headerSize) throw blobError(HEADER.totalsize, `a size of ${total} bytes does not even hold the header`);
  const block = (name: "off_dt_struct" | "off_dt_strings" | "off_mem_rsvmap", alignment: number, size?: number) => {
    const start = field(name);
    const end = size === undefined ? total : start + size;
    if (start < headerSize || end > total || start > end) {
      throw blobError(
        HEADER[name],
        `a block from 0x${start.toString(16)} to 0x${end.toString(16)} is not inside the blob`,
      );
    }
    if (start % alignment !== 0)
      throw blobError(HEADER[name], `0x${start.toString(16)} is no multiple of ${alignment}`);
    return { start, end };
  };
  return {
    structure: block("off_dt_struct", 4, hasStructureSize ? field("size_dt_struct") : undefined),
    strings: block("off_dt_strings", 1, field("size_dt_strings")),
    reservations: block("off_mem_rsvmap", 8),
    bootCpu: field("boot_cpuid_phys"),
  };
}

/** @returns whether the header has a size of the structure block */
function checkVersion(version: number, compatibleWith: number): boolean {
  if (version >= OLDEST_VERSION && compatibleWith <= VERSION) return version >= VERSION;
  throw blobError(
    HEADER.version,
    `version ${version}, which readers of version ${compatibleWith} understand, is neither 16 nor 17`,
    `convert it: dtc -I dtb -O dtb -V ${VERSION} old.dtb -o new.dtb`,
  );
}
