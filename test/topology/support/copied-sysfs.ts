import * as fs from "node:fs";
import * as os from "node:os";
import path from "node:path";
import type { Syscalls } from "../../../src/syscalls/syscalls.js";

/** A folder with a copy of a kernel's /sys, links as links, as `cp -a` makes one. */
export class CopiedSysfs implements Disposable {
  readonly folder: string = fs.mkdtempSync(path.join(os.tmpdir(), "iospan-copied-sysfs-"));

  constructor(kernel: Pick<Syscalls, "readFile" | "readDirectory" | "readLink">) {
    copy(kernel, "/sys", this.folder);
  }

  file(name: string, content: string | Uint8Array): void {
    const full = path.join(this.folder, name);
    fs.mkdirSync(path.dirname(full), { recursive: true });
    fs.writeFileSync(full, content);
  }

  remove(name: string): void {
    fs.rmSync(path.join(this.folder, name), { recursive: true });
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

function copy(kernel: Pick<Syscalls, "readFile" | "readDirectory" | "readLink">, from: string, to: string): void {
  const link = answered(() => kernel.readLink(from));
  if (link !== undefined) {
    fs.symlinkSync(link, to);
    return;
  }
  const names = answered(() => kernel.readDirectory(from));
  if (names === undefined) {
    const text = answered(() => kernel.readFile(from));
    // Files that only take writes are left out.
    if (text !== undefined) fs.writeFileSync(to, text);
    return;
  }
  fs.mkdirSync(to, { recursive: true });
  for (const name of names) copy(kernel, `${from}/${name}`, path.join(to, name));
}

function answered<T>(call: () => T): T | undefined {
  try {
    return call();
  } catch {
    return undefined;
  }
}
