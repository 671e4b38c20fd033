import { IOMMU_IOAS_MAP_FLAG } from "../abi/iommufd-ioas.js";
import type { Iova } from "../iova.js";
import type { Fd } from "../syscalls/syscalls.js";
import type { Access, DmaMapping } from "../vfio/container.js";
import type { Ioas } from "./ioas.js";

/** Memory of the process to map where the kernel likes. */
export type UnplacedMapping = Omit<DmaMapping, "iova">;

/** A part of a file to map: of a memfd, with huge pages or without, or of a dma-buf of a VFIO device's registers. */
export interface FileMapping {
  /** The file. The mapping keeps it: the descriptor may be closed once it is mapped. */
  readonly fd: Fd;
  /**
   * Where in the file the part begins, in bytes; a multiple of what {@link Ioas.rules} gives as alignment, as `iova` and `size`
   * are (io_pagetable.c, iopt_insert_area).
   */
  readonly offset: number;
  readonly iova: Iova;
  /** Bytes. */
  readonly size: number;
  readonly access: Access;
}

/** What another address space has mapped, to map again. */
export interface CopiedMapping {
  /** Where it is mapped there. */
  readonly from: Iova;
  /** Where it shall be mapped here. */
  readonly iova: Iova;
  /** Bytes. */
  readonly size: number;
  /** No more than it was mapped with there. */
  readonly access: Access;
}

const { FIXED_IOVA, READABLE, WRITEABLE } = IOMMU_IOAS_MAP_FLAG;

/** The flags for an access where the kernel chooses the IOVA. */
export const ANYWHERE: Readonly<Record<Access, number>> = {
  read: READABLE,
  write: WRITEABLE,
  "read-write": READABLE | WRITEABLE,
};

/** The flags for an access at an IOVA of the caller's. */
export const FIXED: Readonly<Record<Access, number>> = {
  read: FIXED_IOVA | ANYWHERE.read,
  write: FIXED_IOVA | ANYWHERE.write,
  "read-write": FIXED_IOVA | ANYWHERE["read-write"],
};
