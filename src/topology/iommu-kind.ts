import type { IommuKind } from "./topology.js";

/** What Linux's drivers call themselves in the device tree (their `of_device_id` tables, drivers/iommu). The first match counts. */
const BY_COMPATIBLE: readonly (readonly [RegExp, IommuKind])[] = [
  [/^arm,smmu-v3$/, "arm,smmu-v3"],
  [
    /^(arm,smmu-v[12]|arm,mmu-(400|401|500)|cavium,smmu-v2|nvidia,smmu-500|qcom,smmu-v2|qcom,.*smmu-(500|v2))$/,
    "arm,smmu",
  ],
  [/^rockchip,(rk3568-)?iommu$/, "rockchip"],
  [/^verisilicon,iommu/, "verisilicon"],
  [/^samsung,.*sysmmu$/, "exynos"],
  [/^apple,.*dart$/, "apple"],
  [/^mediatek,.*(m4u|iommu)/, "mediatek"],
  [/^renesas,.*ipmmu/, "renesas"],
  [/^allwinner,.*iommu$/, "allwinner"],
  [/^sprd,iommu/, "sprd"],
  [/^nvidia,tegra\d+-(mc|smmu)$/, "tegra"],
  [/^qcom,msm-iommu-v[12]$/, "qcom"],
  [/^qcom,apq8064-iommu$/, "msm"],
  [/^ti,.*iommu$/, "omap"],
  [/^(virtio,pci-iommu|pci1af4,1057)$/, "virtio"],
  [/^(riscv,iommu|riscv,pci-iommu|pci1efd,edf1)$/, "riscv"],
];

/** What the kernel calls instances in /sys/class/iommu. */
const BY_NAME: readonly (readonly [RegExp, IommuKind])[] = [
  [/^smmu3\./, "arm,smmu-v3"],
  [/^smmu\./, "arm,smmu"],
  [/^dmar\d+$/, "intel"],
  [/^ivhd\d+$/, "amd"],
  [/^mtk-iommu\./, "mediatek"],
  [/^msm-smmu\./, "msm"],
  [/^apple-dart\./, "apple"],
  [/^riscv-iommu@/, "riscv"],
];

/** The kind of an IOMMU with these `compatible` strings. */
export function kindOfCompatible(compatible: readonly string[]): IommuKind {
  return BY_COMPATIBLE.find(([pattern]) => compatible.some((each) => pattern.test(each)))?.[1] ?? "other";
}

/** The kind of an IOMMU that the kernel calls so; undefined where the name does not tell. */
export function kindOfName(name: string): IommuKind | undefined {
  return BY_NAME.find(([pattern]) => pattern.test(name))?.[1];
}

/** Which of several IOMMUs that firmware lists for one device Linux programs. */
export type Choice = "first" | "last" | "all" | "none";

/**
 * What each driver makes of being told several (its `of_xlate` and `probe_device` in drivers/iommu). Every one is told all
 * IDs; drivers that take the IOMMU of the `iommu_fwspec` get the first (iommu.c, iommu_fwspec_init), those that set it
 * anew on each call the last.
 */
const CHOICES: Readonly<Record<IommuKind, Choice | undefined>> = {
  "arm,smmu-v3": "first",
  "arm,smmu": "first",
  virtio: "first",
  riscv: "first",
  mediatek: "first",
  renesas: "first",
  sprd: "first",
  rockchip: "last",
  verisilicon: "first",
  allwinner: "last",
  tegra: "last",
  exynos: "all",
  apple: "all",
  omap: "all",
  msm: "all",
  // qcom_iommu_of_xlate refuses a second one with EINVAL.
  qcom: "none",
  intel: undefined,
  amd: undefined,
  other: undefined,
};

/** Undefined where it is not known. */
export function choiceOf(kind: IommuKind): Choice | undefined {
  return CHOICES[kind];
}

/** What people call it. */
const WORDS: Readonly<Partial<Record<IommuKind, string>>> = {
  "arm,smmu-v3": "Arm SMMUv3",
  "arm,smmu": "Arm SMMU (v1, v2)",
  intel: "Intel VT-d",
  amd: "AMD-Vi",
  virtio: "virtio-iommu",
  riscv: "RISC-V IOMMU",
  exynos: "Exynos SysMMU",
  apple: "Apple DART",
  mediatek: "MediaTek M4U",
  renesas: "Renesas IPMMU",
  tegra: "Tegra SMMU",
  rockchip: "Rockchip IOMMU",
  verisilicon: "VeriSilicon IOMMU",
  allwinner: "Allwinner IOMMU",
  qcom: "Qualcomm IOMMU",
  msm: "Qualcomm MSM IOMMU",
  omap: "OMAP IOMMU",
  sprd: "Unisoc IOMMU",
};

/** The kind in words: `Arm SMMUv3`. @internal */
export function kindText(kind: IommuKind): string {
  return WORDS[kind] ?? "IOMMU";
}
