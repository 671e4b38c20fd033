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
  /** MSI vectors, or a platform device's wires. */
  readonly #interrupts: number;
  readonly #device: SimulatedDevice;
  /** Registers that were read since the last write, each as region and offset. */
  readonly #read = new Set<number>();
  /** Counts resets: what was started before one must not end after it. */
  #life = 0;

  constructor(factory: DeviceFactory, wiring: Wiring, pci: PciIdentity | undefined) {
    this.#wiring = wiring;
    this.#interrupts = Math.max(1, wiring.interrupts.wires ?? pci?.msiVectors ?? 1);
    this.dma = wiring.dma;
    this.clock = timer(wiring, (callback) => this.#whileAlive(callback));
    this.#device = checkedDevice(factory(this));
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
    for (let index = 0; index < this.#interrupts; index++) this.lowerInterrupt(index);
    uncaught(() => this.#device.reset?.());
  }

  raiseInterrupt(index = 0): void {
    const wire = this.#wireOf(index);
    const { interrupts } = this.#wiring;
    if (interrupts.msiEnabled) interrupts.msi(index);
    else interrupts.setLevel(true, wire);
  }

  lowerInterrupt(index = 0): void {
    this.#wiring.interrupts.setLevel(false, this.#wireOf(index));
  }

  /** INTx is one wire for all vectors. */
  #wireOf(index: number): number {
    const { wires } = this.#wiring.interrupts;
    if (!Number.isInteger(index) || index < 0 || index >= this.#interrupts)
      throw noSuchInterrupt(index, this.#interrupts, wires === undefined);
    return wires === undefined ? 0 : index;
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

function checkedDevice(device: unknown): SimulatedDevice {
  const isDevice = typeof device === "object" && device !== null && "read" in device && "write" in device;
  if (isDevice && typeof device.read === "function" && typeof device.write === "function") {
    return device as SimulatedDevice;
  }
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", "what was to make a simulated device made none", {
    hint: "return an object with read(region, offset, width) and write(region, offset, width, value)",
  });
}

function registerValue(value: unknown, region: number, offset: number): bigint {
  if (typeof value === "bigint") return value;
  if (typeof value === "number" && Number.isSafeInteger(value)) return BigInt(value);
  const place = `offset 0x${offset.toString(16)} of region ${region}`;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `the simulated device answered ${value} for ${place}`, {
    hint: "its read() must return an integer or a bigint, for registers that it does not have, too",
  });
}

function noSuchInterrupt(index: number, count: number, onPci: boolean): IospanError {
  const what = onPci ? "interrupt vector" : "interrupt";
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `the simulated device has no ${what} ${index}`, {
    hint: `it has ${count}, from 0; ${onPci ? "`msiVectors` of its PCI identity" : "`interrupts` of its node"} says how many`,
  });
}
