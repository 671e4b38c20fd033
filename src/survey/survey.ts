import type { IospanErrorFacts } from "../errors.js";
import type { IovaRange } from "../iova.js";
import type { GroupHolder } from "../machine/group-holders.js";
import type { BusType } from "../machine/machine.js";
import type { FileStatus } from "../machine/machine-files.js";
import type { ResourceLimit } from "../syscalls/syscalls.js";
import type { Topology } from "../topology/topology.js";

/** What is known of a machine before anything is opened. Undefined is, everywhere in it, what nobody tells. */
export interface Survey {
  readonly topology: Topology;
  /** Undefined where only firmware was read: which kernel will run there is not known. */
  readonly kernel: KernelFacts | undefined;
}

/** What a running kernel says of itself, of VFIO, and of the process that asks. */
export interface KernelFacts {
  /** `7.3.4+deb13-arm64`. */
  readonly release: string | undefined;
  readonly commandLine: string | undefined;
  /** Bytes of a page of the processor's. */
  readonly pageSize: number | undefined;
  /** Bytes. */
  readonly memory: number | undefined;
  /** Huge pages that are free, and in all, by their size in bytes. */
  readonly hugePages: ReadonlyMap<number, { readonly free: number; readonly total: number }>;
  readonly vfio: VfioFacts;
  readonly process: ProcessFacts;
  /** Of the groups of {@link devices}, by number. */
  readonly groups: ReadonlyMap<number, GroupFacts>;
  /** Of the devices that were asked for and those that VFIO has, or shall have, with all of their groups; by path in the topology. */
  readonly devices: ReadonlyMap<string, DeviceFacts>;
  /** Lines of the kernel's log, oldest first, as /dev/kmsg or dmesg has them. Undefined where nobody asked, or it may not be read. */
  readonly log: readonly string[] | undefined;
}

/** What there is of VFIO and iommufd. */
export interface VfioFacts {
  /** Drivers that hand devices to user space, as far as they are loaded or built in. Undefined where buses cannot be listed. */
  readonly drivers: readonly { readonly bus: BusType; readonly name: string }[] | undefined;
  /** Whether the module is there, loaded or built in: `/sys/module/NAME`. Undefined where that cannot be listed. */
  readonly modules: Readonly<Record<VfioModule, boolean | undefined>>;
  /** The text of module parameters, by `module.parameter`: `vfio_iommu_type1.dma_entry_limit`. */
  readonly parameters: ReadonlyMap<string, string>;
  /** Nodes below /dev that are there, by path: `/dev/vfio/vfio`, `/dev/iommu`, `/dev/vfio/7`. */
  readonly nodes: ReadonlyMap<string, FileStatus | undefined> | undefined;
  /** Where `/dev/vfio/vfio` leads, if it is a link: some put `/dev/iommu` there, which offers the same calls. */
  readonly containerLink?: string | undefined;
}

/**
 * Modules that matter. Each has a parameter or a version, so that the kernel gives it a folder in /sys/module also where it is
 * built in (kernel/params.c, param_sysfs_builtin and version_sysfs_builtin): one without is not there.
 */
export const vfioModules = [
  "vfio",
  "vfio_iommu_type1",
  "vfio_pci",
  "vfio_platform",
  "vfio_platform_base",
  "iommufd",
] as const;
export type VfioModule = (typeof vfioModules)[number];

/** Of the process that asks, as far as it will be the one that opens devices. */
export interface ProcessFacts {
  /** RLIMIT_MEMLOCK in bytes. */
  readonly memlock: ResourceLimit | undefined;
  /** Bytes counted against it already: `VmLck` (type1) and `VmPin` (iommufd). */
  readonly locked: number | undefined;
  readonly pinned: number | undefined;
  /** Effective capabilities as bits; CAP_IPC_LOCK is bit 14, and lifts the limit, but see {@link hasAllUsers}. */
  readonly capabilities: bigint | undefined;
  /**
   * Whether it is in the first user namespace, the one that has all users: elsewhere, as in most containers without
   * privileges, capabilities do not lift the limit (kernel/capability.c, capable).
   */
  readonly hasAllUsers?: boolean | undefined;
  /** The effective user. */
  readonly uid: number | undefined;
  /** The effective group, and the supplementary ones. */
  readonly groups: readonly number[] | undefined;
}

/** What is known of an IOMMU group beyond its devices. */
export interface GroupFacts {
  /** Who has it, or a device of it, open; of processes that may be looked into. Undefined where there is no /proc. */
  readonly holders: readonly GroupHolder[] | undefined;
  readonly answer: GroupAnswer | undefined;
}

/**
 * What the kernel said when the group was opened, without its devices; undefined fields where it does not tell. Groups are not
 * asked where `/dev/vfio/vfio` is an iommufd: it knows nothing of an IOMMU before one of the group's devices is open.
 */
export type GroupAnswer =
  | {
      readonly asked: "answered";
      /** Who answered: VFIO's type1, or an iommufd in its place. */
      readonly by: "type1" | "iommufd";
      /** Bit n set: pages of 2^n bytes. */
      readonly pageSizes: bigint;
      readonly ranges: readonly IovaRange[];
      /** How many mappings a container takes. */
      readonly entries: number | undefined;
    }
  | ({ readonly asked: "refused"; readonly code: string; readonly message: string } & Pick<
      IospanErrorFacts,
      "errno" | "hint"
    >)
  | {
      readonly asked: "not asked";
      readonly why: string;
      /** VFIO's container is an iommufd, which answers for no group before a device of it is open. */
      readonly isIommufd?: true | undefined;
    };

/** What sysfs says of a device that a topology does not need. */
export interface DeviceFacts {
  /** The only driver that may bind it. */
  readonly driverOverride: string | undefined;
  /** `vfio3`: its node is /dev/vfio/devices/vfio3. */
  readonly vfioDevice: string | undefined;
  /** How the kernel can reset it, `flr bus`: empty for not at all. PCI only; undefined where it does not tell (before 5.15). */
  readonly resetMethods: string | undefined;
  /** In a group that VFIO made up for a device without an IOMMU. */
  readonly noiommu: boolean;
}
