import { IospanError } from "../errors.js";
import { kernelName } from "../machine/device-name.js";
import type { Machine } from "../machine/machine.js";
import { Snapshot } from "../machine/snapshot.js";
import { checkOptions, type KnownOptions } from "../options.js";
import { checkTakesToken } from "../vfio/vf-token.js";
import { type DeviceRequest, type WantedDevice, wantedDevice } from "./device-request.js";
import type { IoAddressSpace } from "./io-address-space.js";
import type { OnRemoval } from "./removals.js";
import { inconsistent } from "./rollback.js";
import {
  afterOthers,
  checkOnRemoval,
  checkVerify,
  closedByVerify,
  isStrategys,
  notVerified,
  removedWhileOpening,
} from "./space-errors.js";
import { candidates, type StrategyTrial } from "./strategies/auto.js";
import type { Strategy, StrategyName } from "./strategies/strategy.js";

/** How {@link IoAddressSpace.open} opens a space. */
export interface OpenOptions {
  /** `auto`, the default, takes the first that works and says why in {@link IoAddressSpace.plan}. */
  readonly strategy?: StrategyName | "auto" | undefined;
  /**
   * The caller's own proof that every device reaches memory, such as a small transfer by each: it is given the space when all
   * devices are attached, before {@link IoAddressSpace.open} resolves. Where it throws, the space is closed; `auto` goes on to
   * the next strategy. Kernels have been seen that attach a device without effect, which a container does not tell: DMA does.
   */
  readonly verify?: ((space: IoAddressSpace) => Promise<void> | void) | undefined;
  /**
   * Called when the kernel asks for a PCI device back, because it is unplugged or unbound from vfio-pci, right after
   * {@link Device.removal} was aborted; to have a driver end its work. It is awaited, then the space takes the device out as
   * {@link IoAddressSpace.detach} does, and the kernel goes on. The other devices keep working, and mappings that are limited to
   * the one stay, for it to have again should it be attached again. What this function throws, and what goes wrong on the way
   * out, is in {@link IoAddressSpace.lateFailures} as soon as it happens.
   */
  readonly onRemoval?: OnRemoval | undefined;
}

const KNOWN: KnownOptions<OpenOptions> = { strategy: true, verify: true, onRemoval: true };

/** A space without devices, and what its opening needs of it. */
export interface OpeningSpace {
  readonly space: IoAddressSpace;
  /** Brings a device in, in its turn. */
  attach(device: WantedDevice, snapshot: Snapshot): Promise<void>;
  /** Whether the kernel has asked for the device of that name back. */
  isRemoved(name: string): boolean;
}

/** The way to a space with all its devices: strategy by strategy, until all are attached and the caller believes it. */
export class Opening {
  readonly #machine: Machine;
  readonly #wanted: readonly WantedDevice[];
  readonly #options: OpenOptions;
  readonly #snapshot: Snapshot;

  /** @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT`, and `ERR_IOSPAN_NO_DEVICE` for one that is named with a token. */
  constructor(machine: Machine, devices: readonly DeviceRequest[], options: OpenOptions) {
    if (!Array.isArray(devices) || devices.length === 0) {
      throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", "a space needs a list of devices", {
        hint: 'name one or more: ["0000:02:00.0"]',
      });
    }
    checkOptions("IoAddressSpace.open()", options, KNOWN);
    checkVerify(options.verify);
    checkOnRemoval(options.onRemoval);
    this.#machine = machine;
    this.#wanted = devices.map(wantedDevice);
    this.#options = options;
    this.#snapshot = new Snapshot(machine);
    for (const { name, vfToken } of this.#wanted) {
      if (vfToken !== undefined) checkTakesToken(this.#snapshot.device(name));
    }
  }

  /**
   * @param make makes a space without devices.
   * @throws IospanError of the last strategy that was tried; every space that was made is closed.
   */
  async run(make: (strategy: Strategy, plan: readonly StrategyTrial[]) => OpeningSpace): Promise<IoAddressSpace> {
    const passedOver: StrategyTrial[] = [];
    const { strategy = "auto" } = this.#options;
    for (const { name, make: makeStrategy, reason, rest } of candidates(this.#machine, strategy)) {
      const opening = make(makeStrategy(), [...passedOver, { strategy: name, chosen: true, reason }, ...rest]);
      const refused = (await this.#attachAll(opening)) ?? (await this.#verify(opening));
      if (refused === undefined) return opening.space;
      if (rest.length === 0 || !isStrategys(refused)) throw afterOthers(refused, passedOver);
      passedOver.push({ strategy: name, chosen: false, reason: refused.message });
    }
    throw new RangeError("the last candidate was neither chosen nor refused");
  }

  /** @returns why they cannot all be attached; the space is closed then. */
  async #attachAll({ space, attach }: OpeningSpace): Promise<unknown> {
    try {
      // One by one, each in its turn: a device that was opened may be asked back already.
      for (const device of this.#wanted) await attach(device, this.#snapshot);
      return undefined;
    } catch (error) {
      return this.#closeFor(space, error);
    }
  }

  /** @returns why the caller does not believe it; the space is closed then. */
  async #verify(opening: OpeningSpace): Promise<unknown> {
    const { space } = opening;
    try {
      if (this.#lost(opening) === undefined) await this.#options.verify?.(space);
      if (space.closed) return closedByVerify();
      if (space.broken !== undefined) throw space.broken;
    } catch (error) {
      return this.#closeFor(space, this.#lost(opening) ?? notVerified(space.strategy, error));
    }
    const lost = this.#lost(opening);
    return lost === undefined ? undefined : this.#closeFor(space, lost);
  }

  /** A device that the kernel wants back before the space is open. */
  #lost({ isRemoved }: OpeningSpace): IospanError | undefined {
    const lost = this.#wanted.map(({ name }) => kernelName(name)).find(isRemoved);
    return lost === undefined ? undefined : removedWhileOpening(lost);
  }

  /** Opening ends with this error. @returns it, with what else went wrong. */
  async #closeFor(space: IoAddressSpace, error: unknown): Promise<unknown> {
    try {
      await space.close();
    } catch (closing) {
      return inconsistent(`opening ${this.#wanted.map(({ name }) => name).join(", ")}`, error, [closing]);
    }
    return error;
  }
}
