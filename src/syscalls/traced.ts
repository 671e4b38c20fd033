import { IospanError } from "../errors.js";
import { argumentText, changeText, errorText, leadingTexts, resultText } from "./call-text.js";
import { DescriptorNames } from "./descriptor-names.js";
import { type Call, intercepted } from "./intercepted.js";
import { bytesText } from "./ioctl-text.js";
import type { Syscalls } from "./syscalls.js";

/** How much of sysfs and /proc a trace shows. */
export const sysfsTraces = ["all", "writes", "none"] as const;

/** How {@link traced} traces. */
export interface TraceOptions {
  /** Accesses of files in sysfs and /proc: `all`, as strace shows them; the `writes`, which bind drivers; `none`. `all` where absent. */
  readonly sysfs?: (typeof sysfsTraces)[number] | undefined;
}

/**
 * `inner`, with a line of text per call to `log`, like strace with VFIO's structs decoded:
 * `ioctl(19</dev/vfio/vfio>, VFIO_IOMMU_MAP_DMA, {argsz=32, flags=READ|WRITE, …}) = 0`.
 * What the kernel changed in a struct stands behind an arrow, `{…} => {size=0x1000}`, and what follows the struct inside it:
 * interrupts' eventfds, `data=[9<eventfd>]`, or the capabilities of an answer, `caps=[…]`.
 * What `log` throws is dropped with its line: a call ends as it would untraced.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for an option that does not exist.
 */
export function traced(inner: Syscalls, log: (line: string) => void, options: TraceOptions = {}): Syscalls {
  const names = new DescriptorNames();
  const hidden = hiddenCalls(options);
  const write = (line: () => string): void => {
    const text = line();
    try {
      log(text);
    } catch {
      // The call has happened: who is told otherwise loses its result, such as a descriptor.
    }
  };
  return intercepted(inner, (call, proceed) => {
    if (hidden.has(call.name)) return proceed();
    const started = start(call, names);
    const answered = (result: unknown): void => {
      write(() => `${started.line(result)} = ${resultText(result)}`);
      names.answered(call, result);
    };
    const refused = (error: unknown): void => {
      write(() => `${started.line(undefined)} = ${errorText(error)}`);
      names.refused(call);
    };
    return observed(proceed, answered, refused);
  });
}

const SYSFS_READS = ["read-file", "read-directory", "readlinkat"];

function hiddenCalls({ sysfs = "all" }: TraceOptions): ReadonlySet<string> {
  switch (sysfs) {
    case "all":
      return new Set();
    case "writes":
      return new Set(SYSFS_READS);
    case "none":
      return new Set([...SYSFS_READS, "write-file"]);
    default:
      throw noSuchTrace(sysfs);
  }
}

function noSuchTrace(sysfs: never): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `a trace cannot show "${sysfs}" of sysfs`, {
    hint: `one of ${sysfsTraces.join(", ")}`,
  });
}

/** Performs a call that may be asynchronous, and tells its outcome on the way. */
function observed<T>(proceed: () => T, answered: (result: unknown) => void, refused: (error: unknown) => void): T {
  let result: T;
  try {
    result = proceed();
  } catch (error) {
    refused(error);
    throw error;
  }
  if (result instanceof Promise) result.then(answered, refused);
  else answered(result);
  return result;
}

/** Keeps what a call begins with, which may be something else when it is answered. */
function start(call: Call, names: DescriptorNames): { line(result: unknown): string } {
  const leading = leadingTexts(call, names.text);
  const before = argumentText(call, names.text);
  return {
    line: (result) => {
      const argument =
        call.name === "pread64" ? readText(call, result) : changeText(before, argumentText(call, names.text));
      return `${call.name}(${[...leading, ...(argument === undefined ? [] : [argument])].join(", ")})`;
    },
  };
}

/** What was in the buffer before a read concerns nobody. */
function readText({ argument }: Call, result: unknown): string | undefined {
  if (!(argument instanceof Uint8Array)) return undefined;
  return typeof result === "number" ? bytesText(argument.subarray(0, result)) : `${argument.length} bytes`;
}
