import type { IommuKind } from "./topology.js";

/** What an IOMMU's name in sysfs follows from. */
export interface IommuNaming {
  readonly kind: IommuKind;
  /** Of its first registers. */
  readonly address: bigint | undefined;
  /** The platform device's name; of a driver that is not known here the IOMMU is called the same. */
  readonly device: string;
  readonly compatible?: readonly string[];
}

/** Of MediaTek's, those of the first generation have another driver (drivers/iommu/mtk_iommu_v1.c). */
const MEDIATEK_V1 = "mediatek,mt2701-m4u";

/** What Linux calls an instance in /sys/class/iommu (drivers/iommu, the calls of iommu_device_sysfs_add). */
export function iommuName({ kind, address, device, compatible = [] }: IommuNaming): string {
  const digits = address === undefined ? undefined : `0x${address.toString(16).padStart(16, "0")}`;
  switch (kind) {
    case "arm,smmu-v3":
      return digits === undefined ? device : `smmu3.${digits}`;
    case "arm,smmu":
      return digits === undefined ? device : `smmu.${digits}`;
    case "mediatek":
      return digits === undefined || compatible.includes(MEDIATEK_V1) ? device : `mtk-iommu.${digits}`;
    case "apple":
      return `apple-dart.${device}`;
    case "riscv":
      return `riscv-iommu@${device}`;
    default:
      return device;
  }
}
