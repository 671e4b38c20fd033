import { IospanError } from "../../errors.js";
import type {
  DeviceFactory,
  DeviceHost,
  DeviceKind,
  DeviceModel,
  DmaPort,
  PciIdentity,
  RegisterWidth,
  SimulatedDevice,
  Wiring,
} from "./device-model.js";
import { checkPciIdentity } from "./pci-identity.js";

/** What {@link simulatedDevice} may be told besides what the device does. */
export interface SimulatedDeviceOptions {
  /** Its configuration space, for where it is a PCI function. Without it the device can be a platform device only. */
  readonly pci?: PciIdentity;
}

/**
 * A kind of device of your own, to be built into a simulated machine: as a PCI function if `pci` says what its configuration
 * space has, and as a platform device.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for a configuration space that no PCI function can have.
 */
export function simulatedDevice(factory: DeviceFactory, { pci }: SimulatedDeviceOptions = {}): DeviceKind {
  if (pci !== undefined) checkPciIdentity(pci);
  return { ...(pci === undefined ? {} : { pci }), create: (wiring) => new HostedDevice(factory, wiring, pci) };
}

/** Stands between the kernel and code that may throw: the kernel's own steps are never interrupted by it. */
class HostedDevice implements DeviceModel, DeviceHost {
  readonly dma: DmaPort;
  readonly clock: DeviceHost["clock"];
  readonly #wiring: Wiring;
  readonly #vectors: number;
  readonly #device: SimulatedDevice;
  /** Registers that were read since the last write, each as region and offset. */
  readonly #read = new Set<number>();
  /** Counts resets: what was started before one must not end after it. */
  #life = 0;

  constructor(factory: DeviceFactory, wiring: Wiring, pci: PciIdentity | undefined) {
    this.#wiring = wiring;
    this.#vectors = pci?.msiVectors ?? 1;
    this.dma = wiring.dma;
    this.clock = timer(wiring, (callback) => this.#whileAlive(callback));
    this.#device = factory(this);
  }

  read(region: number, offset: number, width: RegisterWidth): bigint {
    const value = this.#device.read(region, offset, width);
    const bits = registerValue(value, region, offset);
    this.#noteRead(offset * REGIONS + region);
    return BigInt.asUintN(8 * width, bits);
  }

  write(region: number, offset: number, width: RegisterWidth, value: bigint): void {
    this.#read.clear();
    this.#device.write(region, offset, width, value);
  }

  reset(): void {
    this.#life += 1;
    this.#read.clear();
    this.lowerInterrupt();
    uncaught(() => this.#device.reset?.());
  }

  raiseInterrupt(vector = 0): void {
    if (!Number.isInteger(vector) || vector < 0 || vector >= this.#vectors) throw noSuchVector(vector, this.#vectors);
    const { interrupts } = this.#wiring;
    if (interrupts.msiEnabled) interrupts.msi(vector);
    else interrupts.setLevel(true);
  }

  lowerInterrupt(): void {
    this.#wiring.interrupts.setLevel(false);
  }

  /** Who reads a register again without having written waits for it: he sees what is now, and time passes. */
  #noteRead(register: number): void {
    if (this.#read.has(register)) this.#wiring.clock.step();
    else this.#read.add(register);
  }

  #whileAlive(callback: () => void): () => void {
    const life = this.#life;
    return () => {
      if (this.#life === life) uncaught(callback);
    };
  }
}

/** More than a PCI function's BARs and any platform device's register frames. */
const REGIONS = 1024;

function timer({ clock }: Wiring, whileAlive: (callback: () => void) => () => void): DeviceHost["clock"] {
  return {
    get now() {
      return clock.now;
    },
    after: (delay, callback) => clock.after(delay, whileAlive(callback)),
  };
}

/** What it throws comes out of the event loop, where a test's runner sees it, and not out of whoever happened to call. */
function uncaught(call: () => void): void {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

function registerValue(value: unknown, region: number, offset: number): bigint {
  if (typeof value === "bigint") return value;
  if (typeof value === "number" && Number.isSafeInteger(value)) return BigInt(value);
  const place = `offset 0x${offset.toString(16)} of region ${region}`;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `the simulated device answered ${value} for ${place}`, {
    hint: "its read() must return an integer or a bigint, for registers that it does not have, too",
  });
}

function noSuchVector(vector: number, vectors: number): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `the simulated device has no interrupt vector ${vector}`, {
    hint: `it has ${vectors}, from 0; \`msiVectors\` of its PCI identity says how many`,
  });
}
