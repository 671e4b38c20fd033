import type { Fd } from "../syscalls/syscalls.js";

/** What a mapping maps: memory of the process, or a part of a device's registers. */
export interface MappingSource {
  /** Where it is in this process; of what is mapped as a file, where it is in what that is a part of. */
  readonly address: bigint;
  /** Bytes. */
  readonly size: number;
  /** Its descriptor, where it is mapped as a file, from the file's first byte on; absent: by its address. */
  readonly file?: Fd | undefined;
  /** Registers whose device is closed, or about to be: nothing more may be mapped of them. */
  readonly ended?: boolean;
  /** Registers that the kernel has taken from IOMMUs they are mapped in; see `Mapping.revoked`. */
  readonly revoked?: boolean;
  /** Does something with registers, which the closing of their device waits for. */
  during?<T>(work: () => Promise<T>): Promise<T>;
  /** A mapping holds it. @throws IospanError `ERR_IOSPAN_RELEASED`. */
  retain(): void;
  unretain(): void;
  /** Gives it back; a second call does nothing. */
  release(): void;
}
