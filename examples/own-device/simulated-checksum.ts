import type { DeviceHost, SimulatedDevice } from "iospan";

/** The unit takes 1 ms for each 64 KiB, or part of them. */
const BYTES_PER_MILLISECOND = 65536;

/** The same unit, simulated: what one writes to have a driver's tests run anywhere. */
export class SimulatedChecksum implements SimulatedDevice {
  readonly #host: DeviceHost;
  #source = 0n;
  #length = 0;
  #busy = false;
  #fault = false;
  #interrupt = false;
  #result = 0;

  constructor(host: DeviceHost) {
    this.#host = host;
  }

  read(_region: number, offset: number): number | bigint {
    switch (offset) {
      case 0x00:
        return this.#source;
      case 0x08:
        return this.#length;
      case 0x10:
        return Number(this.#busy) | (Number(this.#fault) << 1) | (Number(this.#interrupt) << 2);
      case 0x14:
        return this.#result;
      default:
        throw new Error(`the driver reads 0x${offset.toString(16)}, where the unit has no register`);
    }
  }

  write(_region: number, offset: number, _width: number, value: bigint): void {
    switch (offset) {
      case 0x00:
        this.#source = value;
        break;
      case 0x08:
        this.#length = Number(value);
        break;
      case 0x0c:
        this.#start();
        break;
      case 0x10:
        this.#acknowledge(value);
        break;
      default:
        throw new Error(`the driver writes 0x${offset.toString(16)}, where the unit has no register`);
    }
  }

  reset(): void {
    this.#source = 0n;
    this.#length = 0;
    this.#busy = false;
    this.#fault = false;
    this.#interrupt = false;
    this.#result = 0;
  }

  #start(): void {
    if (this.#busy) return;
    this.#busy = true;
    const milliseconds = Math.max(1, Math.ceil(this.#length / BYTES_PER_MILLISECOND));
    this.#host.clock.after(milliseconds, () => this.#finish());
  }

  #finish(): void {
    const bytes = new Uint8Array(this.#length);
    this.#fault = !this.#host.dma.read(this.#source, bytes);
    this.#result = bytes.reduce((sum, byte) => (sum + byte) >>> 0, 0);
    this.#busy = false;
    this.#interrupt = true;
    this.#host.raiseInterrupt();
  }

  #acknowledge(value: bigint): void {
    if ((value & 4n) === 0n) return;
    this.#interrupt = false;
    this.#host.lowerInterrupt();
  }
}
