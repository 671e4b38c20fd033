import type { ErrnoName } from "../../src/abi/errno.js";
import { errno } from "../../src/abi/errno.js";
import { BoundDevice } from "../../src/iommufd/bound-device.js";
import type { CdevIdentity } from "../../src/iommufd/cdev-refusals.js";
import { Ioas } from "../../src/iommufd/ioas.js";
import { Iommufd } from "../../src/iommufd/iommufd.js";
import { findDevice } from "../../src/machine/devices.js";
import type { SimulatedKernel } from "../../src/sim/linux/kernel.js";
import { type MachineOneOptions, machineOne, machineOneDescription } from "../../src/sim/linux/machine-one.js";
import { type FaultySyscalls, faulty } from "../../src/syscalls/faulty.js";

/** Two edu engines behind two SMMUs, and an NVMe controller behind the first one's. */
export const [FIRST, SECOND, NEIGHBOUR] = ["0000:02:00.0", "0000:22:00.0", "0000:01:00.0"] as const;
export const SMMU0 = "smmu3.0x000000000c000000";
export const SMMU1 = "smmu3.0x000000000c020000";

/** The laboratory's first machine with iommufd, all three on vfio-pci. */
export function kernelWithIommufd(options: MachineOneOptions = {}): SimulatedKernel {
  const { devices } = machineOneDescription();
  const bound = devices.map((device) => (device.name === NEIGHBOUR ? { ...device, driver: "vfio-pci" } : device));
  return machineOne({ iommufd: true, devices: bound, ...options });
}

/** SMMUs that can mark pages as written to; the second one has stage 2 only, which cannot. */
export function withHttu(): MachineOneOptions {
  const [first, second] = machineOneDescription().iommus;
  return {
    iommus: [
      { ...first!, httu: true },
      { ...second!, httu: true, stage: 2 },
    ],
  };
}

/** As sysfs tells it. */
export function identityOf(kernel: SimulatedKernel, name: string): CdevIdentity {
  const { bus, iommu, group, vfioDevice: node } = findDevice({ syscalls: kernel }, name);
  if (iommu === undefined || group === undefined || node === undefined) throw new Error(`${name} is not on VFIO`);
  return { name, bus, iommu: iommu.name, group, node };
}

/** An iommufd with an address space on a kernel that can be made to refuse. */
export class IommufdRig {
  readonly kernel: SimulatedKernel;
  readonly syscalls: FaultySyscalls;
  readonly iommufd: Iommufd;
  readonly ioas: Ioas;

  private constructor(kernel: SimulatedKernel, syscalls: FaultySyscalls, iommufd: Iommufd) {
    this.kernel = kernel;
    this.syscalls = syscalls;
    this.iommufd = iommufd;
    this.ioas = Ioas.allocate(iommufd);
  }

  static async open(options: MachineOneOptions = {}): Promise<IommufdRig> {
    const kernel = kernelWithIommufd(options);
    const syscalls = faulty(kernel);
    return new IommufdRig(kernel, syscalls, await Iommufd.open(syscalls));
  }

  device(name: string): Promise<BoundDevice> {
    return BoundDevice.open(this.iommufd, identityOf(this.kernel, name));
  }

  async attached(name: string): Promise<BoundDevice> {
    const device = await this.device(name);
    await device.attach(this.ioas);
    return device;
  }

  /** Refuses the nth call of this name, or of opening this path. */
  refuse(name: string, answer: ErrnoName, nth = 1): void {
    this.syscalls.fault = {
      match: (call) => call.ioctl?.name === name || call.name === name || call.path === name,
      nth,
      errno: errno[answer],
    };
  }
}
