import type { Decoded, Fields, Struct } from "../../../abi/codec.js";
import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import { refuse } from "../refusal.js";

/** The bytes that an ioctl's pointer points to. A number is an address in C; nothing that can be read lies there. */
export function userBytes(argument: IoctlArgument): Uint8Array {
  return typeof argument === "number" ? refuse("EFAULT") : argument;
}

/** copy_from_user of the first `length` bytes of a struct; the fields behind them are 0. */
export function readStruct<F extends Fields>(
  struct: Struct<F>,
  argument: IoctlArgument,
  length: number = struct.size,
): Decoded<Struct<F>> {
  const bytes = userBytes(argument);
  if (bytes.length < length) refuse("EFAULT");
  const copy = new Uint8Array(struct.size);
  copy.set(bytes.subarray(0, length));
  return struct.decode(copy) as Decoded<Struct<F>>;
}

/** copy_to_user. */
export function copyOut(argument: IoctlArgument, bytes: Uint8Array, offset = 0): void {
  const target = userBytes(argument);
  if (offset + bytes.length > target.length) refuse("EFAULT");
  target.set(bytes, offset);
}

/** put_user of one 32-bit field of a struct that the caller may have passed in part. */
export function putField<F extends Fields>(
  struct: Struct<F>,
  argument: IoctlArgument,
  field: keyof F & string,
  value: number,
): void {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  copyOut(argument, bytes, struct.offsetOf(field));
}
