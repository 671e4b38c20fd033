import type { UserDevices } from "./chip/device-models.js";
import type { Capability, ContainerProvider } from "./linux/description.js";

/** Faults of the kernel, to see them noticed. SMMUs go by their label or path in the device tree or their name in sysfs. */
export interface SimulatedBugs {
  /** A mapping is reported as made, but not entered in the page tables of this SMMU. */
  readonly mapSkips?: string;
  /** Unmapping clears the page tables of this SMMU and leaves its TLB alone. */
  readonly unmapKeepsTlb?: string;
  /** Attaching a device to a domain of another SMMU is answered with success and does nothing, as on Linux 6.14 to 6.15.2. */
  readonly attachesNowhere?: boolean;
}

/** Options of `simulate`. */
export interface SimulateOptions {
  /** `5.10`, `6.1`, `6.12`, `6.14`, `7.3`, or all of `uname -r`; 7.3 where absent. */
  readonly release?: string;
  readonly bugs?: SimulatedBugs;
  /**
   * What devices are bound to at boot. Where absent, what a stock kernel does: bridges to `pcieport`, NVMe controllers to
   * `nvme`, others to nothing. `"vfio"`: every device but bridges to `vfio-pci` or `vfio-platform`, which must take those that
   * are behind an SMMU. Or by device, its kernel name, label or path in the device tree: a driver, or null for none; devices that
   * are not named are as on a stock kernel.
   */
  readonly drivers?: "vfio" | Readonly<Record<string, string | null>>;
  /** Devices of your own, by what their nodes are compatible with, on PCI and on the chip's own bus. */
  readonly devices?: UserDevices;
  /** Bytes of a page: 4096, 16384 or 65536; 4096 where absent. */
  readonly pageSize?: number;
  /** RLIMIT_MEMLOCK in bytes: 8 MiB where absent, `Infinity` for no limit. */
  readonly memlock?: number;
  /** Of the process: CAP_IPC_LOCK where absent, as root has it. With it the limit above does not count. */
  readonly capabilities?: readonly Capability[];
  /** Reserved huge pages of 2 MiB; none where absent. */
  readonly hugepages2M?: number;
  /** Reserved huge pages of 1 GiB; none where absent. */
  readonly hugepages1G?: number;
  /** How many descriptors the process may have: 1024 where absent. */
  readonly maxFds?: number;
  /** vfio_iommu_type1.dma_entry_limit: 65535 where absent. */
  readonly dmaEntryLimit?: number;
  /** vfio_iommu_type1.allow_unsafe_interrupts: false where absent. */
  readonly allowUnsafeInterrupts?: boolean;
  /**
   * vfio.enable_unsafe_noiommu_mode: false where absent. With it vfio-pci takes devices without an IOMMU, too, which iospan
   * refuses to open.
   */
  readonly unsafeNoiommu?: boolean;
  /** vfio_platform.reset_required: true where absent, so that only devices with a reset module (`iospan,vfio-reset`) can be bound. */
  readonly resetRequired?: boolean;
  /** Whether the kernel is built with iommufd, where the release has it: true where absent. */
  readonly iommufd?: boolean;
  /**
   * What `/dev/vfio/vfio` is. `"type1"`, and where absent: VFIO's own container. `"iommufd"`: the kernel is built without, and
   * iommufd offers the same calls there. `"iommufd-link"`: a symbolic link to `/dev/iommu`, which offers them, too, and counts
   * locked memory for the user instead of for the process. These two take iommufd: Linux 6.2.
   */
  readonly container?: ContainerProvider;
  /** Whether VFIO is built with character devices (`/dev/vfio/devices`), where there is iommufd: true where absent. */
  readonly vfioCdev?: boolean;
  /** iommufd.allow_unsafe_interrupts: false where absent. */
  readonly iommufdUnsafeInterrupts?: boolean;
}
