import { IospanError } from "../errors.js";
import type { IovaRange } from "../iova.js";
import { kernelName } from "../machine/device-name.js";
import { requireIommu } from "../machine/iommus.js";
import type { DeviceState, Machine } from "../machine/machine.js";
import { Snapshot } from "../machine/snapshot.js";
import { requireVfioDriver } from "../machine/vfio-drivers.js";
import { checkOptions, type KnownOptions } from "../options.js";
import type { Device } from "../vfio/device.js";
import { failuresOf } from "../vfio/failures.js";
import { unexplained, withFacts } from "../vfio/refusal.js";
import { Region } from "../vfio/region.js";
import { checkTakesToken } from "../vfio/vf-token.js";
import { type AuditReport, audit } from "./audit.js";
import { type DeviceRequest, type WantedDevice, wantedDevice } from "./device-request.js";
import { contiguousUnit, DmaMemory, type DmaMemoryOptions } from "./dma-memory.js";
import { Interfaces } from "./interfaces.js";
import type { ExplainedIovaRanges, ExplainedPageSizes } from "./iova-ranges.js";
import type { MappingRecord } from "./ledger.js";
import type { SpaceLimits } from "./limits.js";
import type { MapOptions } from "./map-request.js";
import { DmaBuffer, Mapping, type MappingOwner } from "./mapping.js";
import { Mappings } from "./mappings.js";
import { Opening, type OpeningSpace, type OpenOptions } from "./opening.js";
import { OperationGate } from "./operation-gate.js";
import { requireNoPeers, requireSameMachine } from "./peer-region.js";
import { type PeerToPeer, peerToPeer } from "./peer-to-peer.js";
import { type OnRemoval, type RemovalHost, Removals } from "./removals.js";
import { closedError, incomplete, notDmaMemory } from "./space-errors.js";
import type { StrategyTrial } from "./strategies/auto.js";
import type { Strategy, StrategyName } from "./strategies/strategy.js";

export type { OpenOptions } from "./opening.js";

/** How {@link IoAddressSpace.allocate} makes a buffer. */
export interface AllocateBufferOptions
  extends Pick<MapOptions, "iova" | "access" | "interfaces">,
    Pick<DmaMemoryOptions, "hugePages" | "backing"> {}

const MAP_OPTIONS: KnownOptions<MapOptions> = { iova: true, access: true, interfaces: true, offset: true, size: true };
const ALLOCATE_OPTIONS: KnownOptions<AllocateBufferOptions> = {
  iova: true,
  access: true,
  interfaces: true,
  hugePages: true,
  backing: true,
};

/**
 * One I/O address space over all interfaces of a device, or over several devices: what is mapped, is mapped at the same
 * IOVA for each, whichever IOMMU it is behind.
 *
 * Guarantees: after any call, every interface has the mappings of {@link mappings} and no others, except registers that a reset
 * of their device took from an iommufd ({@link Mapping.revoked}); a call that throws has
 * undone what it did. Where undoing failed the call throws `ERR_IOSPAN_INCONSISTENT`, {@link broken} says why, and only
 * {@link close} (which always releases everything), {@link audit} and unmapping are left. An IOVA is used again only when
 * no IOMMU translates it any more.
 */
export class IoAddressSpace implements AsyncDisposable {
  /** Which strategy was chosen, and why the others were not: those before it were tried, those after it were not. */
  readonly plan: readonly StrategyTrial[];
  readonly #machine: Machine;
  readonly #strategy: Strategy;
  readonly #interfaces: Interfaces;
  readonly #mappings: Mappings;
  readonly #gate = new OperationGate();
  readonly #late: unknown[] = [];
  #closed = false;

