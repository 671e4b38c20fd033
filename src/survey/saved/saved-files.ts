import { errno } from "../../abi/errno.js";
import { IospanError } from "../../errors.js";
import type { FileStatus, MachineFiles } from "../../machine/machine-files.js";
import { SyscallError } from "../../syscalls/syscalls.js";
import type { RecordedFiles, RefusedRead } from "./recording-files.js";

/**
 * The files of a machine that were recorded. What was refused then is refused again; of a path that nothing was recorded of
 * nobody knows whether it was there, and so it is an error: `ERR_IOSPAN_SAVED_MACHINE`.
 */
export class SavedFiles implements MachineFiles {
  /** Absent where the machine's permissions were not known. */
  readonly status?: (path: string) => FileStatus;
  readonly #recorded: RecordedFiles;
  readonly #name: string;

  /** @param name what the saved machine is called in errors. */
  constructor(recorded: RecordedFiles, name: string) {
    this.#recorded = recorded;
    this.#name = name;
    if (recorded.statuses.size > 0) this.status = (path) => this.#find(recorded.statuses, path, "stat");
  }

  readFile(path: string): string {
    const content = this.#find(this.#recorded.files, path, "openat");
    return typeof content === "string" ? content : new TextDecoder("utf-8", { ignoreBOM: true }).decode(content);
  }

  readBytes(path: string): Uint8Array {
    const content = this.#find(this.#recorded.files, path, "openat");
    return typeof content === "string" ? new TextEncoder().encode(content) : content;
  }

  readDirectory(path: string): readonly string[] {
    return this.#find(this.#recorded.directories, path, "openat");
  }

  readLink(path: string): string {
    return this.#find(this.#recorded.links, path, "readlinkat");
  }

  #find<T>(answers: ReadonlyMap<string, T | RefusedRead>, path: string, syscall: string): T {
    const answer = answers.get(path);
    if (answer === undefined) throw this.#notSaved(path);
    if (isRefused(answer)) throw new SyscallError(syscall, numberOf(answer.refused), answer.refused, path);
    return answer;
  }

  #notSaved(path: string): IospanError {
    const message = `${this.#name} does not tell of ${path}, which was not read when the machine was saved`;
    return new IospanError("ERR_IOSPAN_SAVED_MACHINE", message, {
      hint: "save the machine again, with this version of iospan",
    });
  }
}

function isRefused(answer: unknown): answer is RefusedRead {
  return typeof answer === "object" && answer !== null && "refused" in answer;
}

/** EIO for a name that is not known here: it matters that it was refused, and not for which of the rare reasons. */
function numberOf(name: string): number {
  return new Map<string, number>(Object.entries(errno)).get(name) ?? errno.EIO;
}
