import type { Clock } from "../../hw/clock.js";
import type { PlatformDescription } from "../description.js";
import type { KernelDevice } from "../drivers/device.js";
import type { Driver } from "../drivers/driver.js";
import { IommuGroup } from "../iommu/iommu-group.js";
import { refuse } from "../refusal.js";
import type { Type1Kernel } from "../type1/state.js";
import { HotReset } from "./hot-reset.js";
import { PciBuses } from "./pci-buses.js";
import { type SriovFunction, VfToken } from "./vf-token.js";
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

/** Parameters of vfio. */
export interface VfioParameters {
  /** enable_unsafe_noiommu_mode. */
  unsafeNoiommu: boolean;
}

/** How VFIO is set up. */
export interface VfioOptions {
  readonly parameters: VfioParameters;
  readonly clock: Clock;
  /** All devices of the machine. */
  readonly devices: readonly KernelDevice[];
  /** The IOMMU groups that there are without VFIO, by number. */
  readonly iommuGroups: ReadonlyMap<number, IommuGroup>;
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
  readonly #buses: PciBuses;
  /** Those of physical functions on vfio-pci. */
  readonly #tokens = new Map<string, VfToken>();
  /** The machine is up, with the virtual functions that it has. */
  #started = false;

  constructor(kernel: Type1Kernel, options: VfioOptions) {
    this.#kernel = kernel;
    this.#options = options;
    this.#buses = new PciBuses(options.devices);
  }

  /** Groups with at least one device on a VFIO driver: those that have a node. */
  get groups(): readonly VfioGroup[] {
    return [...this.#groups.values()].sort((a, b) => a.iommuGroup.id - b.iommuGroup.id);
  }

  /** Groups that VFIO made up for devices without an IOMMU. */
  get noiommuGroups(): readonly IommuGroup[] {
    return this.groups.filter(({ isNoiommu }) => isNoiommu).map(({ iommuGroup }) => iommuGroup);
  }

  /** Virtual functions come to be now: no further physical function is taken. */
  start(): void {
    this.#started = true;
  }

  /** Containers that are open or have a group, in the order they were made. */
  get containers(): readonly VfioContainer[] {
    return [...this.#containers].filter(({ isAlive }) => isAlive);
  }

  /** Devices that have a character device, by number; none where VFIO is built without. */
  get cdevs(): readonly VfioDevice[] {
    const { noiommuCdev } = this.#kernel.profile;
    return this.#options.cdev
      ? this.#devices()
          .filter(({ isLeaving, group }) => !isLeaving && (noiommuCdev || !group.isNoiommu))
          .sort((a, b) => a.id - b.id)
      : [];
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
      release: (device: KernelDevice) => this.#release(device),
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
    if (this.#started && this.#virtualFunctions(device).length > 0) {
      this.#kernel.log.device("vfio-pci", device.name, "Cannot bind to PF with SR-IOV enabled");
      refuse("EBUSY");
    }
    const { process, profile, physical, log } = this.#kernel;
    const kernel = { process, profile, pageSize: physical.pageSize, log, clock: this.#options.clock };
    const hotReset = new HotReset(device, { process, buses: this.#buses, registered: () => this.#devices() });
    this.#register(device, new VfioPci(device, config, kernel, { hotReset, sriov: this.#sriovOf(device) }));
  }

  /** Linux takes the virtual functions away with their physical function. */
  #refusePhysical(device: KernelDevice): void {
    if (this.#virtualFunctions(device).length > 0) refuse("ENOSYS", "disabling SR-IOV is not simulated");
  }

  #virtualFunctions({ name }: KernelDevice): readonly KernelDevice[] {
    return this.#options.devices.filter(
      ({ description }) => description.bus === "pci" && description.physicalFunction === name,
    );
  }

  /** vfio_pci_vf_init: a physical function gets a token, a virtual one uses that of its physical function if that has one. */
  #sriovOf(device: KernelDevice): SriovFunction {
    const { name, description } = device;
    if (description.bus === "pci" && description.physicalFunction !== undefined) {
      return { name, isVirtual: true, token: this.#tokens.get(description.physicalFunction) };
    }
    if (this.#virtualFunctions(device).length === 0) return { name, isVirtual: false, token: undefined };
    const token = new VfToken();
    this.#tokens.set(name, token);
    return { name, isVirtual: false, token };
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
    if (device.group === undefined && this.#options.parameters.unsafeNoiommu) this.#makeGroup(device);
    else if (device.group === undefined || device.iommu?.coherent !== true) refuse("EINVAL");
    const { group: iommuGroup = refuse("EINVAL") } = device;
    const group = this.#groupFor(iommuGroup);
    const namesNoiommu = this.#options.cdev && this.#kernel.profile.noiommuCdev;
    const id = this.#freeId();
    const sysfsPath = this.#options.sysfsPath(device);
    group.devices.push(new VfioDevice(id, device, group, operations, { sysfsPath, namesNoiommu }));
    const warn = (what: string) => {
      const message = `Adding kernel taint for vfio-noiommu ${what}`;
      this.#kernel.log.device(device.driverName, device.name, message);
    };
    if (group.isNoiommu) warn("group on device");
    if (group.isNoiommu && namesNoiommu) warn("cdev");
  }

  /** vfio_noiommu_group_alloc. */
  #makeGroup(device: KernelDevice): void {
    let id = 0;
    while (this.#options.iommuGroups.has(id) || this.#groups.has(id)) id++;
    device.group = new IommuGroup(id, this.#kernel.log);
  }

  #groupFor(iommuGroup: IommuGroup): VfioGroup {
    const group =
      this.#groups.get(iommuGroup.id) ?? new VfioGroup(iommuGroup, { ...this.#kernel, hasCdev: this.#options.cdev });
    this.#groups.set(iommuGroup.id, group);
    return group;
  }

  /** vfio_unregister_group_dev, up to where nobody has the device open. */
  async #release(device: KernelDevice): Promise<void> {
    this.#refusePhysical(device);
    await this.deviceOf(device)?.leave();
  }

  /** vfio_unregister_group_dev waits until nobody has the device open. Here that would be for ever. */
  #unregister(device: KernelDevice): void {
    this.#refusePhysical(device);
    const registered = this.deviceOf(device);
    if (registered === undefined) return;
    if (registered.isHeld) {
      throw new Error(
        `deadlock: unbinding ${device.name} waits until its descriptors are closed, by the process that waits`,
      );
    }
    const { group } = registered;
    if (group.isNoiommu) device.group = undefined;
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
