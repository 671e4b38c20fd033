import { isBefore } from "../machine/kernel-release.js";
import type { IommuKind, TopologyIommu } from "../topology/topology.js";
import { allOf, type Judgement, no, unknown, yes } from "./judgement.js";
import type { Subject } from "./subject.js";
import { isOnVfio, type SurveyIndex } from "./survey-index.js";

/**
 * Whose drivers say that the IOMMU keeps DMA coherent, IOMMU_CAP_CACHE_COHERENCY: `always` and `never` whatever the machine;
 * `walks` where its table walks are coherent (arm-smmu-v3.c, arm_smmu_capable), `walks-or-device` where they are or the device
 * is (arm-smmu.c, arm_smmu_capable; not so in older releases). Drivers with `never` have no `capable` at all: intel/iommu.c, amd/iommu.c, virtio-iommu.c
 * and qcom_iommu.c do, and rockchip-iommu.c, vsi-iommu.c, exynos-iommu.c, mtk_iommu.c, apple-dart.c, ipmmu-vmsa.c, sprd-iommu.c,
 * sun50i-iommu.c, tegra-smmu.c, msm_iommu.c, omap-iommu.c and riscv/iommu.c do not.
 */
const COHERENT: Readonly<Record<IommuKind, "always" | "never" | "walks" | "walks-or-device" | undefined>> = {
  "arm,smmu-v3": "walks",
  "arm,smmu": "walks-or-device",
  intel: "always",
  amd: "always",
  virtio: "always",
  qcom: "always",
  riscv: "never",
  rockchip: "never",
  verisilicon: "never",
  exynos: "never",
  apple: "never",
  mediatek: "never",
  renesas: "never",
  allwinner: "never",
  sprd: "never",
  tegra: "never",
  msm: "never",
  omap: "never",
  other: undefined,
};

/**
 * Whether VFIO takes the IOMMU: it gives user space no way to keep caches coherent, so that it refuses, with EINVAL, to bind
 * what is behind an IOMMU whose driver does not say that it does (vfio_main.c, __vfio_register_dev; for iommufd also
 * iommufd/device.c, iommufd_bind_iommu).
 */
export function judgeCoherency(subject: Subject, index: SurveyIndex): Judgement {
  const { device, iommus, facts } = subject;
  if (isOnVfio(device) && facts?.noiommu !== true) return yes("VFIO has taken it");
  // Older ones did not ask (5.19).
  if (isBefore(index.kernel?.release, 5, 19) === true) return yes("this Linux does not ask whether DMA is coherent");
  const [first, ...others] = iommus.map((iommu) => judgeIommu(iommu, subject, index));
  if (first !== undefined) return allOf(first, ...others);
  return unknown(
    `the kernel does not name the IOMMU of ${device.name}; binding it to VFIO tells whether VFIO takes it`,
  );
}

function judgeIommu(iommu: TopologyIommu, subject: Subject, index: SurveyIndex): Judgement {
  const { name, kind, path, coherent } = iommu;
  const rule = COHERENT[kind];
  // What has been taken behind the same IOMMU proves it for all, unless it was for the device's sake.
  if (rule !== "walks-or-device" && index.servesVfio(path)) return yes(`VFIO has taken others behind ${name}`);
  switch (rule) {
    case "always":
      return yes(`${name} keeps DMA coherent`);
    case "never":
      return no(
        `VFIO refuses what is behind ${name}: Linux's driver for it does not say that DMA is coherent (EINVAL when ${subject.device.name} is bound)`,
      );
    case "walks":
      return walks(coherent, iommu, subject);
    case "walks-or-device":
      if (coherent !== true && isBefore(index.kernel?.release, 6, 6) === true) return olderSmmu(iommu, subject, index);
      return walksOrDevice(either(coherent, deviceCoherent(subject, index)), iommu, subject);
    case undefined:
      return unknown(
        `whether VFIO takes what is behind ${name} depends on its driver; binding ${subject.device.name} tells`,
      );
  }
}

/** Releases that asked first took every SMMUv1 and v2, later ones those with coherent walks; which did what is not told apart. */
function olderSmmu({ name }: TopologyIommu, { device }: Subject, { kernel }: SurveyIndex): Judgement {
  return unknown(
    `whether Linux ${kernel?.release} takes ${name} for coherent depends on its driver; binding ${device.name} to VFIO tells`,
  );
}

function walks(coherent: boolean | undefined, { name }: TopologyIommu, { device }: Subject): Judgement {
  if (coherent === true) return yes(`${name} is coherent`);
  if (coherent === false) {
    return no(
      `VFIO refuses what is behind ${name}: firmware does not say that it is coherent (dma-coherent; EINVAL when ${device.name} is bound)`,
    );
  }
  return unknown(`whether ${name} is coherent, as VFIO demands, firmware tells; or bind ${device.name} to VFIO`);
}

function walksOrDevice(coherent: boolean | undefined, { name }: TopologyIommu, { device }: Subject): Judgement {
  if (coherent === true) return yes(`${name} is coherent, or ${device.name} is`);
  if (coherent === false) {
    return no(
      `VFIO refuses ${device.name}: firmware says neither of it nor of ${name} that it is coherent (dma-coherent; EINVAL when it is bound)`,
    );
  }
  return unknown(
    `whether ${name} or ${device.name} is coherent, as VFIO demands, firmware tells; or bind ${device.name} to VFIO`,
  );
}

/** True if one is, undefined if one may be. */
function either(a: boolean | undefined, b: boolean | undefined): boolean | undefined {
  if (a === true || b === true) return true;
  return a === undefined || b === undefined ? undefined : false;
}

/** Of a PCI function firmware says it of the host (drivers/pci/pci-driver.c, pci_dma_configure). */
function deviceCoherent({ device }: Subject, index: SurveyIndex): boolean | undefined {
  return device.coherent ?? index.host(device)?.coherent;
}
