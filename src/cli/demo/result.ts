import type { BusType } from "../../machine/machine.js";
import type { StrategyTrial } from "../../space/strategies/auto.js";
import type { StrategyName } from "../../space/strategies/strategy.js";
import type { ApproachName } from "./approaches.js";

/** What `iospan demo` found: the whole of its `--json`, and all that its picture is drawn from. */
export interface DemoResult {
  readonly machine: MachineReport;
  readonly approaches: readonly ApproachReport[];
  /** Whether every approach did what is known of Linux on such a machine. */
  readonly asExpected: boolean;
  /** Whether there are several interfaces, and some approach lets them see the same memory, if not one that was tried. */
  readonly spans: boolean;
  /** What `IoAddressSpace.open` takes by itself; null where it can open nothing. */
  readonly auto: AutoReport | null;
  /** What the kernel logged while approaches were tried, in their order. */
  readonly kernelLog: readonly string[];
}

/** The machine, as its kernel shows it. */
export interface MachineReport {
  /** The chip's file name. */
  readonly chip: string;
  /** Of Linux. */
  readonly release: string;
  readonly iommus: readonly IommuReport[];
  readonly interfaces: readonly InterfaceReport[];
  readonly engines: readonly EngineReport[];
  /** What the second path of the first engine should be worth. */
  readonly gain: GainReport | null;
  /** Devices that could do DMA, and are not among the interfaces. */
  readonly leftOut: readonly LeftOutReport[];
  /** What all interfaces can address; null where no space can be opened over them. */
  readonly space: SpaceReport | null;
}

/** A device that is not in use. */
export interface LeftOutReport {
  /** The kernel's name, or the path of its node where the kernel has none. */
  readonly device: string;
  readonly why: string;
}

/** The choice of the strategy `auto`. */
export interface AutoReport {
  readonly strategy: StrategyName;
  /** Each strategy in its order, and why it was taken, passed over or not tried. */
  readonly plan: readonly StrategyTrial[];
}

/** A range of IOVAs, in hexadecimal: they may be larger than JSON's numbers. */
export interface IovaRangeReport {
  readonly start: string;
  /** The last address inside. */
  readonly end: string;
}

/** What a space over all interfaces allows, and which IOMMUs forbid the rest. */
export interface SpaceReport {
  /** Bytes that IOVA, address and size of every mapping are a multiple of. */
  readonly granule: number;
  readonly iovaRanges: readonly IovaRangeReport[];
  readonly removedIovas: readonly (IovaRangeReport & { readonly by: readonly string[] })[];
  /** Bytes; those that all IOMMUs have. */
  readonly pageSizes: readonly number[];
  readonly removedPageSizes: readonly { readonly size: number; readonly by: readonly string[] }[];
}

/** What a chip's links and memory allow. */
export interface GainReport {
  /** How many times as fast all paths should be as the fastest one. */
  readonly ratio: number;
  /** Bytes per second for all paths together, reads and writes; null: no limit. */
  readonly memoryBandwidth: number | null;
  /** What keeps all paths from being faster. */
  readonly limit: "paths" | "memory";
}

/** An IOMMU that an interface is behind. */
export interface IommuReport {
  /** As in /sys/class/iommu. */
  readonly name: string;
  readonly compatible: string;
  /** Bytes of the smallest page that Linux makes its tables of. */
  readonly granule: number;
}

/** One way of the hardware to memory. */
export interface InterfaceReport {
  /** The kernel's name of the device that it is. */
  readonly device: string;
  readonly bus: BusType;
  /** {@link IommuReport.name}. */
  readonly iommu: string;
  /** The IOMMU group's number. */
  readonly group: number;
}

/** What does the DMA: one engine with several interfaces, or `edu` with one each. */
export interface EngineReport {
  readonly kind: "dual-path" | "edu";
  /** {@link InterfaceReport.device} of its interfaces. */
  readonly interfaces: readonly string[];
}

/** What became of one approach. */
export interface ApproachReport {
  readonly approach: ApproachName;
  /** Whether every interface read and wrote the same memory at the same addresses. */
  readonly works: boolean;
  /** What is known of Linux on such a machine, and why. */
  readonly expected: Expectation;
  readonly asExpected: boolean;
  /** Why it does not work. */
  readonly error: FailureReport | null;
  /** VFIO containers, domains in them or in an iommufd, and pins, while memory was mapped; 0 where it did not come so far. */
  readonly containers: number;
  readonly domains: number;
  readonly pinnedPages: number;
  /** Bytes that were mapped then. */
  readonly mappedBytes: number;
  /** Copies that were right. */
  readonly dma: readonly DmaReport[];
  /** Null where it does not work. */
  readonly throughput: ThroughputReport | null;
  readonly cost: CostReport;
  /** What the kernel logged meanwhile. */
  readonly kernelLog: readonly string[];
}

/** What should become of an approach. */
export interface Expectation {
  readonly works: boolean;
  /** Of the refusal; null where it works, or may be refused with any or by the library. */
  readonly errno: string | null;
  readonly because: string;
}

/** A failure, as the library tells it. */
export interface FailureReport {
  /** The call that the kernel refused; null where the library did, or where memory held the wrong bytes. */
  readonly syscall: string | null;
  /** `EINVAL`, … */
  readonly errno: string | null;
  readonly message: string;
  readonly code: string | null;
  readonly hint: string | null;
}

/** Bytes that went through an interface, there and back, and were compared. */
export interface DmaReport {
  readonly interface: string;
  readonly bytes: number;
  /** Who had written what the interface read: the CPU, or another interface. */
  readonly source: string;
  readonly verified: true;
}

/** Bytes copied per second of the chip's own time, with the first of {@link MachineReport.engines}. */
export interface ThroughputReport {
  /** Over the fastest of the paths. */
  readonly onePath: number;
  /** Over all of them at once. */
  readonly bothPaths: number;
  /** How many times as fast all paths are as the fastest one. */
  readonly ratio: number;
  /** Over each path alone. */
  readonly paths: readonly PathReport[];
}

/** How fast one path is. */
export interface PathReport {
  readonly interface: string;
  readonly bytesPerSecond: number;
}

/** What an approach took. */
export interface CostReport {
  /** From opening the devices to closing them, sysfs aside. */
  readonly systemCalls: number;
  /** Of those, what made and unmade mappings. */
  readonly mapCalls: number;
  /** Reads and writes of sysfs and procfs. */
  readonly sysfs: number;
  readonly smmus: readonly SmmuCostReport[];
}

/** What one SMMU did meanwhile. */
export interface SmmuCostReport {
  readonly iommu: string;
  /** Commands that the kernel gave it. */
  readonly commands: number;
  /** Of those, what invalidated translations. */
  readonly invalidations: number;
  /** Translations that had to be looked up in memory. */
  readonly walks: number;
  /** Translations that it remembered. */
  readonly hits: number;
}
