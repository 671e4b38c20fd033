import { IospanError } from "../errors.js";
import type { DeviceState } from "../machine/machine.js";
import type { Access } from "../vfio/container.js";
import type { Device } from "../vfio/device.js";
import { deviceRemoved } from "../vfio/removal-watch.js";
import type { AuditSubject } from "./audit.js";
import { accessOf, during, type MappingRecord } from "./ledger.js";
import { checkWithinLimits, intersectLimits, type LimitSource, type SpaceLimits } from "./limits.js";
import type { Reach } from "./map-everywhere.js";
import { mapStep } from "./map-step.js";
import { inconsistent, Rollback } from "./rollback.js";
import type { Attachment, MapTarget, Strategy } from "./strategies/strategy.js";

interface Entry {
  readonly device: Device;
  readonly attachment: Attachment;
}

/** What is remembered of a target while it exists. */
interface TargetState extends LimitSource {
  /** Mappings it took when it was empty. */
  readonly capacity: number | undefined;
}

/** The devices of a space, and where their mappings go. */
export class Interfaces {
  readonly #strategy: Strategy;
  readonly #pageSize: number;
  readonly #entries = new Map<string, Entry>();
  readonly #targets = new Map<MapTarget, TargetState>();
  /** Devices that the kernel has taken back, until they come again. */
  readonly #removed = new Map<string, Device>();
  /** Interfaces that mappings are limited to, once they were found to be there: a device may go while its mapping stays. */
  readonly #known = new WeakSet<ReadonlyMap<string, Access>>();
  readonly #onRequest: (device: Device) => void;
  /** The target of a device that is just coming in, and the mappings that it has by now. */
  #filling: { readonly target: MapTarget; readonly records: Set<MappingRecord> } | undefined;
  #limits: SpaceLimits;

  /** @param onRequest told when the kernel asks for a device back. */
  constructor(strategy: Strategy, pageSize: number, onRequest: (device: Device) => void = () => {}) {
    this.#strategy = strategy;
    this.#pageSize = pageSize;
    this.#onRequest = onRequest;
    this.#limits = intersectLimits([], pageSize);
  }

