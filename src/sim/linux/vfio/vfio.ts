import type { PlatformDescription } from "../description.js";
import type { KernelDevice } from "../drivers/device.js";
import type { Driver } from "../drivers/driver.js";
import type { IommuGroup } from "../iommu/iommu-group.js";
import { refuse } from "../refusal.js";
import type { Type1Kernel } from "../type1/state.js";
import { CdevFile } from "./vfio-cdev.js";
import { ContainerFile, VfioContainer } from "./vfio-container.js";
import { type DeviceOperations, VfioDevice } from "./vfio-device.js";
import { VfioGroup } from "./vfio-group.js";
import { VfioPci } from "./vfio-pci.js";
import { VfioPlatform } from "./vfio-platform.js";

/** Parameters of vfio_platform. */
export interface PlatformParameters {
  resetRequired: boolean;
}

/** How VFIO is set up. */
export interface VfioOptions {
  readonly platform: PlatformParameters;
  /** Whether it is built with character devices, `/dev/vfio/devices`. */
  readonly cdev: boolean;
  /** Where sysfs has a device. */
  readonly sysfsPath: (device: KernelDevice) => string;
}

/** VFIO as a whole: which groups and containers there are (drivers/vfio/vfio_main.c), and its two drivers. */
export class Vfio {
  readonly #kernel: Type1Kernel;
  readonly #options: VfioOptions;
  readonly #groups = new Map<number, VfioGroup>();
  readonly #containers = new Set<VfioContainer>();

  constructor(kernel: Type1Kernel, options: VfioOptions) {
    this.#kernel = kernel;
    this.#options = options;
  }

  /** Groups with at least one device on a VFIO driver: those that have a node. */
  get groups(): readonly VfioGroup[] {
    return [...this.#groups.values()].sort((a, b) => a.iommuGroup.id - b.iommuGroup.id);
  }

  /** Containers that are open or have a group, in the order they were made. */
  get containers(): readonly VfioContainer[] {
    return [...this.#containers].filter(({ isAlive }) => isAlive);
  }

  /** Devices that have a character device, by number; none where VFIO is built without. */
  get cdevs(): readonly VfioDevice[] {
    return this.#options.cdev ? this.#devices().sort((a, b) => a.id - b.id) : [];
  }

  group(id: number): VfioGroup | undefined {
    return this.#groups.get(id);
  }

  /** The VFIO side of a device that is on one of the drivers. */
  deviceOf(device: KernelDevice): VfioDevice | undefined {
    return this.#devices().find((candidate) => candidate.device === device);
  }

  openContainer(): ContainerFile {
    for (const container of this.#containers) if (!container.isAlive) this.#containers.delete(container);
    const container = new VfioContainer(this.#kernel);
    this.#containers.add(container);
    return new ContainerFile(container);
  }

  /** open(2) of `/dev/vfio/devices/vfioN`. */
  openCdev(device: VfioDevice): CdevFile {
    return new CdevFile(device, this.#kernel);
  }

  /** vfio-pci and vfio-platform. They take no device unasked: `driver_override` names them. */
  drivers(): readonly Driver[] {
    const common = {
      managesDma: true,
      matches: () => false,
      remove: (device: KernelDevice) => this.#unregister(device),
    };
    return [
      { ...common, name: "vfio-pci", bus: "pci", probe: (device) => this.#probePci(device) },
      { ...common, name: "vfio-platform", bus: "platform", probe: (device) => this.#probePlatform(device) },
    ];
  }

  #probePci(device: KernelDevice): void {
    const { config } = device;
    // vfio_pci_probe takes type 0 headers only.
    if (config === undefined || device.description.model.pci?.bridge === true) refuse("EINVAL");
    const { process, profile, physical } = this.#kernel;
    this.#register(device, new VfioPci(device, config, { process, profile, pageSize: physical.pageSize }));
  }

  /** vfio_platform_init_common. */
  #probePlatform(device: KernelDevice): void {
    const description = device.description as PlatformDescription;
    if (description.compatible === undefined) refuse("EINVAL");
    const { process, log, physical } = this.#kernel;
    if (this.#options.platform.resetRequired && description.resetHandler !== true) {
      log.device("vfio-platform", device.name, `VFIO: No reset function found for device ${device.name}`);
      refuse("ENOENT");
    }
    this.#register(device, new VfioPlatform(device, description, { process, log, pageSize: physical.pageSize }));
  }

  /** __vfio_register_dev. */
  #register(device: KernelDevice, operations: DeviceOperations): void {
    if (device.group === undefined || device.iommu?.coherent !== true) refuse("EINVAL");
    const group = this.#groupFor(device.group);
    group.devices.push(new VfioDevice(this.#freeId(), device, group, operations, this.#options.sysfsPath(device)));
  }

  #groupFor(iommuGroup: IommuGroup): VfioGroup {
    const group =
      this.#groups.get(iommuGroup.id) ?? new VfioGroup(iommuGroup, { ...this.#kernel, hasCdev: this.#options.cdev });
    this.#groups.set(iommuGroup.id, group);
    return group;
  }

  /** vfio_unregister_group_dev waits until nobody has the device open. Here that would be for ever. */
  #unregister(device: KernelDevice): void {
    const registered = this.deviceOf(device);
    if (registered === undefined) return;
    if (registered.isHeld) {
      throw new Error(
        `deadlock: unbinding ${device.name} waits until its descriptors are closed, by the process that waits`,
      );
    }
    const { group } = registered;
    group.devices.splice(group.devices.indexOf(registered), 1);
    if (group.devices.length > 0) return;
    group.die();
    this.#groups.delete(group.iommuGroup.id);
  }

  #devices(): VfioDevice[] {
    return [...this.#groups.values()].flatMap(({ devices }) => devices);
  }

  #freeId(): number {
    const taken = new Set(this.#devices().map(({ id }) => id));
    let id = 0;
    while (taken.has(id)) id++;
    return id;
  }
}
