import type { Iova } from "../../iova.js";

/** One interface of the hardware, made to do DMA. */
export interface DmaPath {
  /** The kernel's name of the device. */
  readonly interface: string;
  /** Copies memory, reading and writing through this interface only. @returns nanoseconds of the chip's time */
  copy(from: Iova, to: Iova, length: number): Promise<number>;
}

/** What does DMA, over some interfaces of an address space. */
export interface Engine {
  readonly paths: readonly DmaPath[];
  /** Bytes of a copy that is long enough to say how fast it is. */
  readonly load: number;
  /** Copies memory over all paths at once, to each its share. @returns nanoseconds of the chip's time */
  copyOverAll(from: Iova, to: Iova, length: number): Promise<number>;
  /** No DMA of it goes on when this returns. */
  close(): Promise<void>;
}

/** The chip's own time. */
export interface ChipTime {
  readonly nanoseconds: number;
}