  get names(): readonly string[] {
    return [...this.#entries.keys()];
  }

  /** What every IOMMU of the present interfaces allows. */
  get limits(): SpaceLimits {
    return this.#limits;
  }

  device(name: string): Device | undefined {
    return this.#entries.get(name)?.device;
  }

  /** Whether the kernel has asked for it back. */
  isRemoved(name: string): boolean {
    return this.#removed.has(name) || this.device(name)?.removal.aborted === true;
  }

  /** Why there is no such interface. */
  missing(name: string): IospanError {
    const removed = this.#removed.get(name);
    return removed === undefined ? noSuchInterface(name, this.names) : deviceRemoved(name, removed.iommu);
  }

  /**
   * Brings a device in, with every mapping that is not limited to others, opens it and, if it was reset by that, lets it
   * master the bus.
   * `adopt` is told the new limits last, when nothing can fail any more; should it throw, everything is undone.
   */
  async attach(
    device: DeviceState,
    records: readonly MappingRecord[],
    adopt: (limits: SpaceLimits) => void,
    vfToken?: string,
  ): Promise<void> {
    const rollback = new Rollback();
    try {
      await this.#attach({ ...device, vfToken }, records, adopt, rollback);
    } catch (error) {
      const failures = rollback.run();
      throw failures.length === 0 ? error : inconsistent(`attaching ${device.name}`, error, failures);
    } finally {
      this.#filling = undefined;
    }
  }

  async #attach(
    { vfToken, ...machineDevice }: DeviceState & { readonly vfToken: string | undefined },
    records: readonly MappingRecord[],
    adopt: (limits: SpaceLimits) => void,
    rollback: Rollback,
  ): Promise<void> {
    const { name } = machineDevice;
    const attachment = await this.#strategy.attach(machineDevice, vfToken);
    rollback.did(() => throwFirst(attachment.detach()));
    const { target, fresh } = attachment;
    if (!fresh) this.#checkNotLimited(target, records, name);
    const opened = attachment.deferred ? await open(attachment, rollback) : undefined;
    const state = readState(target, this.#targets.get(target)?.capacity);
    const limits = this.#limitsWith(target, state);
    checkWithinLimits(records, limits, name);
    if (fresh) await this.#replay(target, records, name);
    const device = opened ?? (await open(attachment, rollback));
    device.watchRemoval(() => this.#onRequest(device));
    // What a device that cannot be reset was told to do before would run on: its driver says when it is ready.
    if (device.resettable) device.pciConfig?.setBusMaster(true);
    adopt(limits);
    this.#limits = limits;
    this.#filling = undefined;
    this.#targets.set(target, state);
    this.#entries.set(name, { device, attachment });
    this.#removed.delete(name);
  }

  /** {@link detach} for a device that the kernel wants back: what is limited to it stays in the ledger, and is for it again if it comes back. */
  async remove(name: string): Promise<readonly unknown[]> {
    const device = this.device(name);
    if (device !== undefined) this.#removed.set(name, device);
    return this.detach(name);
  }

  /**
   * Quiesces and releases a device. It is gone whatever happens.
   * @returns what went wrong.
   */
  async detach(name: string): Promise<readonly unknown[]> {
    const entry = this.#entries.get(name);
    if (entry === undefined) return [];
    const failures = [...(await entry.device.quiesce()), ...this.release(name)];
    this.#refreshLimits(failures);
    return failures;
  }

  /** Quiesces every device, so that none does DMA any more. @returns what went wrong. */
  async quiesceAll(): Promise<readonly unknown[]> {
    const devices = [...this.#entries.values()].map(({ device }) => device);
    // All are silent before the first reset begins, which takes its time.
    const failures = devices.flatMap((device) => device.silence());
    const resets = devices
      .filter(({ closed }) => !closed)
      .map((device) => (device.resettable ? device.resetLast() : device.callsEnded()));
    const outcomes = await Promise.allSettled(resets);
    return [...failures, ...outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason] : []))];
  }

  /** Closes a device and gives up its place. @returns what went wrong. */
  release(name: string): readonly unknown[] {
    const entry = this.#entries.get(name);
    if (entry === undefined) return [];
    this.#entries.delete(name);
    const failures = [...entry.device.release(), ...entry.attachment.detach()];
    for (const target of this.#targets.keys()) {
      if (!this.#strategy.targets.includes(target)) this.#targets.delete(target);
    }
    return failures;
  }

  /**
   * Where a mapping has to be made.
   * @throws IospanError `ERR_IOSPAN_NO_DEVICE` for an interface that the space has not, `ERR_IOSPAN_NOT_SUPPORTED` where the
   * strategy or a shared IOMMU cannot tell its interfaces apart.
   */
  reaches(access: MappingRecord["access"]): readonly Reach[] {
    if (typeof access !== "string" && !this.#known.has(access)) {
      this.#checkKnown([...access.keys()]);
      this.#known.add(access);
    }
    return [...this.#targets.keys()].flatMap((target) => {
      const shared = this.#sharedAccess(target, access);
      return shared === undefined ? [] : [{ target, access: shared }];
    });
  }

  /** Where a mapping is now: where it {@link reaches}, and in what a device that is just coming in has of it. */
  targetsWith(record: MappingRecord): readonly MapTarget[] {
    const targets = this.reaches(record.access).map(({ target }) => target);
    return this.#filling?.records.has(record) ? [...targets, this.#filling.target] : targets;
  }

  /** What each target should have, for an audit. */
  auditSubjects(records: readonly MappingRecord[]): readonly AuditSubject[] {
    return [...this.#targets].map(([target, { capacity }]) => {
      const names = this.#namesOn(target);
      const reaching = records.filter((record) => names.some((name) => accessOf(record, name) !== undefined));
      return { target, records: reaching, capacity, pageSize: this.#limits.granule };
    });
  }

