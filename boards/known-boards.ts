/** Boards on which every pair of devices is planned, and what each is there for. */
export const KNOWN_BOARDS: Readonly<Record<string, string>> = {
  "exynos/exynos5433-tm2": "a device behind two IOMMUs, of which Linux uses both",
  "nvidia/tegra234-p3768-0000+p3767-0005": "host1x behind one SMMU, what is on it behind two",
  "nvidia/tegra194-p2972-0000": "an SMMU of two banks",
  "nvidia/tegra264-p3971-0089+p3834-0008": "two IOMMUs of one name on different buses",
  "arm/morello-sdp": "two PCIe hosts behind an SMMUv3 each, a display behind a third",
  "arm/juno-r2": "seven IOMMUs; two USB controllers that share an ID",
  "amd/amd-overdrive-rev-b1": "IDs of one and of two cells",
  "hisilicon/hip07-d05": "SMMUs above 4 GiB",
  "rockchip/rk3588-rock-5b-plus": "an SMMUv3 with PCIe hosts beside 16 IOMMUs of others",
  "qcom/hamoa-iot-evk-el2": "PCIe behind an SMMUv3, platform devices behind MMU-500s",
  "qcom/sdm660-xiaomi-lavender": "a device with 20 IDs at one IOMMU",
  "mediatek/mt8195-cherry-dojo-r1": "IOMMUs for video, with a third for PCIe and USB",
  "renesas/r8a77951-salvator-x-panel-aa104xd12": "an IOMMU for every part of the chip",
};