  private constructor(
    machine: Machine,
    strategy: Strategy,
    plan: readonly StrategyTrial[],
    onRemoval: OnRemoval | undefined,
  ) {
    const { pageSize } = machine.syscalls;
    this.plan = plan;
    this.#machine = machine;
    this.#strategy = strategy;
    const { requested } = new Removals(this.#removalHost, onRemoval);
    this.#interfaces = new Interfaces(strategy, pageSize, requested);
    this.#mappings = new Mappings(this.#interfaces, pageSize);
  }

  /**
   * Opens devices into one address space. They must be bound to a VFIO driver.
   * @param devices the kernel's names, one or more: `0000:02:00.0`, `9030000.dma-port`; with a VF token where SR-IOV takes one.
   * @throws IospanError saying which device, IOMMU and call refused, and what to do; nothing is left open.
   * `ERR_IOSPAN_VERIFY_FAILED` where `options.verify` threw, with that as the cause.
   */
  static async open(
    machine: Machine,
    devices: readonly DeviceRequest[],
    options: OpenOptions = {},
  ): Promise<IoAddressSpace> {
    return new Opening(machine, devices, options).run((strategy, plan) => {
      return new IoAddressSpace(machine, strategy, plan, options.onRemoval).#opening;
    });
  }

  /** The mechanism in use. */
  get strategy(): StrategyName {
    return this.#strategy.name;
  }

  /** Where mappings may lie: what every IOMMU allows, and who removed the rest. */
  get iovaRanges(): ExplainedIovaRanges {
    return this.#interfaces.limits.iovaRanges;
  }

  /** The page sizes that every IOMMU supports, and who lacks the others. */
  get pageSizes(): ExplainedPageSizes {
    return this.#interfaces.limits.pageSizes;
  }

  /** Bytes that IOVA, address and size of every mapping are a multiple of. */
  get granule(): number {
    return this.#interfaces.limits.granule;
  }

  /** The kernel's names of the devices in the space. */
  get interfaces(): readonly string[] {
    return this.#interfaces.names;
  }

  /** What is mapped, ascending by IOVA. */
  get mappings(): readonly Mapping[] {
    return this.#mappings.records.map((record) => new Mapping(this.#owner, record));
  }

  /** Where the last 64 mappings were that have ended, the latest last: what a device that is late still has in mind. */
  get recentlyUnmapped(): readonly IovaRange[] {
    return this.#mappings.recentlyUnmapped;
  }

  /** Why the space takes no more work: a failure that could not be undone. */
  get broken(): IospanError | undefined {
    return this.#mappings.broken;
  }

  /**
   * What went wrong where no call was there to throw it, in the order it happened: a device that the kernel asked for back
   * ({@link OpenOptions.onRemoval}) or a mapping at the end of its `using` block, while the space attached or detached. The device
   * and the mapping are out all the same. {@link close} throws `ERR_IOSPAN_CLOSE_INCOMPLETE` with what there is by then; what
   * comes later, is here alone.
   */
  get lateFailures(): readonly unknown[] {
    return [...this.#late];
  }

  /** {@link close} was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * A device of the space: its regions, interrupts and reset. The space closes it, so do not declare it with `using`.
   * Its DMA is let loose once it is attached if the kernel could reset it; else its `pciConfig.setBusMaster(true)` does,
   * when what it was told before is known to be harmless.
   * @throws IospanError `ERR_IOSPAN_NO_DEVICE` when it is not in the space, `ERR_IOSPAN_DEVICE_REMOVED` when the kernel has
   * taken it back.
   */
  interface(name: string): Device {
    if (this.#closed) throw closedError();
    const device = this.#interfaces.device(kernelName(name));
    if (device === undefined) throw this.#interfaces.missing(kernelName(name));
    return device;
  }

  /**
   * Memory and IOVA in one: a buffer that every interface can read and write, until it is freed.
   * Pins the memory before it returns; for very large buffers use {@link DmaMemory.allocate} and {@link map}.
   * @param size bytes, rounded up to whole pages; to 2 MiB where the {@link granule} is larger than the processor's pages and
   * `options.hugePages` is not `no`: the IOMMUs' pages must be physically contiguous, which only huge pages are.
   */
  allocate(size: number | bigint, options: AllocateBufferOptions = {}): DmaBuffer {
    return this.#gate.now("allocate()", () => {
      this.#checkUsable();
      checkOptions("allocate()", options, ALLOCATE_OPTIONS);
      const alignment = contiguousUnit(this.granule, this.#machine, options);
      const memory = DmaMemory.allocate(this.#machine, size, { ...options, alignment });
      try {
        return new DmaBuffer(this.#owner, this.#mappings.mapNow(memory, { ...options, ownsMemory: true }), memory);
      } catch (error) {
        // After a failure that could not be undone a device may still see it: then it stays until the space is closed.
        if (this.broken === undefined) memory.release();
        throw error;
      }
    });
  }

  /**
   * Maps memory of the caller's on every interface, or on those in `options.interfaces`. The memory cannot be released
   * while it is mapped.
   *
   * With a region of a device, in this space or open elsewhere on the same machine, its registers are mapped: the interfaces
   * reach them by DMA, peer to peer, where {@link peerToPeer} says that it is supported. A device of the space cannot be
   * detached meanwhile. When a device with mapped registers is closed, or the kernel takes it back, those mappings end before,
   * and what is under way with them is waited for.
   * After a reset, and from when the device does not decode memory, they differ: with type1 they stay
   * (drivers/vfio/pci/vfio_pci_core.c, vfio_pci_zap_bars takes them from processes only); with iommufd no IOMMU translates
   * them any more, for good, though the kernel counts them as mapped (drivers/iommu/iommufd/pages.c, iopt_revoke_notify):
   * unmap them and map them anew. {@link Mapping.revoked} says which of these causes are noticed.
   * @throws IospanError when an argument is wrong or a kernel refuses; it is mapped nowhere then. For a region also
   * `ERR_IOSPAN_NOT_SUPPORTED` where {@link peerToPeer} says that it is not, `ERR_IOSPAN_MAP_MEMORY` while its device does not
   * decode memory, `ERR_IOSPAN_RELEASED` when its device is closed.
   */
  map(memory: DmaMemory | Region, options: MapOptions = {}): Promise<Mapping> {
    return this.#gate.shared(async () => {
      this.#checkUsable();
      checkOptions("map()", options, MAP_OPTIONS);
      if (memory instanceof Region) {
        return new Mapping(this.#owner, await this.#mappings.mapRegion(memory, options, this.#machine));
      }
      if (!(memory instanceof DmaMemory)) throw notDmaMemory();
      memory.requireOf(this.#machine);
      return new Mapping(this.#owner, await this.#mappings.mapLater(memory, options));
    });
  }

  /**
   * Whether a region can be mapped for the interfaces of the space, how, and if not, why and what to do. The kernel is asked;
   * nothing is mapped for any device. Whether the bus between two devices carries their accesses, only DMA tells.
   * @param region of a device of this space, or of any open one on the same machine
   * @throws IospanError `ERR_IOSPAN_RELEASED` when its device is closed.
   */
  peerToPeer(region: Region): PeerToPeer {
    this.#checkUsable();
    requireSameMachine(region, this.#machine);
    return peerToPeer(region, this.#strategy.targets);
  }

  /** Unmaps a mapping of this space; the same as its own `unmap()`. */
  async unmap(mapping: Mapping): Promise<void> {
    if (!(mapping instanceof Mapping)) {
      throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", "what is unmapped is a Mapping", {
        hint: "map() and allocate() give one; space.mappings lists them",
      });
    }
    if (!mapping.isOf(this.#owner)) {
      throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", "the mapping is another space's", {
        hint: "mapping.unmap() unmaps it where it belongs",
      });
    }
    await mapping.unmap();
  }

  /**
   * Brings another device in. Every mapping is replayed to it, or nothing happens: a mapping that its IOMMU cannot have
   * is an error that names it.
   * @throws IospanError as {@link open} does, and nothing has changed: `ERR_IOSPAN_ATTACH_REFUSED` where the kernel does not let it
   * in or its IOMMU cannot have a mapping, `ERR_IOSPAN_VF_TOKEN` where a VF token is missing, wrong or not asked for,
   * `ERR_IOSPAN_INVALID_ARGUMENT` for a device that is in the space already, a token that is no UUID, and one for a device that is
   * not PCI's.
   */
  attach(device: DeviceRequest): Promise<void> {
    return this.#gate.alone(async () => {
      this.#checkUsable();
      await this.#attach(wantedDevice(device), new Snapshot(this.#machine));
    });
  }

  /**
   * Quiesces a device and takes it out. The others keep their mappings, and without any device they are kept for the next.
   * @throws IospanError `ERR_IOSPAN_BUSY` when a mapping is limited to it, or is of its registers; `ERR_IOSPAN_CLOSE_INCOMPLETE` when it is out but
   * a step on the way failed.
   */
  detach(device: string): Promise<void> {
    return this.#gate.alone(async () => {
      this.#checkUsable();
      const leaving = this.interface(device);
      const { name, iommu } = leaving;
      this.#checkNotNamed(name);
      requireNoPeers(leaving);
      const failures = await this.#interfaces.detach(name);
      if (this.interfaces.length > 0) this.#mappings.adopt(this.#interfaces.limits);
      if (failures.length > 0) throw incomplete(`${name} is detached`, failures, { device: name, iommu });
    });
  }

