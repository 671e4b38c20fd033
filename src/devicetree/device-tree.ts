import { decodeBlob } from "./blob.js";
import { isBlob } from "./blob-format.js";
import { parseSource, type SourceOptions } from "./source.js";
import type { DeviceTree } from "./tree.js";

/**
 * Reads a device tree: a source, as text or as the bytes of its file, or a blob.
 * @throws IospanError `ERR_IOSPAN_DEVICE_TREE` for what is neither, or is malformed.
 */
export function readDeviceTree(input: string | Uint8Array, options?: SourceOptions): DeviceTree {
  if (typeof input === "string") return parseSource(input, options);
  // Text has no NULs: what has some is a blob, if a damaged one.
  const isText = !isBlob(input) && !input.includes(0);
  return isText ? parseSource(new TextDecoder().decode(input), options) : decodeBlob(input);
}
