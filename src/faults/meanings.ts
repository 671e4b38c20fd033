import type { FaultCause, IommuFault } from "./fault.js";

/** A fault in words. */
export interface Meaning {
  /** What the IOMMU says by it, for a device in user space's hands. */
  readonly meaning: string;
  /** What to do about it. */
  readonly advice: string;
}

const REPORT =
  "A driver in user space cannot cause this: tell whoever maintains the kernel or the firmware, with the log.";
const CONTEXT = "Look further up in the log for what the IOMMU's driver said when the device was attached.";

/** For what has no words of its own in {@link BY_TYPE}. */
const BY_CAUSE: Readonly<Record<FaultCause, Meaning>> = {
  "not-mapped": {
    meaning:
      "Nothing is mapped at that address on this IOMMU: it never was, is no longer, or was mapped for another IOMMU only.",
    advice:
      "Map the memory before the device is told its address, unmap it only when the device has finished, and give the device " +
      "the IOVA, not a pointer. A device with several IOMMUs needs the mapping in each of them.",
  },
  "not-permitted": {
    meaning: "The address is mapped, but not for this access.",
    advice: "Map the memory with the access that the device needs.",
  },
  "address-size": {
    meaning:
      "The address is beyond what the IOMMU translates, or what came out of the translation is beyond its reach.",
    advice:
      "Keep to the ranges that the kernel reports (space.iovaRanges), and check the address that the device was told.",
  },
  "unknown-stream": {
    meaning: "The IOMMU has no configuration for whoever sent this: no driver in Linux set one up.",
    advice: "Check that firmware describes the device, and that it sends the ID that firmware says.",
  },
  configuration: {
    meaning: "The IOMMU's configuration for this device is invalid.",
    advice: `${CONTEXT} ${REPORT}`,
  },
  blocked: {
    meaning: "The IOMMU is told to refuse accesses of this kind by this device.",
    advice:
      "Stop the device before its VFIO descriptors are closed, and do not let it send what was not set up for it.",
  },
  "table-fetch": {
    meaning:
      "The IOMMU could not read a table of its own: it is at no valid address, or the memory answered with an error.",
    advice: REPORT,
  },
  interrupt: {
    meaning:
      "An interrupt message was refused, so the device's interrupt is lost; or it wrote data into the window for such messages.",
    advice:
      "Let the kernel set up MSI and MSI-X (device.interrupt()), and leave the device's own tables for them alone after a reset.",
  },
  hardware: {
    meaning: "The IOMMU or the way to it failed; the device's mappings are not at fault.",
    advice: REPORT,
  },
  unknown: { meaning: "The log does not say why the access was refused.", advice: "Look at the lines around it." },
};

const PAGE_REQUEST: Meaning = {
  meaning: "The device asks for pages to be made present (PRI), which nobody does for a device in user space.",
  advice: "Map all memory before the device uses it.",
};

