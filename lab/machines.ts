/** Files a machine's devices work on, made anew for every run. */
export interface MachineFiles {
  /** The NVMe namespace. */
  readonly disk: string;
}

/** A guest machine: only what makes it interesting. `boot.ts` adds the lab's own parts after it, so they shift nothing. */
export interface Machine {
  readonly name: string;
  readonly summary: string;
  /** Start through UEFI, which describes the machine to Linux with ACPI tables. */
  readonly uefi: boolean;
  readonly kernelParameters: readonly string[];
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

/** Root ports in the order of their bus numbers: rp0 and rp2 behind the first SMMU, rp1 and rp3 behind the second. */
const ROOT_PORTS = ["pcie.0", "pcie.1", "pcie.0", "pcie.1"].flatMap((bus, index) => [
  "-device",
  `pcie-root-port,id=rp${index},bus=${bus},chassis=${index + 1},slot=${index + 1}`,
]);

const EVERY_ADDRESS = "dma_mask=0xffffffffffffffff";

/** One physical device with a PCIe interface behind each SMMU (the NVMe subsystem), and a DMA engine behind each. */
const twoPciePaths: Machine = {
  name: "two-pcie-paths",
  summary: "dual-port NVMe and two DMA engines, one PCIe path behind each of two SMMUs (UEFI, ACPI)",
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
  ],
};

/** The same with SMMUs that have stage 2 only, which keeps a mapping that may be written from being read. */
const twoPciePathsStage2: Machine = {
  ...twoPciePaths,
  name: "two-pcie-paths-stage-2",
  summary: "the same, and the SMMUs translate in stage 2 only",
  arguments: (files) => [...twoPciePaths.arguments(files), "-global", "arm-smmuv3.stage=2"],
};

/** The first one is the default. */
export const MACHINES: readonly Machine[] = [twoPciePaths, twoPciePathsStage2];

/** A file name as QEMU reads it inside an option: a comma would start the next one. */
export function optionValue(path: string): string {
  return path.replaceAll(",", ",,");
}
