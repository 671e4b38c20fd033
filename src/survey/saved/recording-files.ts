import { errnoName } from "../../abi/errno.js";
import type { FileStatus, MachineFiles } from "../../machine/machine-files.js";
import { SyscallError } from "../../syscalls/syscalls.js";

/** What the kernel refused something with, `ENOENT`. */
export interface RefusedRead {
  readonly refused: string;
}

/** What was read of a machine, by path: of each path what was asked of it, and refusals like answers. */
export interface RecordedFiles {
  /** Bytes where they are no text. */
  readonly files: ReadonlyMap<string, string | Uint8Array | RefusedRead>;
  readonly directories: ReadonlyMap<string, readonly string[] | RefusedRead>;
  readonly links: ReadonlyMap<string, string | RefusedRead>;
  readonly statuses: ReadonlyMap<string, FileStatus | RefusedRead>;
}

/** A machine's files that remember what was read of them, so that the same can be read again without the machine. */
export class RecordingFiles implements MachineFiles, RecordedFiles {
  readonly files: Map<string, string | Uint8Array | RefusedRead> = new Map();
  readonly directories: Map<string, readonly string[] | RefusedRead> = new Map();
  readonly links: Map<string, string | RefusedRead> = new Map();
  readonly statuses: Map<string, FileStatus | RefusedRead> = new Map();
  /** Absent where the machine's files have none. */
  readonly status?: (path: string) => FileStatus;
  readonly #inner: MachineFiles;

  constructor(inner: MachineFiles) {
    this.#inner = inner;
    const { status } = inner;
    if (status !== undefined) this.status = (path) => kept(this.statuses, path, () => status.call(inner, path));
  }

  readFile(path: string): string {
    return kept(this.files, path, () => this.#inner.readFile(path));
  }

  readBytes(path: string): Uint8Array {
    return kept(this.files, path, () => this.#inner.readBytes(path));
  }

  readDirectory(path: string): readonly string[] {
    return kept(this.directories, path, () => this.#inner.readDirectory(path));
  }

  readLink(path: string): string {
    return kept(this.links, path, () => this.#inner.readLink(path));
  }
}

function kept<A, T extends A>(answers: Map<string, A | RefusedRead>, path: string, read: () => T): T {
  try {
    const answer = read();
    answers.set(path, answer);
    return answer;
  } catch (error) {
    if (error instanceof SyscallError) answers.set(path, { refused: errnoName(error.errno) });
    throw error;
  }
}
