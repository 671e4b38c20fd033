import { errnoName } from "../abi/errno.js";
import { IospanError } from "../errors.js";
import { SyscallError } from "../syscalls/syscalls.js";
import type { MachineFiles } from "./machine-files.js";
import { baseName } from "./sysfs.js";

/** A machine's files where each is worth having and none is needed: what cannot be read, for whatever reason, is undefined. */
export class OptionalFiles {
  readonly #files: MachineFiles;

  constructor(files: MachineFiles) {
    this.#files = files;
  }

  /** A file's text without the line end. */
  text(path: string): string | undefined {
    return optional(() => this.#files.readFile(path).replace(/\n$/, ""));
  }

  /** Whether it is certain that there is no such file. */
  isAbsent(path: string): boolean {
    return optional<string | undefined>(() => this.#files.readFile(path), ABSENT) === ABSENT;
  }

  bytes(path: string): Uint8Array | undefined {
    return optional(() => this.#files.readBytes(path));
  }

  /** The names in a directory. */
  names(path: string): readonly string[] | undefined {
    return optional(() => this.#files.readDirectory(path));
  }

  /** The names in a directory; none where it is certain that there is no such directory. */
  namesOrNone(path: string): readonly string[] | undefined {
    return optional(() => this.#files.readDirectory(path), []);
  }

  /** Where a link leads. */
  target(path: string): string | undefined {
    return optional(() => this.#files.readLink(path));
  }

  /** The last component of where a link leads. */
  linkName(path: string): string | undefined {
    const target = this.target(path);
    return target === undefined ? undefined : baseName(target);
  }

  /** Who may do what with a file. */
  status(path: string): ReturnType<NonNullable<MachineFiles["status"]>> | undefined {
    return optional(() => this.#files.status?.(path));
  }
}

/** No file of these has it for its text. */
const ABSENT = "\0absent";

/** @param absent the answer where the kernel says that there is no such file. */
function optional<T>(read: () => T, absent?: T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof SyscallError) return errnoName(error.errno) === "ENOENT" ? absent : undefined;
    if (error instanceof IospanError && error.code === "ERR_IOSPAN_SAVED_MACHINE") return undefined;
    throw error;
  }
}
