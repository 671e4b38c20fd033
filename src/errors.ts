import { errnoName } from "./abi/errno.js";

/** What an {@link IospanError} can carry besides its message. */
export interface IospanErrorFacts {
  /** The system call that was refused, as the kernel's headers name it: `VFIO_IOMMU_MAP_DMA`, `openat`. */
  readonly syscall?: string | undefined;
  /** The kernel's error number, positive. */
  readonly errno?: number | undefined;
  /** The device concerned, by its kernel name. */
  readonly device?: string | undefined;
  /** The IOMMU instance concerned, as in `/sys/class/iommu`. */
  readonly iommu?: string | undefined;
  /** What to do about it: a command where there is one. */
  readonly hint: string;
  readonly cause?: unknown;
}

/**
 * The one error class of the library. `code` is stable and meant for programs, `message` and `hint` for people.
 * Where a system call was refused, `syscall`, `errno` and `errnoName` say which and how, and `cause` is the {@link SyscallError}.
 */
export class IospanError extends Error {
  readonly code: ErrorCode;
  readonly syscall: string | undefined;
  readonly errno: number | undefined;
  readonly device: string | undefined;
  readonly iommu: string | undefined;
  readonly hint: string;

  constructor(code: ErrorCode, message: string, facts: IospanErrorFacts) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.name = "IospanError";
    this.code = code;
    this.syscall = facts.syscall;
    this.errno = facts.errno;
    this.device = facts.device;
    this.iommu = facts.iommu;
    this.hint = facts.hint;
  }

  /** `EBUSY`, `EINVAL`, …; undefined where no system call failed. */
  get errnoName(): string | undefined {
    return this.errno === undefined ? undefined : errnoName(this.errno);
  }
}

/** The error for an answer of the kernel that contradicts its own headers; it is not believed. */
export function malformedAnswer(message: string): IospanError {
  return new IospanError("ERR_IOSPAN_MALFORMED_ANSWER", message, {
    hint: "neither the kernel nor iospan should let this happen: please report it, with `uname -a`",
  });
}

/** Every `code` an {@link IospanError} can have. */
export const errorCodes = [
  "ERR_IOSPAN_INVALID_ARGUMENT",
  "ERR_IOSPAN_MALFORMED_ANSWER",
  "ERR_IOSPAN_UNSUPPORTED_PLATFORM",
  "ERR_IOSPAN_RELEASED",
  "ERR_IOSPAN_BUSY",
  "ERR_IOSPAN_NO_DEVICE",
  "ERR_IOSPAN_NO_IOMMU",
  "ERR_IOSPAN_NO_VFIO",
  "ERR_IOSPAN_NO_IOMMUFD",
  "ERR_IOSPAN_NO_PERMISSION",
  "ERR_IOSPAN_WRONG_DRIVER",
  "ERR_IOSPAN_GROUP_NOT_VIABLE",
  "ERR_IOSPAN_GROUP_BUSY",
  "ERR_IOSPAN_UNSAFE_INTERRUPTS",
  "ERR_IOSPAN_ATTACH_REFUSED",
  "ERR_IOSPAN_VERIFY_FAILED",
  "ERR_IOSPAN_MEMLOCK",
  "ERR_IOSPAN_NO_MEMORY",
  "ERR_IOSPAN_DMA_ENTRY_LIMIT",
  "ERR_IOSPAN_NO_IOVA",
  "ERR_IOSPAN_MAP_OVERLAP",
  "ERR_IOSPAN_MAP_RANGE",
  "ERR_IOSPAN_MAP_ALIGNMENT",
  "ERR_IOSPAN_MAP_MEMORY",
  "ERR_IOSPAN_MAP_REFUSED",
  "ERR_IOSPAN_UNMAP_REFUSED",
  "ERR_IOSPAN_UNMAP_SHORT",
  "ERR_IOSPAN_NOT_SUPPORTED",
  "ERR_IOSPAN_INCONSISTENT",
  "ERR_IOSPAN_CLOSED",
  "ERR_IOSPAN_CLOSE_INCOMPLETE",
  "ERR_IOSPAN_REGION_RANGE",
  "ERR_IOSPAN_REGION_ACCESS",
  "ERR_IOSPAN_RESET_REFUSED",
  "ERR_IOSPAN_VF_TOKEN",
  "ERR_IOSPAN_INTERRUPT_REFUSED",
  "ERR_IOSPAN_BIND_REFUSED",
  "ERR_IOSPAN_DMA_FAULT",
  "ERR_IOSPAN_DEVICE_FAILED",
  "ERR_IOSPAN_DEVICE_REMOVED",
  "ERR_IOSPAN_DEVICE_TREE",
  "ERR_IOSPAN_ACPI_TABLE",
  "ERR_IOSPAN_PICTURE",
  "ERR_IOSPAN_SAVED_MACHINE",
  "ERR_IOSPAN_SYSCALL",
] as const;

/** One of {@link errorCodes}. */
export type ErrorCode = (typeof errorCodes)[number];