  /**
   * Asks the kernel whether every container has exactly the mappings of the space, without changing anything. What the
   * kernel made of a container's mappings in the IOMMUs behind it cannot be asked; only DMA tells. Mappings that are known to be
   * {@link Mapping.revoked} are differences, too.
   * @throws IospanError `ERR_IOSPAN_BUSY` while operations are under way.
   */
  audit(): AuditReport {
    if (this.#closed) throw closedError();
    if (!this.#gate.idle) {
      throw new IospanError("ERR_IOSPAN_BUSY", "audit() while operations are under way", { hint: "await them first" });
    }
    return audit(this.#interfaces.auditSubjects(this.#mappings.records));
  }

  /**
   * Ends the space, in the only order that is safe: interrupts off, bus mastering off, registers taken back from other spaces,
   * reset, unmap, close. A second call does nothing.
   * @throws IospanError `ERR_IOSPAN_CLOSE_INCOMPLETE` when a step failed; everything is released all the same, except registers
   * that another space maps and cannot unmap: those are held until that one is closed, and an error among the causes says so.
   */
  close(): Promise<void> {
    return this.#gate.alone(async () => {
      if (this.#closed) return;
      this.#closed = true;
      const failures = [...this.#late, ...(await this.#interfaces.quiesceAll()), ...this.#mappings.unmapAll()];
      for (const name of this.interfaces) failures.push(...this.#interfaces.release(name));
      failures.push(...this.#mappings.releaseAll());
      if (failures.length > 0) throw incomplete("the space is closed", failures);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** What mappings get to see of the space: unmapping, in its turn. */
  readonly #owner: MappingOwner = {
    has: (record) => this.#mappings.has(record),
    unmapNow: (record) => this.#gate.now("unmapping", () => this.#mappings.unmapNow(record)),
    dispose: (record) => this.#dispose(record),
    unmapLater: (record) => this.#gate.shared(() => this.#mappings.unmapLater(record)),
  };

  /**
   * The end of a `using` block cannot wait and must not throw for what goes on elsewhere: while the space attaches or
   * detaches the mapping is unmapped right after, and while it closes it goes anyhow. close() tells if that failed.
   */
  #dispose(record: MappingRecord): void {
    if (this.#closed) return;
    if (!this.#gate.occupied) {
      this.#mappings.unmapNow(record);
      return;
    }
    const later = this.#gate.shared(() => this.#mappings.unmapLater(record));
    later.catch((error: unknown) => this.#late.push(error));
  }

  /** What its opening gets to see. */
  readonly #opening: OpeningSpace = {
    space: this,
    attach: (device, snapshot) => this.#gate.alone(() => this.#attach(device, snapshot)),
    isRemoved: (name) => this.#interfaces.isRemoved(name),
  };

  /** What becomes of devices that the kernel asks back. */
  readonly #removalHost: RemovalHost = {
    takeOut: (device) => this.#gate.alone(() => this.#takeOut(device)),
    keep: (failures) => this.#late.push(...failures),
  };

  /** Whatever state the space is in: the kernel waits. */
  async #takeOut(device: Device): Promise<readonly unknown[]> {
    if (this.#closed || this.#interfaces.device(device.name) !== device) return [];
    const failures = await this.#interfaces.remove(device.name);
    if (this.interfaces.length === 0) return failures;
    return [...failures, ...failuresOf(() => this.#mappings.adopt(this.#interfaces.limits))];
  }

  async #attach({ name, vfToken }: WantedDevice, snapshot: Snapshot): Promise<void> {
    let about: { device: string; iommu?: string | undefined } = { device: name };
    try {
      const device = snapshot.device(name);
      about = { device: device.name, iommu: device.iommu?.name };
      if (vfToken !== undefined) checkTakesToken(device);
      this.#checkAttachable(device, snapshot);
      const adopt = (limits: SpaceLimits) => this.#mappings.adopt(limits);
      await this.#interfaces.attach(device, this.#mappings.records, adopt, vfToken);
    } catch (error) {
      throw this.#mappings.noteBroken(withFacts(unexplained(error, `attaching ${about.device}`, about), about));
    }
  }

  #checkAttachable(device: DeviceState, snapshot: Snapshot): void {
    if (this.interfaces.includes(device.name)) {
      throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${device.name} is in the space already`, {
        device: device.name,
        hint: "name every device once",
      });
    }
    // A device that no driver has probed yet may have no group yet, so that says nothing of its IOMMU.
    if (device.driver !== undefined) requireIommu(device);
    requireVfioDriver(snapshot, device);
    requireIommu(device);
  }

  #checkUsable(): void {
    if (this.#closed) throw closedError();
    if (this.broken !== undefined) throw this.broken;
  }

  #checkNotNamed(name: string): void {
    const naming = (record: MappingRecord) => typeof record.access !== "string" && record.access.has(name);
    const limited = this.#mappings.records.filter(naming).length;
    if (limited === 0) return;
    throw new IospanError(
      "ERR_IOSPAN_BUSY",
      `${name} is among the interfaces that ${limited} ${limited === 1 ? "mapping is" : "mappings are"} limited to`,
      {
        device: name,
        hint: "unmap them before detaching it",
      },
    );
  }
}
