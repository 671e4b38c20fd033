import { type ErrnoName, errno } from "../../abi/errno.js";

/** How code inside the simulated kernel says `return -EINVAL`. The system call boundary makes a SyscallError of it. */
export class Refusal extends Error {
  /** Positive. */
  readonly errno: number;

  constructor(name: ErrnoName, detail?: string) {
    super(detail === undefined ? name : `${name} (${detail})`);
    this.name = "Refusal";
    this.errno = errno[name];
  }
}

/** Ends the present system call with an errno. */
export function refuse(name: ErrnoName, detail?: string): never {
  throw new Refusal(name, detail);
}

/** Runs `call`; the errno it was refused with, or undefined when it went well. */
export function refusalOf(call: () => void): Refusal | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}
