import type { Decoded, Fields, Struct } from "../../../abi/codec.js";
import type { Ioctl } from "../../../abi/ioctl.js";
import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import { userBytes } from "../files/user-argument.js";
import { refuse } from "../refusal.js";
import type { IommufdContext } from "./context.js";

/** A call with its struct copied in (the kernel's `struct iommufd_ucmd`). */
export interface Command<F extends Fields> {
  readonly context: IommufdContext;
  readonly request: Decoded<Struct<F>>;
  /** Writes fields back, as far as the caller's struct reaches. */
  respond(fields: Partial<Record<keyof F & string, number | bigint>>): void;
}

/** One call of /dev/iommu. */
export interface IommufdCall {
  readonly call: Ioctl;
  run(context: IommufdContext, argument: IoctlArgument): number;
}

/**
 * A call as the table of drivers/iommu/iommufd/main.c has it. The struct's first field is its size: shorter ones, down to
 * `least`, are filled up with zeros, longer ones must end in zeros.
 * @param least the last field that has to be there
 */
export function command<F extends Fields>(
  call: Ioctl,
  layout: Struct<F>,
  least: keyof F & string,
  execute: (command: Command<F>) => void,
): IommufdCall {
  const run = (context: IommufdContext, argument: IoctlArgument): number => {
    const bytes = userBytes(argument);
    const size = sizeOf(bytes);
    if (size < layout.endOf(least)) refuse("EINVAL");
    const request = copyIn(layout, bytes, size);
    const respond: Command<F>["respond"] = (fields) => {
      const answer = new Uint8Array(layout.size);
      answer.set(bytes.subarray(0, Math.min(size, layout.size)));
      layout.patch(answer, 0, fields as Parameters<typeof layout.patch>[2]);
      bytes.set(answer.subarray(0, Math.min(size, layout.size)));
    };
    execute({ context, request, respond });
    return 0;
  };
  return { call, run };
}

/** get_user of the struct's first field. */
export function sizeOf(bytes: Uint8Array): number {
  if (bytes.length < 4) refuse("EFAULT");
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
}

/** copy_struct_from_user. */
export function copyIn<F extends Fields>(
  layout: Struct<F>,
  bytes: Uint8Array,
  size: number,
  known: number = layout.size,
): Decoded<Struct<F>> {
  if (size > bytes.length) refuse("EFAULT");
  if (bytes.subarray(known, Math.max(size, known)).some((byte) => byte !== 0)) refuse("E2BIG");
  const copy = new Uint8Array(layout.size);
  copy.set(bytes.subarray(0, Math.min(size, known)));
  return layout.decode(copy) as Decoded<Struct<F>>;
}
