/** Which of several IOMMUs a driver's `of_xlate` and `probe_device` settle on; `one`: it refuses a second. */
export type Settles = "first" | "last" | "all" | "one";

/** `no`: nothing, or it has no `capable`. `if-iommu`: where the IOMMU is coherent; `if-any`: where it or the device is. */
export type Keeps = "no" | "yes" | "if-iommu" | "if-any";

/** A driver of drivers/iommu. */
export interface Driver {
  readonly file: string;
  readonly settles: Settles;
  /** What its `capable` says of IOMMU_CAP_CACHE_COHERENCY, without which VFIO takes no device; see `Keeps`. */
  readonly coherent: Keeps;
  /** Its `of_device_id` table, as it stands there. */
  readonly compatible: readonly string[];
}

/**
 * All that can be behind a device tree's `iommus` on arm64, of Linux 7.3.
 *
 * `first`: the driver takes `fwspec->iommu_fwnode`, which the first entry sets, or keeps what its first call found.
 * `last`: each call of `of_xlate` overwrites what the one before has set. `all`: each call adds to a list.
 */
export const DRIVERS: readonly Driver[] = [
  { file: "arm/arm-smmu-v3/arm-smmu-v3.c", settles: "first", coherent: "if-iommu", compatible: ["arm,smmu-v3"] },
  {
    file: "arm/arm-smmu/arm-smmu.c",
    settles: "first",
    coherent: "if-any",
    compatible: words(
      "arm,smmu-v1 arm,smmu-v2 arm,mmu-400 arm,mmu-401 arm,mmu-500 cavium,smmu-v2 nvidia,smmu-500 qcom,smmu-v2",
    ),
  },
  {
    file: "arm/arm-smmu/qcom_iommu.c",
    settles: "one",
    coherent: "yes",
    compatible: words("qcom,msm-iommu-v1 qcom,msm-iommu-v2"),
  },
  {
    file: "rockchip-iommu.c",
    settles: "last",
    coherent: "no",
    compatible: words("rockchip,iommu rockchip,rk3568-iommu"),
  },
  { file: "vsi-iommu.c", settles: "first", coherent: "no", compatible: ["verisilicon,iommu-1.2"] },
  { file: "exynos-iommu.c", settles: "all", coherent: "no", compatible: ["samsung,exynos-sysmmu"] },
  {
    file: "apple-dart.c",
    settles: "all",
    coherent: "no",
    compatible: words("apple,t8103-dart apple,t8103-usb4-dart apple,t8110-dart apple,t6000-dart"),
  },
  {
    file: "mtk_iommu.c",
    settles: "first",
    coherent: "no",
    compatible: words(
      `mediatek,mt2712-m4u mediatek,mt6779-m4u mediatek,mt6795-m4u mediatek,mt6893-iommu-mm mediatek,mt8167-m4u
       mediatek,mt8173-m4u mediatek,mt8183-m4u mediatek,mt8186-iommu-mm mediatek,mt8188-iommu-infra
       mediatek,mt8188-iommu-vdo mediatek,mt8188-iommu-vpp mediatek,mt8189-iommu-apu mediatek,mt8189-iommu-infra
       mediatek,mt8189-iommu-mm mediatek,mt8192-m4u mediatek,mt8195-iommu-infra mediatek,mt8195-iommu-vdo
       mediatek,mt8195-iommu-vpp mediatek,mt8365-m4u`,
    ),
  },
  {
    file: "ipmmu-vmsa.c",
    settles: "first",
    coherent: "no",
    compatible: words(
      `renesas,ipmmu-vmsa renesas,ipmmu-r8a774a1 renesas,ipmmu-r8a774b1 renesas,ipmmu-r8a774c0 renesas,ipmmu-r8a774e1
       renesas,ipmmu-r8a7795 renesas,ipmmu-r8a7796 renesas,ipmmu-r8a77961 renesas,ipmmu-r8a77965 renesas,ipmmu-r8a77970
       renesas,ipmmu-r8a77980 renesas,ipmmu-r8a77990 renesas,ipmmu-r8a77995 renesas,ipmmu-r8a779a0
       renesas,rcar-gen4-ipmmu-vmsa`,
    ),
  },
  {
    file: "sun50i-iommu.c",
    settles: "last",
    coherent: "no",
    compatible: words("allwinner,sun50i-h6-iommu allwinner,sun50i-h616-iommu"),
  },
  {
    file: "tegra-smmu.c",
    settles: "last",
    coherent: "no",
    compatible: words("nvidia,tegra124-mc nvidia,tegra132-mc nvidia,tegra210-mc"),
  },
  { file: "sprd-iommu.c", settles: "first", coherent: "no", compatible: ["sprd,iommu-v1"] },
];

/** The driver of a node with these `compatible` strings. */
export function driverOf(compatible: readonly string[]): Driver | undefined {
  return DRIVERS.find((driver) => driver.compatible.some((each) => compatible.includes(each)));
}

function words(text: string): readonly string[] {
  return text.trim().split(/\s+/);
}
