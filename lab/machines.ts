import { PLATFORM_TREE } from "./platform-tree.js";

/** Files a machine's devices work on, made anew for every run. */
export interface MachineFiles {
  /** The NVMe namespace. */
  readonly disk: string;
}

/** A guest machine: only what makes it interesting. `boot.ts` adds the lab's own parts after it, so they shift nothing. */
export interface Machine {
  readonly name: string;
  /** For `--list`: at most 62 characters. */
  readonly summary: string;
  /** Start through UEFI, which describes the machine to Linux with ACPI tables. */
  readonly uefi: boolean;
  readonly kernelParameters: readonly string[];
  /**
   * Device tree source that corrects the tree QEMU makes, where the machine is described to Linux by one. What is on the
   * SoC's own bus can only be said so.
   */
  readonly treeChanges?: string;
  /** The kernels that can drive it; all where absent. */
  readonly kernels?: readonly string[];
  readonly arguments: (files: MachineFiles) => readonly string[];
}

/** 2 MiB pages set aside for tests that want huge pages. */
const HUGE_PAGES = "hugepages=64";

/** QEMU's Arm board with both SMMUs in front of PCIe root buses of their own. */
const BOARD = [
  // Without pointer authentication, which Linux uses in every function call: emulating it takes a tenth of all time.
  ...["-machine", "virt,gic-version=3,its=on", "-cpu", "max,pauth=off", "-smp", "2", "-m", "3G"],
  ...["-device", "arm-smmuv3,primary-bus=pcie.0,id=smmuv3.0"],
  ...["-device", "pxb-pcie,id=pcie.1,bus_nr=32,bus=pcie.0"],
  ...["-device", "arm-smmuv3,primary-bus=pcie.1,id=smmuv3.1"],
];

/** Root ports: rp0, rp2, rp4, rp5, rp6 on buses 1 to 5 behind the first SMMU, rp1 and rp3 on 0x21 and 0x22 behind the second. */
const ROOT_PORTS = ["pcie.0", "pcie.1", "pcie.0", "pcie.1", "pcie.0", "pcie.0", "pcie.0"].flatMap((bus, index) => [
  "-device",
  `pcie-root-port,id=rp${index},bus=${bus},chassis=${index + 1},slot=${index + 1}`,
]);

const EVERY_ADDRESS = "dma_mask=0xffffffffffffffff";

/** One physical device with a PCIe interface behind each SMMU (the NVMe subsystem), and a DMA engine behind each. */
const twoPciePaths: Machine = {
  name: "two-pcie-paths",
  summary: "dual-port NVMe and DMA engines behind two SMMUs (UEFI, ACPI)",
  uefi: true,
  kernelParameters: [HUGE_PAGES],
  arguments: ({ disk }) => [
    ...BOARD,
    ...ROOT_PORTS,
    ...["-device", "nvme-subsys,id=sub0,nqn=sub0"],
    ...["-device", "nvme,serial=dual,subsys=sub0,bus=rp0", "-device", "nvme,serial=dual,subsys=sub0,bus=rp1"],
    ...["-drive", `if=none,id=nvm,file=${optionValue(disk)},format=raw,cache=unsafe`],
    ...["-device", "nvme-ns,drive=nvm,nsid=1,shared=on"],
    ...["-device", `edu,bus=rp2,${EVERY_ADDRESS}`, "-device", `edu,bus=rp3,${EVERY_ADDRESS}`],
    // Two functions of one device: one IOMMU group, and one reset.
    ...["-device", `edu,bus=rp4,addr=0.0,multifunction=on,${EVERY_ADDRESS}`],
    ...["-device", `edu,bus=rp4,addr=0.1,${EVERY_ADDRESS}`],
    // A network controller with virtual functions; without its boot ROM, which no guest here needs.
    ...["-device", "igb,bus=rp5,romfile="],
    ...["-device", `edu,bus=rp6,${EVERY_ADDRESS}`],
  ],
};

/** The same with SMMUs that have stage 2 only, which keeps a mapping that may be written from being read. */
const twoPciePathsStage2: Machine = {
  ...twoPciePaths,
  name: "stage-2",
  summary: "the same, and the SMMUs translate in stage 2 only",
  arguments: (files) => [...twoPciePaths.arguments(files), "-global", "arm-smmuv3.stage=2"],
};

/** Without them VFIO refuses a platform device that no reset module knows, and one without an MSI domain of its own. */
const PLATFORM_PARAMETERS = [
  "vfio_platform.reset_required=0",
  "vfio_iommu_type1.allow_unsafe_interrupts=1",
  "iommufd.allow_unsafe_interrupts=1",
];

/**
 * The same, and behind the second SMMU a device on the SoC's own bus. QEMU has no such device with DMA: this one has the
 * registers and interrupts of its GPIO controller and its clock, and shows what the kernel makes of a platform device.
 */
const platform: Machine = {
  ...twoPciePaths,
  name: "platform",
  summary: "the same, and a device on the SoC's own bus (device tree)",
  uefi: false,
  kernelParameters: [...twoPciePaths.kernelParameters, ...PLATFORM_PARAMETERS],
  treeChanges: PLATFORM_TREE,
  kernels: ["custom"],
};

/** The first one is the default. */
export const MACHINES: readonly Machine[] = [twoPciePaths, twoPciePathsStage2, platform];

/** @throws {RangeError} when there is none, which names all. */
export function machineNamed(name: string): Machine {
  const machine = MACHINES.find((candidate) => candidate.name === name);
  if (machine === undefined)
    throw new RangeError(`no machine "${name}": ${MACHINES.map((each) => each.name).join(", ")}`);
  return machine;
}

/** A file name as QEMU reads it inside an option: a comma would start the next one. */
export function optionValue(path: string): string {
  return path.replaceAll(",", ",,");
}