  /** Registers whose device is closed meanwhile are left out: their mapping has ended, or is waiting for this to end it. */
  async #replay(target: MapTarget, records: readonly MappingRecord[], name: string): Promise<void> {
    const filled = new Set<MappingRecord>();
    this.#filling = { target, records: filled };
    for (const record of records) {
      const access = accessOf(record, name);
      if (access === undefined || record.memory.ended) continue;
      await during(record, async () => {
        await mapStep(target, record, access).later();
        filled.add(record);
      });
    }
  }

  #namesOn(target: MapTarget): readonly string[] {
    return [...this.#entries].filter(([, { attachment }]) => attachment.target === target).map(([name]) => name);
  }

  #checkKnown(names: readonly string[]): void {
    if (!this.#strategy.perInterface) {
      throw new IospanError(
        "ERR_IOSPAN_NOT_SUPPORTED",
        `with the strategy "${this.#strategy.name}" a mapping reaches every interface, the same for all`,
        { hint: 'open the space with { strategy: "mirrored" }' },
      );
    }
    const unknown = names.find((name) => !this.#entries.has(name));
    if (unknown !== undefined) throw this.missing(unknown);
  }

  #sharedAccess(target: MapTarget, access: MappingRecord["access"]): Access | undefined {
    const names = this.#namesOn(target);
    const wanted = new Set(names.map((name) => (typeof access === "string" ? access : access.get(name))));
    if (wanted.size <= 1) return [...wanted][0];
    throw new IospanError(
      "ERR_IOSPAN_NOT_SUPPORTED",
      `${names.join(" and ")} share an IOMMU and what is mapped in it`,
      {
        iommu: target.iommus,
        hint: "name them all, with the same access",
      },
    );
  }

  #checkNotLimited(target: MapTarget, records: readonly MappingRecord[], name: string): void {
    const others = this.#namesOn(target);
    const limited = records.find((record) => {
      const own = accessOf(record, name);
      return typeof record.access !== "string" && others.some((other) => accessOf(record, other) !== own);
    });
    if (limited === undefined) return;
    throw new IospanError(
      "ERR_IOSPAN_NOT_SUPPORTED",
      `${name} shares an IOMMU with ${others.join(" and ")}, which have mappings that are limited to them`,
      { device: name, iommu: target.iommus, hint: "unmap those first, or map for all interfaces" },
    );
  }

  #limitsWith(target: MapTarget, state: TargetState): SpaceLimits {
    const states = new Map(this.#targets).set(target, state);
    return intersectLimits([...states.values()], this.#pageSize);
  }

  /** A device that left may have been the one that kept IOVAs from the others. */
  #refreshLimits(failures: unknown[]): void {
    if (this.#targets.size === 0) return;
    try {
      for (const [target, { capacity }] of this.#targets) this.#targets.set(target, readState(target, capacity));
    } catch (error) {
      // The old limits are narrower, so they stay safe.
      failures.push(error);
    }
    this.#limits = intersectLimits([...this.#targets.values()], this.#pageSize);
  }
}

async function open(attachment: Attachment, rollback: Rollback): Promise<Device> {
  const device = await attachment.openDevice();
  rollback.did(() => throwFirst(device.release()));
  device.ownBySpace();
  return device;
}

/** An empty target's number of available mappings is its capacity; a known capacity is kept. */
function readState(target: MapTarget, capacity: number | undefined): TargetState {
  const info = target.info();
  return { iommus: target.iommus, info, capacity: capacity ?? info.available };
}

function noSuchInterface(name: string, names: readonly string[]): IospanError {
  return new IospanError("ERR_IOSPAN_NO_DEVICE", `the space has no interface ${name}`, {
    device: name,
    hint: names.length === 0 ? "attach a device first" : `it has ${names.join(", ")}`,
  });
}

function throwFirst(failures: readonly unknown[]): void {
  if (failures.length > 0) throw failures[0];
}