/** By {@link IommuFault.type}. */
const BY_TYPE: Readonly<Record<string, Meaning>> = {
  F_UUT: {
    meaning: "The SMMU does not support transactions of this kind, whatever their address.",
    advice: "Check the size and the attributes of the transfers that the device was told to do.",
  },
  C_BAD_STREAMID: {
    meaning:
      "The StreamID has no entry in the SMMU's stream table: firmware does not describe it, so that Linux made room for none.",
    advice:
      "Compare it with `iommus` of the device, or `iommu-map` of its PCIe host bridge, in the device tree (the IORT under ACPI).",
  },
  C_BAD_STE: {
    meaning: "The stream table's entry for this StreamID is invalid: nothing has been set up for it.",
    advice: `Check that the device sends the StreamID that firmware says. ${CONTEXT}`,
  },
  F_BAD_ATS_TREQ: {
    meaning: "The device asked for translations in advance (ATS), which is not enabled for it.",
    advice: "Switch ATS off in the device; VFIO leaves it to the kernel.",
  },
  F_STREAM_DISABLED: {
    meaning: "The device sent an access without a PASID, or with PASID 0, where only others are allowed.",
    advice: "Attach the device itself to an address space, not only its PASIDs, or have it send the PASID.",
  },
  F_TRANSL_FORBIDDEN: {
    meaning: "The device sent an address that it says is translated already (ATS), which is not allowed here.",
    advice: "Switch ATS off in the device, and reset it, so that it forgets translations.",
  },
  C_BAD_SUBSTREAMID: {
    meaning: "The device sent a PASID that nothing is attached to.",
    advice: "Have it send none, or attach an address space to that PASID (VFIO_DEVICE_ATTACH_IOMMUFD_PT).",
  },
  C_BAD_CD: {
    meaning: "The context descriptor for this stream and PASID is invalid: nothing is attached there.",
    advice: `Attach the device before it does DMA. ${CONTEXT}`,
  },
  F_ADDR_SIZE: {
    meaning:
      "An address is larger than this stage of the SMMU takes or puts out; where translation is bypassed, it is the device's own.",
    advice:
      "Check the address that the device was told, and that every translated device is attached to an address space.",
  },
  F_ACCESS: {
    meaning: "The page's access flag is clear. Linux sets it in all that it maps, so the tables are not what it wrote.",
    advice: REPORT,
  },
  F_TLB_CONFLICT: {
    meaning: "The SMMU's TLB has two translations for one address: an invalidation was missed.",
    advice: REPORT,
  },
  F_CFG_CONFLICT: {
    meaning: "The SMMU's caches have two configurations for one stream: an invalidation was missed.",
    advice: REPORT,
  },
  E_PAGE_REQUEST: PAGE_REQUEST,
  PRI: PAGE_REQUEST,
  USF: {
    meaning: "No entry of the SMMU matches the StreamID, and unknown streams are blocked.",
    advice:
      "Describe the StreamID with `iommus` or `iommu-map` in the device tree. arm-smmu.disable_bypass=0 would let it reach all memory.",
  },
  SMCF: {
    meaning: "Several entries of the SMMU match the StreamID.",
    advice: "Check the StreamIDs and masks in the device tree: two devices overlap.",
  },
  "0x01": noEntry("root"),
  "0x02": noEntry("context"),
  "0x39": noEntry("root"),
  "0x41": noEntry("context"),
  "0x05": absentOr("written", "write"),
  "0x06": absentOr("read", "read"),
  "0x0d": {
    meaning: "The device asked for translations in advance (ATS), or is blocked by its context entry.",
    advice: "Stop the device before its VFIO descriptors are closed.",
  },
  INVALID_DEVICE_REQUEST: {
    meaning:
      "The device sent what its entry in the device table does not allow, such as a translated address or an interrupt.",
    advice: "Do not let it write into the window for interrupts (0xfee00000 to 0xfeefffff), and switch ATS off.",
  },
  RMP_PAGE_FAULT: {
    meaning: "The memory belongs to a confidential guest (SEV-SNP), and devices may not touch it.",
    advice: "Use shared memory for DMA.",
  },
  IOTLB_INV_TIMEOUT: {
    meaning: "The device did not answer when it was told to forget translations (ATS): it hangs, or is gone.",
    advice: "Reset the device.",
  },
};

/** @internal */
export function meaningOf(fault: IommuFault): Meaning {
  if (fault.cause === "not-permitted" && BY_TYPE[fault.type] === undefined) return notPermitted(fault);
  const byType = fault.format === "dmar" && fault.cause === "interrupt" ? undefined : BY_TYPE[fault.type];
  return byType ?? BY_TYPE[fault.type.split(" ")[0] ?? ""] ?? BY_CAUSE[fault.cause];
}

function notPermitted({ access, instruction }: IommuFault): Meaning {
  if (instruction === true) {
    return {
      meaning: "The address is mapped, but not for instructions to be fetched from it.",
      advice: "Check the attributes of the device's accesses: DMA is data.",
    };
  }
  if (access === undefined) return BY_CAUSE["not-permitted"];
  const [done, other] = access === "write" ? ["written", "read"] : ["read", "written"];
  return {
    meaning: `The address is mapped, but may not be ${done} by the device: it is mapped to be ${other} only.`,
    advice:
      `Map the memory with access "${access}" or "read-write" (VFIO_DMA_MAP_FLAG_${access.toUpperCase()}), or check ` +
      "which way the transfer was to go.",
  };
}

function noEntry(table: string): Meaning {
  return {
    meaning: `The ${table} table has no entry for this device: it is attached to no address space.`,
    advice: "Attach the device before it does DMA, and stop it before its VFIO descriptors are closed.",
  };
}

/** Intel's second stage: an absent entry has no rights. */
function absentOr(done: string, access: string): Meaning {
  return {
    meaning: `Nothing is mapped at that address, or it is mapped not to be ${done}: Intel's IOMMU does not say which.`,
    advice: `${BY_CAUSE["not-mapped"].advice} If it is mapped, map it with access "${access}" or "read-write".`,
  };
}
