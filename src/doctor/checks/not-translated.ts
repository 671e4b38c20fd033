import { enableIommuHint } from "../../machine/iommus.js";
import { isBefore } from "../../machine/kernel-release.js";
import type { TopologyDevice } from "../../topology/topology.js";
import type { Check, Diagnosis, Patient } from "../check.js";
import { failed, noKernel, passed, warned } from "../diagnoses.js";
import { factsOf } from "../examined-device.js";
import { lastLines, literally } from "../log-lines.js";

/** Whether each device is in a group, where others are. */
export const notTranslated: Check = {
  id: "IOSPAN-NOT-TRANSLATED",
  title: "an IOMMU in front of each device",
  run: (patient) => {
    const { survey, devices } = patient;
    if (survey.kernel === undefined) return devices.length === 0 ? [] : [noKernel];
    const { groups, iommus } = survey.topology;
    // Without any the machine has no IOMMU, which is another check's.
    if (groups.length === 0 && iommus.every(({ paths }) => paths.sysfs === undefined)) return [];
    return devices.filter((device) => factsOf(survey, device)?.noiommu !== true).map((device) => look(patient, device));
  },
};

function look({ survey }: Patient, device: TopologyDevice): Diagnosis {
  const { name, group, driver } = device;
  if (typeof group === "number") return passed(`${name} is in group ${group}`, { device: name });
  const log = survey.kernel?.log;
  const aliases = lastLines(
    log,
    new RegExp(`${literally(name)}.*Aliasing StreamID|Aliasing StreamID.*${literally(name)}`),
  );
  const firmware = firmwareSays(survey.topology, device);
  const evidence = [`/sys/bus/${device.bus}/devices/${name}/iommu_group is not there`, ...firmware, ...aliases];
  // Devices of a device tree, and those of ACPI on Arm, joined at their first probe until 6.13 (drivers/of/device.c, of_dma_configure_id).
  if (driver === null && isBefore(survey.kernel?.release, 6, 15) !== false && aliases.length === 0)
    return early(device, evidence);
  const why = firmware.length > 0 ? "; firmware says otherwise" : "";
  return failed(`${name} is in no IOMMU group: nothing translates its DMA${why}`, {
    evidence,
    fix: aliases.length > 0 ? [ALIASED] : firmware.length > 0 ? [AGAINST_FIRMWARE] : [enableIommuHint],
    device: name,
  });
}

const ALIASED =
  "the SMMUv3's driver cannot tell it from its neighbour (one StreamID, as behind a PCIe-to-PCI bridge): put it elsewhere";
const AGAINST_FIRMWARE =
  "see why the kernel left it out: dmesg | grep -i -e iommu -e smmu -e dmar; the IOMMU's driver may have come too late or refused it";

function early({ name, bus }: TopologyDevice, evidence: readonly string[]): Diagnosis {
  return warned(`${name} is in no IOMMU group yet: before Linux 6.15 a device joins when its first driver probes it`, {
    evidence,
    fix: [`bind it, then look again: sudo iospan bind ${name}`, `ls -l /sys/bus/${bus}/devices/${name}/iommu_group`],
    device: name,
  });
}

function firmwareSays({ iommus }: Patient["survey"]["topology"], { links }: TopologyDevice): readonly string[] {
  return links
    .filter(({ via }) => via !== "sysfs" && via !== "iommu-map")
    .flatMap(({ iommu, via }) => {
      const found = iommus.find(({ path }) => path === iommu);
      const off = found?.enabled === false ? `, which is switched off (${found.disabledBecause})` : "";
      return found === undefined ? [] : [`${via} puts it behind ${found.name}${off}`];
    });
}
