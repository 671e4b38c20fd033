import { errnoName } from "../abi/errno.js";
import type { IoctlArgumentKind } from "../abi/ioctl.js";
import { hex } from "../iova.js";
import { type Call, intercepted } from "./intercepted.js";
import { type Fd, type IoctlArgument, SyscallError, type Syscalls } from "./syscalls.js";

/**
 * `inner`, with a line of text per call to `log`, like strace with VFIO's structs decoded:
 * `ioctl(19</dev/vfio/vfio>, VFIO_IOMMU_MAP_DMA, {argsz=32, flags=READ|WRITE, …}) = 0`.
 * A struct that the kernel changed is shown before and after, `{…} => {…}`.
 */
export function traced(inner: Syscalls, log: (line: string) => void): Syscalls {
  const names = new Map<Fd, string>();
  return intercepted(inner, (call, proceed) => {
    const before = describe(call, names);
    const argument = argumentText(call);
    const answered = (result: unknown): void => {
      const after = argumentText(call);
      log(`${before}${closing(before, argument, after)} = ${resultText(result)}`);
      follow(call, result, names);
    };
    const refused = (error: unknown): void => {
      log(`${before}${closing(before, argument, argument)} = ${errorText(error)}`);
      forgetClosed(call, names);
    };
    return observed(proceed, answered, refused);
  });
}

/** Performs a call that may be asynchronous, and tells its outcome on the way. */
function observed<T>(proceed: () => T, answered: (result: unknown) => void, refused: (error: unknown) => void): T {
  try {
    const result = proceed();
    if (result instanceof Promise) result.then(answered, refused);
    else answered(result);
    return result;
  } catch (error) {
    refused(error);
    throw error;
  }
}

function describe(call: Call, names: ReadonlyMap<Fd, string>): string {
  const parts: string[] = [];
  if (call.fd !== undefined) parts.push(fdText(call.fd, names));
  if (call.path !== undefined) parts.push(JSON.stringify(call.path));
  if (call.ioctl !== undefined) parts.push(call.ioctl.name);
  if (call.address !== undefined) parts.push(hex(call.address));
  if (call.length !== undefined) parts.push(String(call.length));
  if (call.offset !== undefined) parts.push(hex(call.offset));
  return `${call.name}(${parts.join(", ")}`;
}

function fdText(fd: Fd, names: ReadonlyMap<Fd, string>): string {
  const name = names.get(fd);
  return name === undefined ? String(fd) : `${fd}<${name}>`;
}

function closing(call: string, before: string, after: string): string {
  if (before === "") return ")";
  const comma = call.endsWith("(") ? "" : ", ";
  return before === after ? `${comma}${before})` : `${comma}${before} => ${after})`;
}

function argumentText({ argument, ioctl, length }: Call): string {
  if (argument === undefined) return "";
  if (typeof argument === "string") return JSON.stringify(argument);
  if (typeof argument === "number" || argument instanceof Uint8Array) {
    return ioctl === undefined ? bytesText(argument) : ioctlText(ioctl.argument, argument);
  }
  const fields = Object.entries({ ...argument, length: argument.length ?? length });
  return fields.map(([name, value]) => `${name}=${typeof value === "bigint" ? hex(value) : value}`).join(", ");
}

function ioctlText(kind: IoctlArgumentKind, argument: IoctlArgument): string {
  if (typeof argument === "number") return kind === "none" ? "" : String(argument);
  if (kind === "string") return JSON.stringify(new TextDecoder().decode(argument).replace(/\0.*$/s, ""));
  if (kind === "value" || kind === "none" || argument.length < kind.size) return bytesText(argument);
  return kind.print(kind.decode(argument));
}

const SHOWN_BYTES = 16;

function bytesText(argument: IoctlArgument): string {
  if (typeof argument === "number") return String(argument);
  const shown = Array.from(argument.subarray(0, SHOWN_BYTES), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return `[${shown}${argument.length > SHOWN_BYTES ? ` … ${argument.length} bytes` : ""}]`;
}

function resultText(result: unknown): string {
  if (typeof result === "bigint") return hex(result);
  if (typeof result === "string") return JSON.stringify(result.trimEnd());
  if (Array.isArray(result)) return `${result.length} names`;
  return typeof result === "number" ? String(result) : "0";
}

function errorText(error: unknown): string {
  return error instanceof SyscallError ? `-1 ${errnoName(error.errno)}` : String(error);
}

/** Remembers what a descriptor stands for, to show it with later calls. */
function follow(call: Call, result: unknown, names: Map<Fd, string>): void {
  forgetClosed(call, names);
  if (typeof result !== "number") return;
  if (call.name === "openat" && call.path !== undefined) names.set(result as Fd, call.path);
  if (call.name === "eventfd2") names.set(result as Fd, "eventfd");
  if (call.ioctl?.name === "VFIO_GROUP_GET_DEVICE_FD") names.set(result as Fd, argumentText(call).replaceAll('"', ""));
}

/** Whatever close answers, the descriptor is gone. */
function forgetClosed(call: Call, names: Map<Fd, string>): void {
  if (call.name === "close" && call.fd !== undefined) names.delete(call.fd);
}
