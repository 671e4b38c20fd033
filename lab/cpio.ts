/** A file of an initramfs. A directory must come before what it holds. */
export type CpioEntry =
  | { readonly path: string; readonly directory: true }
  | { readonly path: string; readonly data: Buffer; readonly executable?: boolean };

const DIRECTORY = 0o040755;
const FILE = 0o100644;
const PROGRAM = 0o100755;
const PADDING = Buffer.alloc(4);

/** The kernel's initramfs format: "newc", uncompressed, everything owned by root. */
export function writeCpio(entries: readonly CpioEntry[]): Buffer {
  const parts = entries.flatMap((entry, index) => record(entry, index + 1));
  return Buffer.concat([...parts, ...record({ path: "TRAILER!!!", data: Buffer.alloc(0) }, 0)]);
}

function record(entry: CpioEntry, inode: number): Buffer[] {
  const data = "data" in entry ? entry.data : Buffer.alloc(0);
  const mode = "directory" in entry ? DIRECTORY : entry.executable ? PROGRAM : FILE;
  const links = "directory" in entry ? 2 : 1;
  const name = Buffer.from(`${entry.path}\0`);
  // inode, mode, uid, gid, nlink, mtime, filesize, then both device numbers, namesize, checksum: 8 hex digits each
  const fields = [inode, mode, 0, 0, links, 0, data.length, 0, 0, 0, 0, name.length, 0];
  const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`);
  return [header, name, padding(header.length + name.length), data, padding(data.length)];
}

/** Name and data both start on a multiple of four. */
function padding(length: number): Buffer {
  return PADDING.subarray(0, -length & 3);
}
