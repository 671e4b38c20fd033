import type { UserExtent } from "../mm/address-space.js";
import type { Revocation } from "./revocation.js";

/** Where the pages behind a mapping for DMA come from, at the start of a page: a part of a process's memory, or of a file. */
export interface PageSource {
  /** Address in the process, or bytes into the file: what a place for it is aligned like. */
  readonly start: number;
  /** Whether it is of a file, whose charge can be moved to another process (IOMMU_IOAS_CHANGE_PROCESS). */
  readonly isFile: boolean;
  /** Its extents that are no RAM are a device's registers that other devices may reach: neither pinned nor charged (dma-buf). */
  readonly offersRegisters: boolean;
  /** Says when the pages are taken back; absent where they never are. */
  readonly revocation?: Revocation;
  /**
   * The physical memory behind the bytes [from, to), one piece after the other, which exists from now on. What is not there is
   * refused.
   */
  touch(from: number, to: number): Iterable<UserExtent>;
  /** Nothing is mapped from it any more. */
  released(): void;
}
