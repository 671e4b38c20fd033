import type { Ioctl } from "../abi/ioctl.js";
import { type Fd, SyscallError, type Syscalls } from "../syscalls/syscalls.js";

/** A call on the file that is asked. */
interface QuestionCall {
  readonly call: Ioctl;
  readonly bytes: Uint8Array;
}

/**
 * What takes several calls to find out, written once for both ways: it yields its calls one after the other, and is given the
 * kernel's refusal of each, or undefined.
 */
export type KernelQuestion<Answer> = Generator<QuestionCall, Answer, SyscallError | undefined>;

/** An open file to ask. */
export interface Asked {
  readonly syscalls: Syscalls;
  readonly fd: Fd;
}

/**
 * Asks synchronously. What is no refusal is thrown past the question: nothing can be asked any more then.
 * @throws what the question throws
 */
export function answered<Answer>(asked: Asked, question: KernelQuestion<Answer>): Answer {
  let turn = question.next();
  while (!turn.done) {
    let refused: SyscallError | undefined;
    try {
      asked.syscalls.ioctl(asked.fd, turn.value.call, turn.value.bytes);
    } catch (error) {
      refused = refusalIn(error);
    }
    turn = question.next(refused);
  }
  return turn.value;
}

/** {@link answered} with every call off the event loop. */
export async function answeredAsync<Answer>(asked: Asked, question: KernelQuestion<Answer>): Promise<Answer> {
  let turn = question.next();
  while (!turn.done) {
    let refused: SyscallError | undefined;
    try {
      await asked.syscalls.ioctlAsync(asked.fd, turn.value.call, turn.value.bytes);
    } catch (error) {
      refused = refusalIn(error);
    }
    turn = question.next(refused);
  }
  return turn.value;
}

function refusalIn(error: unknown): SyscallError {
  if (error instanceof SyscallError) return error;
  throw error;
}
