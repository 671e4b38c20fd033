import { IospanError } from "../../errors.js";
import { requireIommu } from "../../machine/iommus.js";
import type { DeviceState } from "../../machine/machine.js";
import type { Syscalls } from "../../syscalls/syscalls.js";
import { Container } from "../../vfio/container.js";
import { Device } from "../../vfio/device.js";
import { failuresOf, withFailures } from "../../vfio/failures.js";
import { Group } from "../../vfio/group.js";
import { refuseSilentAttach } from "./attach-regression.js";
import type { Attachment, MapTarget, Strategy, StrategyName } from "./strategy.js";

/** Which container a device's group goes into: those with the same key share one. */
export type ContainerKey = (iommu: string) => string;

interface OpenGroup {
  readonly group: Group;
  readonly key: string;
  /** Devices attached through it. */
  users: number;
}

/**
 * Strategies over VFIO type1 containers, or what stands in for them. They differ in one thing: which groups share a container.
 */
export class ContainerStrategy implements Strategy {
  readonly name: StrategyName;
  readonly perInterface: boolean;
  readonly #syscalls: Syscalls;
  readonly #keyOf: ContainerKey;
  readonly #containers = new Map<string, Container>();
  readonly #groups = new Map<number, OpenGroup>();

  constructor(syscalls: Syscalls, name: StrategyName, perInterface: boolean, keyOf: ContainerKey) {
    this.#syscalls = syscalls;
    this.name = name;
    this.perInterface = perInterface;
    this.#keyOf = keyOf;
  }

  get targets(): readonly MapTarget[] {
    return [...this.#containers.values()];
  }

  async attach(device: DeviceState, vfToken?: string): Promise<Attachment> {
    const { group: id } = requireIommu(device);
    // A driver that does not list its IOMMUs in sysfs leaves only the group to go by: then each gets its own container.
    const iommu = device.iommu?.name ?? `the IOMMU of group ${id}`;
    const identity = { name: device.name, bus: device.bus, iommu };
    const before = this.#containers.size;
    const open = this.#groups.get(id) ?? (await this.#openGroup({ id, iommu, device: device.name }));
    open.users += 1;
    const target = this.#container(open.key);
    return {
      target,
      fresh: this.#containers.size > before,
      deferred: target.kind === "iommufd",
      openDevice: () => Device.open(this.#syscalls, open.group, identity, vfToken),
      detach: () => this.#leave(open),
    };
  }

  async #openGroup(identity: { id: number; iommu: string; device: string }): Promise<OpenGroup> {
    const key = this.#keyOf(identity.iommu);
    const group = await Group.open(this.#syscalls, identity);
    try {
      await this.#join(key, group);
    } catch (error) {
      throw withFailures(
        error,
        failuresOf(() => group.close()),
      );
    }
    const open = { group, key, users: 0 };
    this.#groups.set(identity.id, open);
    return open;
  }

  async #join(key: string, group: Group): Promise<void> {
    const existing = this.#containers.get(key);
    const others = [...(existing?.groups ?? [])].map(({ iommu }) => iommu);
    const { device, iommu } = group;
    refuseSilentAttach(this.#syscalls, { strategy: this.name, device, iommu, others });
    const container = existing ?? (await Container.open(this.#syscalls, { device, iommu }));
    try {
      container.attach(group);
    } catch (error) {
      throw existing === undefined
        ? withFailures(
            error,
            failuresOf(() => container.close()),
          )
        : error;
    }
    if (existing !== undefined) requireCommonPages(container, group, others);
    this.#containers.set(key, container);
  }

  #container(key: string): Container {
    const container = this.#containers.get(key);
    if (container === undefined) throw new RangeError(`no container for ${key}`);
    return container;
  }

  #leave(open: OpenGroup): readonly unknown[] {
    open.users -= 1;
    if (open.users > 0) return [];
    const { group, key } = open;
    const container = this.#container(key);
    this.#groups.delete(group.id);
    // Closing the group takes it out of the container too, should the container not let go of it.
    const steps = [() => container.detach(group), () => group.close()];
    if ([...container.groups].every((other) => other === group)) {
      this.#containers.delete(key);
      steps.push(() => container.close());
    } else {
      steps.push(() => container.forget(group));
    }
    return failuresOf(...steps);
  }
}

/**
 * A container whose IOMMUs have no page size in common says 0 for them (vfio_update_pgsize_bitmap): what its mappings
 * have to be multiples of is then not known, neither here nor to the kernel's own checks. Refused with the group outside.
 */
function requireCommonPages(container: Container, group: Group, others: readonly string[]): void {
  const { device, iommu } = group;
  try {
    if (container.info().pageSizes !== 0n) return;
    throw new IospanError(
      "ERR_IOSPAN_ATTACH_REFUSED",
      `${iommu}, which ${device} is behind, has no page size in common with ${others.join(", ")} in one container`,
      { device, iommu, hint: 'open the space with { strategy: "mirrored" }, which maps what is a multiple of both' },
    );
  } catch (error) {
    // Should the container not let go of it, closing the group takes it out.
    if (failuresOf(() => container.detach(group)).length > 0) container.forget(group);
    throw error;
  }
}
