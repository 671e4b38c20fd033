import { inert, type PciIdentity } from "../hw/device-model.js";
import { edu } from "../hw/edu.js";
import type { DeviceDescription, MachineDescription } from "./description.js";
import { SimulatedKernel } from "./kernel.js";

const SMMU0 = "smmu3.0x000000000c000000";
const SMMU1 = "smmu3.0x000000000c020000";

const HOST_BRIDGE: PciIdentity = { vendor: 0x1b36, device: 0x0008, classCode: 0x060000 };
const EXPANDER: PciIdentity = { vendor: 0x1b36, device: 0x000b, classCode: 0x060000 };
const ROOT_PORT: PciIdentity = { vendor: 0x1b36, device: 0x000c, classCode: 0x060400, bridge: true };
const NVME: PciIdentity = {
  vendor: 0x1b36,
  device: 0x0010,
  classCode: 0x010802,
  subsystemVendor: 0x1af4,
  subsystem: 0x1100,
  revision: 2,
  bars: [{ index: 0, size: 16384 }],
  intx: true,
};
const VIRTIO_9P: PciIdentity = { vendor: 0x1af4, device: 0x1009, classCode: 0x000200, intx: true };

/** What {@link machineOne} may have different; the rest is as described there. */
export type MachineOneOptions = Partial<MachineDescription> & {
  /** The driver of the two `edu`: `vfio-pci` where absent. */
  readonly eduDriver?: string | undefined;
};

/**
 * The laboratory's first machine: two SMMUv3, each with a PCIe root complex. Behind each an NVMe controller (0000:01:00.0,
 * 0000:21:00.0) and an `edu` DMA engine (0000:02:00.0, 0000:22:00.0), every function alone in its IOMMU group.
 * Linux 7.3.4, without iommufd, as Debian builds it for arm64; the process is root.
 */
export function machineOne(options: MachineOneOptions = {}): SimulatedKernel {
  return new SimulatedKernel(machineOneDescription(options));
}

/** The description of {@link machineOne}, to be changed further. */
export function machineOneDescription({
  eduDriver = "vfio-pci",
  ...changes
}: MachineOneOptions = {}): MachineDescription {
  return {
    release: "7.3.4",
    capabilities: ["CAP_IPC_LOCK"],
    iommufd: false,
    iommus: [{ name: SMMU0 }, { name: SMMU1 }],
    devices: [
      pci("0000:00:00.0", SMMU0, HOST_BRIDGE),
      pci("0000:00:01.0", SMMU0, EXPANDER),
      pci("0000:00:02.0", SMMU0, ROOT_PORT, { driver: "pcieport" }),
      pci("0000:00:03.0", SMMU0, ROOT_PORT, { driver: "pcieport" }),
      pci("0000:00:04.0", SMMU0, VIRTIO_9P, { driver: "virtio-pci" }),
      pci("0000:01:00.0", SMMU0, NVME, { driver: "nvme", behind: ["0000:00:02.0"] }),
      eduAt("0000:02:00.0", SMMU0, "0000:00:03.0", eduDriver),
      pci("0000:20:00.0", SMMU1, ROOT_PORT, { driver: "pcieport" }),
      pci("0000:20:01.0", SMMU1, ROOT_PORT, { driver: "pcieport" }),
      pci("0000:21:00.0", SMMU1, NVME, { driver: "nvme", behind: ["0000:20:00.0"] }),
      eduAt("0000:22:00.0", SMMU1, "0000:20:01.0", eduDriver),
    ],
    ...changes,
  };
}

function pci(
  name: string,
  iommu: string,
  identity: PciIdentity,
  rest: { readonly driver?: string; readonly behind?: readonly string[] } = {},
): DeviceDescription {
  return { bus: "pci", name, iommu, model: inert(identity), ...rest };
}

function eduAt(name: string, iommu: string, port: string, driver: string): DeviceDescription {
  return { bus: "pci", name, iommu, driver, behind: [port], model: edu() };
}
