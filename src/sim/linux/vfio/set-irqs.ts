import { irqSet, VFIO_IRQ_SET } from "../../../abi/vfio-irq.js";
import type { IoctlArgument } from "../../../syscalls/syscalls.js";
import { EventFd } from "../files/eventfd.js";
import { readStruct, userBytes } from "../files/user-argument.js";
import type { Process } from "../process.js";
import { refuse } from "../refusal.js";

const { DATA_NONE, DATA_BOOL, DATA_EVENTFD, ACTION_MASK, ACTION_UNMASK, ACTION_TRIGGER } = VFIO_IRQ_SET;
const DATA_TYPES = DATA_NONE | DATA_BOOL | DATA_EVENTFD;
const ACTIONS = ACTION_MASK | ACTION_UNMASK | ACTION_TRIGGER;

/** What a SET_IRQS does to interrupts. */
export type IrqAction = "mask" | "unmask" | "trigger";

/** The data behind a SET_IRQS, one element for each interrupt. */
export type IrqData =
  | { readonly type: "none" }
  | { readonly type: "bool"; readonly values: readonly boolean[] }
  | { readonly type: "eventfd"; readonly fds: readonly number[] };

/** A SET_IRQS that passed the checks that all drivers share. */
export interface IrqRequest {
  readonly index: number;
  readonly start: number;
  readonly count: number;
  /** Undefined for none or several action bits. */
  readonly action: IrqAction | undefined;
  readonly data: IrqData;
}

/**
 * Decodes VFIO_DEVICE_SET_IRQS (drivers/vfio/vfio_main.c, vfio_set_irqs_validate_and_prepare).
 * @param countOf how many interrupts an index has; undefined for an index that does not exist
 */
export function readIrqRequest(argument: IoctlArgument, countOf: (index: number) => number | undefined): IrqRequest {
  const { argsz, flags, index, start, count } = readStruct(irqSet, argument);
  const available = countOf(index);
  if (argsz < irqSet.size || available === undefined || count >= 0xffff_ffff - start) refuse("EINVAL");
  if ((flags & ~(DATA_TYPES | ACTIONS)) !== 0) refuse("EINVAL");
  if (start >= available || start + count > available) refuse("EINVAL");
  const type = flags & DATA_TYPES;
  if (type !== DATA_NONE && type !== DATA_BOOL && type !== DATA_EVENTFD) refuse("EINVAL");
  const elementSize = type === DATA_NONE ? 0 : type === DATA_BOOL ? 1 : 4;
  if (argsz - irqSet.size < count * elementSize) refuse("EINVAL");
  const bytes = userBytes(argument).subarray(irqSet.size, irqSet.size + count * elementSize);
  if (bytes.length < count * elementSize) refuse("EFAULT");
  return { index, start, count, action: actionOf(flags & ACTIONS), data: dataOf(type, bytes) };
}

function actionOf(bits: number): IrqAction | undefined {
  return bits === ACTION_MASK
    ? "mask"
    : bits === ACTION_UNMASK
      ? "unmask"
      : bits === ACTION_TRIGGER
        ? "trigger"
        : undefined;
}

function dataOf(type: number, bytes: Uint8Array): IrqData {
  if (type === DATA_NONE) return { type: "none" };
  if (type === DATA_BOOL) return { type: "bool", values: Array.from(bytes, (byte) => byte !== 0) };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return { type: "eventfd", fds: Array.from({ length: bytes.length / 4 }, (_, at) => view.getInt32(4 * at, true)) };
}

/** eventfd_ctx_fdget; undefined for -1, which means none. */
export function eventfdOf(process: Process, fd: number): EventFd | undefined {
  if (fd < 0) return undefined;
  const file = process.fds.get(fd);
  return file instanceof EventFd ? file : refuse("EINVAL");
}
