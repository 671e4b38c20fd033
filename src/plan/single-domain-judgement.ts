import { isBefore } from "../machine/kernel-release.js";
import type { IommuKind, TopologyIommu } from "../topology/topology.js";
import { judgeBinding } from "./iommufd-judgement.js";
import { allOf, type Judgement, no, unknown, yes } from "./judgement.js";
import { pageProviso } from "./limits.js";
import { inWords, type Situation } from "./situation.js";

/**
 * Whether a domain of one IOMMU takes devices behind another one of its kind. `no`: the driver's attach_dev refuses with EINVAL
 * (arm-smmu-v3.c and arm-smmu.c, arm_smmu_attach_dev; virtio-iommu.c, viommu_attach_dev; qcom_iommu.c, qcom_iommu_attach_dev).
 * `alike`: where the two units can walk the same tables (intel/iommu.c, paging_domain_compatible). `yes`: tables are of one
 * format for all (amd/iommu.c, amd_iommu_attach_device). The others' VFIO does not take, or nobody knows.
 */
const ACROSS: Readonly<Partial<Record<IommuKind, "no" | "alike" | "yes">>> = {
  "arm,smmu-v3": "no",
  "arm,smmu": "no",
  virtio: "no",
  qcom: "no",
  intel: "alike",
  amd: "yes",
};

/**
 * Whether one page table serves all devices. That those behind different IOMMUs are refused does not depend on the kernel, so it
 * is said first.
 */
export function judgeSingleDomain(situation: Situation): Judgement {
  const across = judgeAcross(situation);
  if (across.verdict === "no") return across;
  return allOf(across, judgeAllocation(situation), judgeBinding(situation));
}

function judgeAcross(situation: Situation): Judgement {
  const { keys, iommus } = situation;
  if (keys.length < 2) return yes(`one page table for all, which are behind ${keys[0]}${pageProviso(situation)}`);
  const kinds = [...new Set(iommus.map(({ kind }) => kind))];
  const [kind] = kinds;
  if (kinds.length > 1) {
    // iommu.c, __iommu_attach_group: a domain belongs to one driver.
    return no(`${inWords(keys)} have different drivers, and a domain belongs to one (EINVAL)`);
  }
  switch (kind === undefined ? undefined : ACROSS[kind]) {
    case "no":
      return no(`a domain of ${keys[0]} takes no device behind ${inWords(keys.slice(1))} (EINVAL)`);
    case "alike":
      return unknown(
        `a domain of ${keys[0]} serves ${inWords(keys.slice(1))} where the units are alike; opening tells`,
      );
    case "yes":
      return yes(`one page table serves ${inWords(keys)}${pageProviso(situation)}`);
    case undefined:
      return unknown(`whether a domain of ${keys[0]} serves ${inWords(keys.slice(1))}, opening tells`);
  }
}

/**
 * A domain that is made before a device is attached has an aperture with SMMUv3s from Linux 6.11 on, and with SMMUv2s not at
 * all (arm-smmu.c, arm_smmu_domain_alloc_paging; qcom_iommu.c likewise): an iommufd rules every address out then
 * (iommufd/io_pagetable.c, iopt_table_add_domain).
 */
function judgeAllocation({ iommus, index }: Situation): Judgement | undefined {
  const late = iommus.find(({ kind }) => kind === "arm,smmu" || kind === "qcom");
  if (late !== undefined) return no(`a page table of ${late.name} that is made on its own has no address to map at`);
  const smmu = iommus.find(({ kind }) => kind === "arm,smmu-v3");
  return smmu === undefined ? undefined : judgeSmmu(smmu, index.kernel?.release);
}

function judgeSmmu({ name }: TopologyIommu, release: string | undefined): Judgement | undefined {
  if (isBefore(release, 6, 11) !== true) return undefined;
  return no(`in Linux ${release} a page table of ${name} that is made on its own has no address to map at (6.11)`);
}
