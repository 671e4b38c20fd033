import type { OptionalFiles } from "../machine/optional-files.js";

/** AT_PAGESZ of include/uapi/linux/auxvec.h. */
const PAGE_SIZE_TYPE = 6n;

/** Bytes of a page, as the kernel tells each program when it starts it: /proc/self/auxv, pairs of a type and a value. */
export function readPageSize(files: OptionalFiles): number | undefined {
  const bytes = files.bytes("/proc/self/auxv");
  if (bytes === undefined) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return (
    pageSizeIn(pairs(view, 8, (at) => view.getBigUint64(at, true))) ??
    pageSizeIn(pairs(view, 4, (at) => BigInt(view.getUint32(at, true))))
  );
}

/** @param width bytes of a word; those of a 32-bit program are 4. */
function pairs(view: DataView, width: number, word: (at: number) => bigint): readonly (readonly [bigint, bigint])[] {
  const count = Math.floor(view.byteLength / (2 * width));
  return Array.from(
    { length: count },
    (_, index) => [word(index * 2 * width), word(index * 2 * width + width)] as const,
  );
}

/** What is read with the wrong width gives no size that a page can have. */
function pageSizeIn(entries: readonly (readonly [bigint, bigint])[]): number | undefined {
  const size = Number(entries.find(([type]) => type === PAGE_SIZE_TYPE)?.[1] ?? 0n);
  return [2 ** 12, 2 ** 14, 2 ** 16].includes(size) ? size : undefined;
}
