import { BoundDevice } from "../../iommufd/bound-device.js";
import { noCdev } from "../../iommufd/cdev-refusals.js";
import { Ioas } from "../../iommufd/ioas.js";
import { Iommufd } from "../../iommufd/iommufd.js";
import { requireIommu } from "../../machine/iommus.js";
import type { DeviceState } from "../../machine/machine.js";
import type { Syscalls } from "../../syscalls/syscalls.js";
import { Device } from "../../vfio/device.js";
import { failuresOf, withFailures } from "../../vfio/failures.js";
import { requireEffect } from "./attach-regression.js";
import type { Attachment, MapTarget, Strategy, StrategyName } from "./strategy.js";

/** How devices come to translate what an address space maps. */
export interface Attaching {
  /**
   * @returns the number of the page table that the device uses then
   * @throws IospanError when the device cannot be attached; nothing has changed then.
   */
  attach(device: BoundDevice): Promise<number>;
}

/** How an address space is set up, when its first device comes. */
export type MakeAttaching = (iommufd: Iommufd, ioas: Ioas) => Attaching;

interface Place {
  readonly iommufd: Iommufd;
  readonly ioas: Ioas;
  readonly attaching: Attaching;
  /** The devices in it, and the numbers of the page tables they use. */
  readonly tables: Map<BoundDevice, number>;
}

/** Strategies over one I/O address space of an iommufd. They differ in one thing: what devices are attached to. */
export class IommufdStrategy implements Strategy {
  readonly name: StrategyName;
  readonly perInterface = false;
  readonly #syscalls: Syscalls;
  readonly #makeAttaching: MakeAttaching;
  #place: Place | undefined;

  constructor(syscalls: Syscalls, name: StrategyName, makeAttaching: MakeAttaching) {
    this.#syscalls = syscalls;
    this.name = name;
    this.#makeAttaching = makeAttaching;
  }

  get targets(): readonly MapTarget[] {
    return this.#place === undefined ? [] : [this.#place.ioas];
  }

  async attach(device: DeviceState, vfToken?: string): Promise<Attachment> {
    const identity = identify(device);
    const fresh = this.#place === undefined;
    const place = this.#place ?? (await this.#open(identity.name, identity.iommu));
    try {
      const bound = await this.#enter(place, identity, vfToken);
      this.#place = place;
      return {
        target: place.ioas,
        fresh,
        openDevice: () => Device.open(this.#syscalls, bound, identity),
        detach: () => this.#leave(place, bound),
      };
    } catch (error) {
      throw fresh ? withFailures(error, close(place)) : error;
    }
  }

  async #open(device: string, iommu: string): Promise<Place> {
    const about = { device, iommu };
    const iommufd = await Iommufd.open(this.#syscalls, about);
    try {
      const ioas = Ioas.allocate(iommufd, about);
      return { iommufd, ioas, attaching: this.#makeAttaching(iommufd, ioas), tables: new Map() };
    } catch (error) {
      throw withFailures(
        error,
        failuresOf(() => iommufd.close()),
      );
    }
  }

  async #enter(place: Place, identity: Identity, vfToken: string | undefined): Promise<BoundDevice> {
    const bound = await BoundDevice.open(place.iommufd, identity, vfToken);
    try {
      const table = await place.attaching.attach(bound);
      const others = [...place.tables].filter(([, used]) => used === table).map(([{ iommu }]) => iommu);
      const { name: device, iommu } = identity;
      requireEffect(this.#syscalls, { strategy: this.name, device, iommu, others });
      place.tables.set(bound, table);
      return bound;
    } catch (error) {
      throw withFailures(
        error,
        failuresOf(() => bound.close()),
      );
    }
  }

  #leave(place: Place, bound: BoundDevice): readonly unknown[] {
    place.tables.delete(bound);
    const failures = failuresOf(() => bound.close());
    if (place.tables.size > 0) return failures;
    this.#place = undefined;
    return [...failures, ...close(place)];
  }
}

type Identity = ReturnType<typeof identify>;

function identify(device: DeviceState) {
  const { group } = requireIommu(device);
  const { name, bus, vfioDevice: node } = device;
  const iommu = device.iommu?.name ?? `the IOMMU of group ${group}`;
  if (node === undefined) throw noCdev(name, iommu);
  return { name, bus, iommu, group, node };
}

/** With the iommufd go its address spaces and page tables. */
function close({ iommufd, ioas }: Place): readonly unknown[] {
  return failuresOf(
    () => ioas.close(),
    () => iommufd.close(),
  );
}
