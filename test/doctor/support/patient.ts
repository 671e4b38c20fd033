import type { Check, Diagnosis, Outcome, Patient } from "../../../src/doctor/check.js";
import { iova } from "../../../src/iova.js";
import type { FileStatus } from "../../../src/machine/machine-files.js";
import type { DeviceFacts, GroupFacts, KernelFacts, ProcessFacts, VfioFacts } from "../../../src/survey/survey.js";
import {
  type Finding,
  type IommuLink,
  type TopologyDevice,
  type TopologyGroup,
  type TopologyIommu,
  type TopologySource,
  topologyDevice,
} from "../../../src/topology/topology.js";

/** What is different from a machine on which all is well. */
export interface PatientSpec {
  readonly devices?: readonly TopologyDevice[];
  /** Others on the machine, such as companions. */
  readonly others?: readonly TopologyDevice[];
  readonly iommus?: readonly TopologyIommu[];
  readonly groups?: readonly TopologyGroup[];
  readonly findings?: readonly Finding[];
  readonly sources?: readonly TopologySource[];
  /** null: only firmware was read. */
  readonly kernel?: Partial<Omit<KernelFacts, "vfio" | "process">> | null;
  readonly vfio?: Partial<Omit<VfioFacts, "modules">>;
  readonly modules?: Partial<VfioFacts["modules"]>;
  readonly parameters?: Readonly<Record<string, string>>;
  readonly process?: Partial<ProcessFacts>;
  readonly facts?: Readonly<Record<string, Partial<DeviceFacts>>>;
  readonly answers?: Readonly<Record<number, Partial<GroupFacts>>>;
}

export const SYSFS: TopologySource = { kind: "sysfs", name: "/sys" };
export const TREE: TopologySource = { kind: "device-tree", name: "/sys/firmware/fdt" };

/** A PCI function in group 1 behind the first SMMU, on vfio-pci. */
export function pci(changes: Partial<TopologyDevice> = {}): TopologyDevice {
  return device("0000:01:00.0", {
    bus: "pci",
    driver: "vfio-pci",
    group: 1,
    links: [behind("smmu3.0x1000")],
    ...changes,
  });
}

/** A platform device in group 2 behind the second SMMU, on vfio-platform. */
export function platform(changes: Partial<TopologyDevice> = {}): TopologyDevice {
  const links = [behind("smmu3.0x2000")];
  return device("9030000.port", { bus: "platform", driver: "vfio-platform", group: 2, links, ...changes });
}

export function device(name: string, changes: Partial<TopologyDevice> = {}): TopologyDevice {
  const bus = changes.bus ?? "pci";
  const path = `/sys/bus/${bus}/devices/${name}`;
  return topologyDevice({
    path,
    paths: { sysfs: path },
    name,
    bus,
    isBus: false,
    links: [],
    enabled: true,
    ...changes,
  });
}

export function behind(iommu: string, changes: Partial<IommuLink> = {}): IommuLink {
  return { iommu, ids: [], used: true, via: "sysfs", ...changes };
}

export function smmu(name: string, changes: Partial<TopologyIommu> = {}): TopologyIommu {
  return {
    path: name,
    paths: { sysfs: name },
    name,
    kind: "arm,smmu-v3",
    compatible: [],
    addresses: [],
    enabled: true,
    disabledBecause: undefined,
    ...changes,
  };
}

export function group(number: number, changes: Partial<TopologyGroup> = {}): TopologyGroup {
  return { number, type: "DMA", reserved: [MSI], ...changes };
}

export const MSI = { start: 0x8000000n, end: 0x80fffffn, type: "msi" } as const;

/** What a kernel says of a group that VFIO has. */
export function answered(changes: Partial<Extract<GroupFacts["answer"], { asked: "answered" }>> = {}): GroupFacts {
  const ranges = [
    { start: iova(0), end: iova(0x7ffffff) },
    { start: iova(0x8100000), end: iova(0xffff_ffff_ffffn) },
  ];
  return {
    holders: [],
    answer: { asked: "answered", by: "type1", pageSizes: 0x40201000n, ranges, entries: 65535, ...changes },
  };
}

