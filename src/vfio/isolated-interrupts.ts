/** The modules that ask for isolated interrupts, each with a switch of its own to go without. */
export type InterruptsAsker = "vfio_iommu_type1" | "iommufd";

const ARM = "give the device an msi-parent (an ITS) in the device tree";
const X86 =
  "have interrupts remapped: switch that on in the firmware setup, and take intremap=off from the kernel's command line";

/** What to do about a device whose interrupts are not isolated, by the kernel's name of its IOMMU. */
export function isolationHint(iommu: string | undefined, asker: InterruptsAsker): string {
  return `${remedy(iommu ?? "")}, or accept the risk: echo 1 > /sys/module/${asker}/parameters/allow_unsafe_interrupts`;
}

/** Intel's are called dmar0, AMD's ivhd0, Arm's smmu3.0x…; on others no more is known than that it is one or the other. */
function remedy(iommu: string): string {
  if (/^(dmar|ivhd)\d/.test(iommu)) return X86;
  if (/^(arm-)?smmu/.test(iommu)) return ARM;
  return `on Arm ${ARM}; on x86 ${X86}`;
}
