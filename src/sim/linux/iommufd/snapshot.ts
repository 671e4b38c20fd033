import type { DmaProtection, DomainMapping } from "../iommu/iommu.js";
import type { IommufdContext } from "./context.js";
import type { HwPageTable } from "./hw-page-table.js";
import type { Ioas } from "./ioas.js";

/** An iommufd as a test or a picture wants to see it. */
export interface IommufdSnapshot {
  readonly ioases: readonly IoasSnapshot[];
  /** Bound devices. */
  readonly devices: readonly {
    readonly id: number;
    readonly name: string;
    /** Of the page table it is attached to. */
    readonly hwpt: number | undefined;
  }[];
}

/** One I/O address space. */
export interface IoasSnapshot {
  readonly id: number;
  readonly hwpts: readonly HwptSnapshot[];
  /** Its mappings, by IOVA. */
  readonly areas: readonly ({ readonly iova: number; readonly size: number } & DmaProtection)[];
}

/** One page table. */
export interface HwptSnapshot {
  readonly id: number;
  readonly iommu: string;
  /** The kernel made it when a device was attached. */
  readonly automatic: boolean;
  /** What the IOMMU translates. */
  readonly mappings: readonly DomainMapping[];
}

/** Takes the picture. */
export function snapshotOf({ objects }: IommufdContext): IommufdSnapshot {
  const { all } = objects;
  return {
    ioases: all.filter((object) => object.kind === "ioas").map(ioasSnapshot),
    devices: all
      .filter((object) => object.kind === "device")
      .map((device) => {
        const { id, member, group } = device;
        return { id, name: member.name, hwpt: group.isAttached(device) ? group.hwpt?.id : undefined };
      }),
  };
}

function ioasSnapshot({ id, hwpts, areas }: Ioas): IoasSnapshot {
  return {
    id,
    hwpts: hwpts.map(hwptSnapshot),
    areas: Array.from(areas, ({ value: { iova, length, protection } }) => ({ iova, size: length, ...protection })),
  };
}

function hwptSnapshot({ id, domain, automatic }: HwPageTable): HwptSnapshot {
  return { id, iommu: domain.iommu.name, automatic, mappings: domain.mappings() };
}