/** And when it does not let the group be opened. */
export function refused(code: string, changes: { readonly errno?: number; readonly hint?: string } = {}): GroupFacts {
  const { errno, hint = "do something" } = changes;
  return { holders: [], answer: { asked: "refused", code, message: `it was refused with ${code}`, errno, hint } };
}

/** Two interfaces behind two SMMUs, on VFIO, with all that a live machine tells, and what a spec changes of it. */
export function patient(spec: PatientSpec = {}): Patient {
  const devices = spec.devices ?? [pci(), platform()];
  const all = [...devices, ...(spec.others ?? [])];
  const topology = {
    sources: spec.sources ?? [SYSFS],
    iommus: spec.iommus ?? [smmu("smmu3.0x1000"), smmu("smmu3.0x2000")],
    groups: spec.groups ?? [group(1), group(2)],
    devices: all,
    engines: [],
    memory: undefined,
    findings: spec.findings ?? [],
  };
  return { survey: { topology, kernel: spec.kernel === null ? undefined : kernelOf(spec, all) }, devices };
}

const NODE: FileStatus = { mode: 0o20600, uid: 1000, gid: 0 };

function kernelOf(spec: PatientSpec, devices: readonly TopologyDevice[]): KernelFacts {
  const facts = devices.map(({ path, name }) => [path, { ...DEVICE, ...spec.facts?.[name] }] as const);
  const groups = [1, 2].map((number) => [number, { ...answered(), ...spec.answers?.[number] }] as const);
  return {
    release: "7.3.4",
    commandLine: "root=/dev/vda",
    pageSize: 4096,
    memory: 2 ** 34,
    hugePages: new Map([[2 ** 21, { free: 8, total: 16 }]]),
    groups: new Map(groups),
    devices: new Map(facts),
    log: ["Linux version 7.3.4"],
    ...spec.kernel,
    vfio: vfioOf(spec),
    process: {
      memlock: { soft: Number.POSITIVE_INFINITY, hard: Number.POSITIVE_INFINITY },
      locked: 0,
      pinned: 0,
      capabilities: 0n,
      hasAllUsers: true,
      uid: 1000,
      groups: [1000],
      ...spec.process,
    },
  };
}

const DEVICE: DeviceFacts = { driverOverride: undefined, vfioDevice: "vfio0", resetMethods: "flr bus", noiommu: false };

function vfioOf({ vfio, modules, parameters }: PatientSpec): VfioFacts {
  const there = { vfio: true, vfio_iommu_type1: true, vfio_pci: true, vfio_platform: true };
  const paths = ["/dev/vfio/vfio", "/dev/vfio/1", "/dev/vfio/2", "/dev/iommu", "/dev/vfio/devices/vfio0"];
  return {
    drivers: [
      { bus: "pci", name: "vfio-pci" },
      { bus: "platform", name: "vfio-platform" },
    ],
    nodes: new Map(paths.map((path) => [path, NODE])),
    ...vfio,
    modules: { ...there, vfio_platform_base: true, iommufd: true, ...modules },
    parameters: new Map(
      Object.entries({
        "vfio_iommu_type1.dma_entry_limit": "65535",
        "vfio_iommu_type1.allow_unsafe_interrupts": "N",
        "vfio.enable_unsafe_noiommu_mode": "N",
        "vfio_platform.reset_required": "Y",
        ...parameters,
      }).filter(([, text]) => text !== ""),
    ),
  };
}

/** The outcomes of a check's diagnoses, each once. */
export function outcomesOf(check: Check, spec?: PatientSpec): readonly Outcome[] {
  return [...new Set(check.run(patient(spec)).map(({ outcome }) => outcome))];
}

/** The one diagnosis with this outcome. */
export function only(check: Check, outcome: Outcome, spec?: PatientSpec): Diagnosis {
  const found = check.run(patient(spec)).filter((diagnosis) => diagnosis.outcome === outcome);
  if (found.length !== 1) throw new Error(`${check.id} has ${found.length} ${outcome}`);
  return found[0]!;
}
