import type { DmaBufAnswer } from "../../iommufd/dma-buf-question.js";
import type { FileMapping } from "../../iommufd/io-mapping.js";
import type { Iova } from "../../iova.js";
import type { DeviceState } from "../../machine/machine.js";
import type { Fd } from "../../syscalls/syscalls.js";
import type { ContainerInfo, ContainerKind, DmaMapping } from "../../vfio/container.js";
import type { Device } from "../../vfio/device.js";

/**
 * The mechanisms by which several IOMMUs come to hold the same mappings, beginning with the one that every kernel has. `iommufd` and
 * `single-domain` take `/dev/iommu` and VFIO's character devices, from Linux 6.6 on. `auto` chooses among all but `single-domain`,
 * which works behind one IOMMU only, and is used when asked for by name.
 */
export const strategyNames = ["mirrored", "shared-container", "iommufd", "single-domain"] as const;
/** One of {@link strategyNames}. */
export type StrategyName = (typeof strategyNames)[number];

/** What the kernel says of a target: where mappings may lie, of which sizes, and how many more there may be. */
export type TargetInfo = ContainerInfo;

/**
 * One thing to map into: it reaches all devices behind it, or none.
 * Guarantees: a call that throws has changed nothing, and when an unmap returns no IOMMU behind it translates the range.
 */
export interface MapTarget {
  /** The IOMMUs behind it, for messages. */
  readonly iommus: string;
  /** The devices behind it, for messages. */
  readonly devices: string;
  info(): TargetInfo;
  map(mapping: DmaMapping): void;
  mapAsync(mapping: DmaMapping): Promise<void>;
  /** Who answers a container's calls; absent where it is no container. */
  readonly kind?: ContainerKind;
  /** Maps a part of a file, such as a dma-buf of registers; absent where memory is mapped by its address only. */
  mapFile?(mapping: FileMapping): void;
  mapFileAsync?(mapping: FileMapping): Promise<void>;
  /** Whether {@link mapFile} takes a dma-buf of this many bytes, asked without mapping it for any device. */
  takesDmaBuf?(fd: Fd, size: number): DmaBufAnswer;
  /** @returns bytes that were mapped there until now. */
  unmap(iova: Iova, size: number): number;
  unmapAsync(iova: Iova, size: number): Promise<number>;
  /** Whether any byte of the range is mapped, as the kernel sees it. */
  isMapped(iova: Iova, size: bigint): boolean;
  /** Whether every byte of the range is mapped; absent where the kernel can only be asked about any. */
  isWhole?(iova: Iova, size: bigint): boolean;
}

/** A device's place in a target. */
export interface Attachment {
  readonly target: MapTarget;
  /** The target was made for this device, so that nothing is mapped in it yet; else the kernel has replayed what was. */
  readonly fresh: boolean;
  /**
   * The device comes to the target when it is opened, and is refused then if it cannot have what is mapped: before that the
   * target does not tell what the device's IOMMU allows. Absent: it is there already.
   */
  readonly deferred?: boolean;
  /** Opens the device, whose DMA the target translates from then on. */
  openDevice(): Promise<Device>;
  /**
   * Gives the place up; the device must have been released. A target without devices goes, with all its mappings.
   * @returns what went wrong; the place is given up all the same.
   */
  detach(): readonly unknown[];
}

/** How the devices of a space are brought to the same mappings. */
export interface Strategy {
  readonly name: StrategyName;
  /** Whether a mapping can reach some interfaces only, or differ in access between them. */
  readonly perInterface: boolean;
  /** In the order they are mapped into; unmapping goes the same way. */
  readonly targets: readonly MapTarget[];
  /**
   * @param vfToken a UUID, for functions of SR-IOV that ask for one.
   * @throws IospanError when the device cannot be brought in; nothing has changed then.
   */
  attach(device: DeviceState, vfToken?: string): Promise<Attachment>;
}
