import { BoundDevice } from "../../iommufd/bound-device.js";
import { noCdev } from "../../iommufd/cdev-refusals.js";
import { Ioas } from "../../iommufd/ioas.js";
import { Iommufd } from "../../iommufd/iommufd.js";
import { requireIommu } from "../../machine/iommus.js";
import type { DeviceState } from "../../machine/machine.js";
import type { Syscalls } from "../../syscalls/syscalls.js";
import { Device } from "../../vfio/device.js";
import { failuresOf, withFailures } from "../../vfio/failures.js";
import { refuseSilentAttach } from "./attach-regression.js";
import type { Attachment, MapTarget, Strategy, StrategyName } from "./strategy.js";

/** How devices come to translate what an address space maps. */
export interface Attaching {
  /** @throws IospanError when the device cannot be attached; nothing has changed then. */
  attach(device: BoundDevice): Promise<void>;
}

/** How an address space is set up, when its first device comes. */
export type MakeAttaching = (iommufd: Iommufd, ioas: Ioas) => Attaching;

interface Place {
  readonly iommufd: Iommufd;
  readonly ioas: Ioas;
  readonly attaching: Attaching;
  /** The devices in it, which says by which IOMMUs. */
  readonly devices: Set<BoundDevice>;
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

  async attach(device: DeviceState): Promise<Attachment> {
    const identity = identify(device);
    const others = Array.from(this.#place?.devices ?? [], ({ iommu }) => iommu);
    const { name, iommu } = identity;
    refuseSilentAttach(this.#syscalls, { strategy: this.name, device: name, iommu, others });
    const fresh = this.#place === undefined;
    const place = this.#place ?? (await this.#open(name, iommu));
    try {
      const bound = await enter(place, identity);
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
      return { iommufd, ioas, attaching: this.#makeAttaching(iommufd, ioas), devices: new Set() };
    } catch (error) {
      throw withFailures(
        error,
        failuresOf(() => iommufd.close()),
      );
    }
  }

  #leave(place: Place, bound: BoundDevice): readonly unknown[] {
    place.devices.delete(bound);
    const failures = failuresOf(() => bound.close());
    if (place.devices.size > 0) return failures;
    this.#place = undefined;
    return [...failures, ...close(place)];
  }
}

function identify(device: DeviceState) {
  const { group } = requireIommu(device);
  const { name, bus, vfioDevice: node } = device;
  const iommu = device.iommu?.name ?? `the IOMMU of group ${group}`;
  if (node === undefined) throw noCdev(name, iommu);
  return { name, bus, iommu, group, node };
}

async function enter({ iommufd, attaching, devices }: Place, identity: ReturnType<typeof identify>) {
  const bound = await BoundDevice.open(iommufd, identity);
  try {
    await attaching.attach(bound);
  } catch (error) {
    throw withFailures(
      error,
      failuresOf(() => bound.close()),
    );
  }
  devices.add(bound);
  return bound;
}

/** With the iommufd go its address spaces and page tables. */
function close({ iommufd, ioas }: Place): readonly unknown[] {
  return failuresOf(
    () => ioas.close(),
    () => iommufd.close(),
  );
}
