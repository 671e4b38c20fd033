import * as fs from "node:fs";
import * as os from "node:os";
import path from "node:path";
import type { MachineFiles } from "../../../src/machine/machine-files.js";

/** A folder with copies of a kernel's /sys, /proc and /dev, links as links; nodes as empty files. */
export class CopiedRoot implements Disposable {
  readonly folder: string = fs.mkdtempSync(path.join(os.tmpdir(), "iospan-copied-root-"));

  constructor(kernel: MachineFiles, folders: readonly string[] = ["sys", "proc", "dev"]) {
    for (const name of folders) copy(kernel, `/${name}`, path.join(this.folder, name));
  }

  file(name: string, content: string | Uint8Array): string {
    const full = path.join(this.folder, name);
    fs.mkdirSync(path.dirname(full), { recursive: true });
    fs.writeFileSync(full, content);
    return full;
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}

function copy(kernel: MachineFiles, from: string, to: string): void {
  const link = answered(() => kernel.readLink(from));
  const names = link === undefined ? answered(() => kernel.readDirectory(from)) : undefined;
  if (link !== undefined) fs.symlinkSync(link, to);
  else if (names === undefined) fs.writeFileSync(to, answered(() => kernel.readBytes(from)) ?? "");
  else fs.mkdirSync(to, { recursive: true });
  for (const name of names ?? []) copy(kernel, `${from}/${name}`, path.join(to, name));
}

function answered<T>(call: () => T): T | undefined {
  try {
    return call();
  } catch {
    return undefined;
  }
}
