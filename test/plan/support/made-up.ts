import { iova } from "../../../src/iova.js";
import type { DeviceFacts, GroupAnswer, GroupFacts, KernelFacts, Survey } from "../../../src/survey/survey.js";
import {
  type IommuKind,
  type Topology,
  type TopologyDevice,
  type TopologyIommu,
  topologyDevice,
} from "../../../src/topology/topology.js";

/** A topology of these things. */
export function topologyOf(
  devices: readonly TopologyDevice[],
  iommus: readonly TopologyIommu[],
  more: Partial<Topology> = {},
): Topology {
  const numbers = [...new Set(devices.flatMap(({ group }) => (typeof group === "number" ? [group] : [])))];
  const groups = numbers.map((number) => ({ number, type: "DMA", reserved: [] }));
  return { sources: [], iommus, groups, devices, engines: [], memory: undefined, findings: [], ...more };
}

/** An IOMMU that is on. */
export function iommu(name: string, kind: IommuKind, more: Partial<TopologyIommu> = {}): TopologyIommu {
  const path = `/sys/class/iommu/${name}`;
  const known = { path, paths: { sysfs: path }, name, kind, compatible: [], addresses: [], enabled: true };
  return { ...known, disabledBecause: undefined, ...more };
}

/** A device of a running kernel's behind an IOMMU, on VFIO unless told otherwise. */
export function device(name: string, behind: string | undefined, more: Partial<TopologyDevice> = {}): TopologyDevice {
  const bus = name.includes(":") ? "pci" : "platform";
  const path = `/sys/bus/${bus}/devices/${name}`;
  const links =
    behind === undefined ? [] : [{ iommu: `/sys/class/iommu/${behind}`, ids: [], used: true, via: "sysfs" }];
  const known = { path, paths: { sysfs: path }, name, bus, isBus: false, enabled: true, links };
  return topologyDevice({ ...known, driver: bus === "pci" ? "vfio-pci" : "vfio-platform", ...more });
}

/** What a group that VFIO has answers. */
export const answered = (more: Partial<Extract<GroupAnswer, { asked: "answered" }>> = {}): GroupAnswer => ({
  asked: "answered",
  by: "type1",
  pageSizes: 0x4020_1000n,
  ranges: [{ start: iova(0), end: iova(2n ** 48n - 1n) }],
  entries: 65535,
  ...more,
});

interface KernelSpec {
  readonly release?: string | undefined;
  readonly devices?: Readonly<Record<string, Partial<DeviceFacts>>>;
  readonly groups?: Readonly<Record<number, Partial<GroupFacts>>>;
  readonly vfio?: Partial<KernelFacts["vfio"]>;
  readonly process?: Partial<KernelFacts["process"]>;
}

const PLAIN: DeviceFacts = { driverOverride: undefined, vfioDevice: undefined, resetMethods: "flr", noiommu: false };

/** A kernel with all that VFIO has. */
export function kernel(spec: KernelSpec = {}): KernelFacts {
  const { devices = {}, groups = {}, vfio, process } = spec;
  const there = { vfio: true, vfio_iommu_type1: true, vfio_pci: true, vfio_platform: true, vfio_platform_base: true };
  const drivers = [
    { bus: "pci", name: "vfio-pci" },
    { bus: "platform", name: "vfio-platform" },
  ] as const;
  const cdevs = Object.values(devices).flatMap(({ vfioDevice }) =>
    vfioDevice === undefined ? [] : [`/dev/vfio/devices/${vfioDevice}`],
  );
  const nodes = new Map(["/dev/vfio/vfio", "/dev/iommu", ...cdevs].map((path) => [path, undefined]));
  return {
    release: "release" in spec ? spec.release : "7.3.4",
    commandLine: "",
    pageSize: 4096,
    memory: 2 ** 34,
    hugePages: new Map(),
    vfio: { drivers, modules: { ...there, iommufd: true }, parameters: new Map(), nodes, ...vfio },
    process: {
      ...{ memlock: undefined, locked: 0, pinned: 0, capabilities: undefined, uid: 0, groups: [] },
      ...process,
    },
    groups: new Map(
      Object.entries(groups).map(([id, facts]) => [Number(id), { holders: [], answer: undefined, ...facts }]),
    ),
    devices: new Map(Object.entries(devices).map(([path, facts]) => [path, { ...PLAIN, ...facts }])),
    log: undefined,
  };
}

/** A machine with two devices, each behind an IOMMU of a kind, both with all that VFIO needs. */
export function twoBehind(kind: IommuKind, spec: KernelSpec & { readonly oneIommu?: boolean } = {}): Survey {
  const [first, second] = [`${kind} 0`, spec.oneIommu === true ? `${kind} 0` : `${kind} 1`];
  const devices = [device("0000:01:00.0", first, { group: 1 }), device("0000:02:00.0", second, { group: 2 })];
  const iommus = [...new Set([first, second])].map((name) => iommu(name, kind));
  const facts = Object.fromEntries(devices.map(({ path }, at) => [path, { vfioDevice: `vfio${at}` }]));
  const groups = { 1: { answer: answered() }, 2: { answer: answered() } };
  return { topology: topologyOf(devices, iommus), kernel: kernel({ devices: facts, groups, ...spec }) };
}
