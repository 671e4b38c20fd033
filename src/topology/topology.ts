import type { ReservedRegion } from "../machine/machine.js";

/** Every {@link SourceKind}. */
export const sourceKinds = ["sysfs", "device-tree", "iort", "dmar", "ivrs"] as const;

/** Where a topology can be read from. */
export type SourceKind = (typeof sourceKinds)[number];

/** One thing that was read. */
export interface TopologySource {
  readonly kind: SourceKind;
  /** The file or folder, as the reader was told. */
  readonly name: string;
}

/** Every {@link IommuKind}. */
export const iommuKinds = [
  "arm,smmu-v3",
  "arm,smmu",
  "intel",
  "amd",
  "virtio",
  "riscv",
  "rockchip",
  "verisilicon",
  "exynos",
  "apple",
  "mediatek",
  "renesas",
  "allwinner",
  "sprd",
  "tegra",
  "qcom",
  "msm",
  "omap",
  "other",
] as const;

/** The driver that an IOMMU has in Linux; `arm,smmu` is SMMUv1 and SMMUv2. */
export type IommuKind = (typeof iommuKinds)[number];

/** What a thing is called in each source that has it. */
export type SourcePaths = Readonly<Partial<Record<SourceKind, string>>>;

/** One IOMMU. Undefined is what no source tells. */
export interface TopologyIommu {
  /** What identifies it in its topology: its path in the first source that has it. */
  readonly path: string;
  readonly paths: SourcePaths;
  /** The kernel's where it is known (`smmu3.0x000000000c000000`), else the firmware's. */
  readonly name: string;
  readonly kind: IommuKind;
  readonly compatible: readonly string[];
  /** Of its registers, one for each bank; the CPU's addresses. Empty where they are not told. */
  readonly addresses: readonly bigint[];
  readonly enabled: boolean;
  /** What switches it off, in words. */
  readonly disabledBecause: string | undefined;
  /** Whether its table walks are coherent with the processor's caches (`dma-coherent`; IORT: COHACC override). */
  readonly coherent?: boolean | undefined;
  /**
   * The device that it is, as the kernel's log calls it: `c000000.iommu`, `arm-smmu-v3.0.auto`, `0000:00:00.2`. Undefined
   * where there is none (Intel's units) or it cannot be told.
   */
  readonly device?: string | undefined;
}

/** IDs at an IOMMU: StreamIDs for an SMMU, requester IDs for a DMAR unit. */
export interface IdRange {
  readonly first: number;
  readonly count: number;
  /** On a bus: the device's own ID (requester ID on PCI) that becomes `first`. */
  readonly input?: number | undefined;
  /** What follows the ID where the IOMMU's IDs have more cells: an SMMUv2's mask. */
  readonly rest?: readonly number[] | undefined;
}

/** How a device is connected with an IOMMU, or the devices of a bus are. */
export interface IommuLink {
  /** The {@link TopologyIommu.path}. */
  readonly iommu: string;
  /** Empty where the source does not tell, or the IOMMU has no IDs. */
  readonly ids: readonly IdRange[];
  /** On a bus: the bits of a device's ID that count. */
  readonly mask?: number | undefined;
  /** Whether Linux lets this IOMMU translate the device; undefined where nobody can tell. */
  readonly used: boolean | undefined;
  /** What says so: `sysfs`, `iommus`, `iommu-map`, `mmu-masters`, `iort`, `dmar`, `ivrs`. */
  readonly via: string;
}

/** What a PCI function says it is; `class` has 24 bits. */
export interface TopologyPciIds {
  readonly vendor: number;
  readonly device: number;
  readonly class?: number | undefined;
}

