import type { Machine, StrategyName } from "iospan";
import type { PortRegisters } from "./port-registers.js";

/**
 * What the scenarios run on: a machine with two DMA engines behind different IOMMUs, all bound to VFIO. Real or
 * simulated makes no difference to a scenario.
 */
export interface Rig {
  readonly machine: Machine;
  readonly strategy: StrategyName;
  /** An `edu` device. */
  readonly first: string;
  /** An `edu` device behind another IOMMU, unless all are behind {@link oneIommu}. */
  readonly second: string;
  /** Any other device, behind the IOMMU of `first`. */
  readonly neighbour: string;
  /** A device that is not bound to VFIO. */
  readonly stranger: string;
  /** Two functions of one PCIe device, which share a group, and are reset together only; not bound to VFIO. */
  readonly pair?: readonly [string, string] | undefined;
  /** `/dev/vfio/vfio` is an iommufd's, which answers VFIO's calls in its own way (drivers/iommu/iommufd/vfio_compat.c). */
  readonly compatContainer?: boolean;
  /** All devices are behind one IOMMU, which the strategy `single-domain` needs. */
  readonly oneIommu?: boolean;
  /** Bytes that mappings for all of the devices are made of, where that is more than the 4096 of one of the IOMMUs. */
  readonly granule?: number;
  /** False where the kernel cannot map the doorbell of `second`: its IOMMU's pages are larger than the processor's. */
  readonly secondHasMsi?: boolean;
  /** `quick`: fewer random operations and a shorter program under fault injection; the same checks. */
  readonly depth: "quick" | "full";
  /** Calls take milliseconds: of the slow scenarios one variant is enough. */
  readonly emulated: boolean;
  /** Lets so much of the devices' time pass; where absent, that is everybody's time. */
  wait?(milliseconds: number): Promise<void>;
  /**
   * Another process takes a device from its driver, by sysfs, which waits for whoever has it open. Undefined: there is none that
   * could.
   */
  unbind?(name: string): Promise<void>;
  /** What the process has open of VFIO, and eventfds: `/dev/vfio/7`, `anon_inode:[vfio-device]`, … */
  openFiles(): readonly string[];
}

/** A rig with a device on the SoC's own bus, bound to vfio-platform. */
export interface PlatformRig extends Rig {
  /** Two frames with the same registers, a page and half a page, and a third; a level-triggered interrupt and one more. Behind the IOMMU of `second`. */
  readonly port: string;
  readonly registers: PortRegisters;
  /** False where its third frame can be written to as well: firmware that is a device tree cannot say that it must not. */
  readonly readOnlyFrame?: boolean;
}

/** One behaviour, told by its name. Throws where the machine behaves otherwise. */
export interface Scenario<R extends Rig = Rig> {
  readonly name: string;
  /** @returns a sentence on what was measured, to be told with the name, or anything else. */
  run(rig: R): Promise<unknown>;
  /** Why it says nothing on this rig; runs where undefined. */
  skip?(rig: R): string | undefined;
}

/** Collects the scenarios of a file. */
export function scenario<R extends Rig = Rig>(
  name: string,
  run: Scenario<R>["run"],
  skip?: Scenario<R>["skip"],
): Scenario<R> {
  return skip === undefined ? { name, run } : { name, run, skip };
}