/** A device, or a bus whose devices an IOMMU translates for. Undefined is what no source tells; null is known to be none. */
export interface TopologyDevice {
  /** What identifies it in its topology: its path in the first source that has it. */
  readonly path: string;
  readonly paths: SourcePaths;
  /** The kernel's name where it is known or follows from the source, else the firmware's. */
  readonly name: string;
  /** `pci`, `platform`, or another bus of Linux's. */
  readonly bus: string;
  /** True for what has an ID map for others: a PCI host, a DMAR scope. What is on it may not be listed. */
  readonly isBus: boolean;
  readonly driver: string | null | undefined;
  /** Its IOMMU group. Only the kernel makes groups. */
  readonly group: number | null | undefined;
  readonly links: readonly IommuLink[];
  readonly pci: TopologyPciIds | undefined;
  /** PCI only: bus, device and function. */
  readonly requesterId: number | undefined;
  /** The path of the bus it is on, or that bus's name; undefined where there is none with an ID map. */
  readonly host: string | undefined;
  /** The PCI domain (ACPI: segment) of a PCI function or host. */
  readonly domain: number | undefined;
  readonly compatible: readonly string[];
  /** Its path in ACPI's namespace, as an IORT names it and the kernel knows it: `\_SB_.DMA0`. */
  readonly acpi?: string | undefined;
  readonly enabled: boolean;
  readonly disabledBecause: string | undefined;
  /** I/O virtual addresses that firmware keeps for it. A group's are in {@link TopologyGroup.reserved}. */
  readonly reserved: readonly ReservedRegion[];
  /** Whether its DMA is coherent with the processor's caches, as firmware says (`dma-coherent`, inherited; IORT: CCA). */
  readonly coherent?: boolean | undefined;
}

/** Devices that the IOMMU cannot tell apart. */
export interface TopologyGroup {
  readonly number: number;
  /** `DMA-FQ`, `identity`, …; undefined where it cannot be read. */
  readonly type: string | undefined;
  readonly reserved: readonly ReservedRegion[];
}

/** Physical memory. */
export interface TopologyMemory {
  readonly start: bigint;
  readonly size: bigint;
}

/** One physical device that has several interfaces. Only the property `iospan,engine` of a device tree tells. */
export interface TopologyEngine {
  readonly name: string;
  /** {@link TopologyDevice.path}s. */
  readonly interfaces: readonly string[];
}

/** Every {@link Finding.severity}. */
export const severities = ["note", "warning"] as const;

/** Something that is worth knowing about a topology, in words. */
export interface Finding {
  /** Stable, for programs. */
  readonly id: string;
  /** `warning`: something will not work as the source says. */
  readonly severity: (typeof severities)[number];
  readonly text: string;
  /** {@link TopologyDevice.path} or {@link TopologyIommu.path}. */
  readonly about?: string | undefined;
}

/** What IOMMUs a machine has, and which devices are behind them. */
export interface Topology {
  readonly sources: readonly TopologySource[];
  readonly iommus: readonly TopologyIommu[];
  readonly groups: readonly TopologyGroup[];
  readonly devices: readonly TopologyDevice[];
  readonly engines: readonly TopologyEngine[];
  /** Undefined where no source tells. */
  readonly memory: readonly TopologyMemory[] | undefined;
  /** Other names for things, by name, and what they stand for: the aliases of a device tree, as its paths. */
  readonly aliases?: ReadonlyMap<string, string> | undefined;
  /** What else a device tree describes that is behind no IOMMU, and is none: paths of nodes with a `compatible`. Not in JSON. */
  readonly others?: readonly string[] | undefined;
  readonly findings: readonly Finding[];
}

/** A device of which nothing is known but this. @internal */
export function topologyDevice(
  known: Pick<TopologyDevice, "path" | "paths" | "name" | "bus" | "isBus" | "links" | "enabled"> &
    Partial<TopologyDevice>,
): TopologyDevice {
  // Field by field: there are thousands, and spread objects cost ten times as much.
  return {
    path: known.path,
    paths: known.paths,
    name: known.name,
    bus: known.bus,
    isBus: known.isBus,
    driver: known.driver,
    group: known.group,
    links: known.links,
    pci: known.pci,
    requesterId: known.requesterId,
    host: known.host,
    domain: known.domain,
    compatible: known.compatible ?? [],
    acpi: known.acpi,
    enabled: known.enabled,
    disabledBecause: known.disabledBecause,
    reserved: known.reserved ?? [],
    coherent: known.coherent,
  };
}
