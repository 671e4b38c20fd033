import type { DeviceModel, RegisterWidth, Wiring } from "../device-model.js";
import type { InterfaceNumber } from "./descriptor.js";
import type { Engine } from "./engine.js";
import type { InterruptBank } from "./interrupt-bank.js";
import { ID_VALUE, type RegisterField, type RegisterName, registers, VERSION_VALUE } from "./registers.js";

/** For each 4 bytes of a register, which it is. */
const byOffset = new Map<number, { readonly name: RegisterName; readonly high: boolean }>();
for (const [name, { offset, width }] of Object.entries(registers)) {
  byOffset.set(offset, { name: name as RegisterName, high: false });
  if (width === 8) byOffset.set(offset + 4, { name: name as RegisterName, high: true });
}

/** Registers that a driver watches while it waits. */
const watched = new Set<RegisterName>(["STATUS", "HEAD", "INTERRUPT_STATUS", "TIME"]);

const HALF = 32n;
const LOW = 2n ** HALF - 1n;

/** The engine's registers as one interface shows them: BAR 0 of the PCIe function, or the port's register frame. */
export class RegisterFrame implements DeviceModel {
  readonly #engine: Engine;
  readonly #via: InterfaceNumber;
  readonly #wiring: Wiring;
  readonly #interrupts: InterruptBank;

  constructor(engine: Engine, via: InterfaceNumber, wiring: Wiring) {
    this.#engine = engine;
    this.#via = via;
    this.#wiring = wiring;
    this.#interrupts = engine.connect(via, wiring);
  }

  read(_frame: number, offset: number, width: RegisterWidth): bigint {
    if (width < 4) return BigInt.asUintN(8 * width, -1n);
    const register = byOffset.get(offset);
    const value = register === undefined ? 0n : this.#read(register.name);
    if (width === 4) return register?.high === true ? value >> HALF : value & LOW;
    const next = byOffset.get(offset + 4);
    if (next === undefined || next.high) return value;
    return value | (this.#read(next.name) << HALF);
  }

  write(_frame: number, offset: number, width: RegisterWidth, value: bigint): void {
    if (width < 4) return;
    this.#write(offset, value & LOW);
    if (width === 8) this.#write(offset + 4, value >> HALF);
  }

  /** The engine is one: whichever interface is reset, all of it is. */
  reset(): void {
    this.#engine.reset();
  }

  #read(name: RegisterName): bigint {
    const value = BigInt(this.#valueOf(name));
    // Who watches sees what is now, and time passes.
    if (this.#engine.busy && watched.has(name)) this.#wiring.clock.step();
    return value;
  }

  #valueOf(name: RegisterName): number | bigint {
    const engine = this.#engine;
    switch (name) {
      case "ID":
        return ID_VALUE;
      case "VERSION":
        return VERSION_VALUE;
      case "CAPABILITIES":
        return engine.capabilities;
      case "INTERFACE":
        return this.#via;
      case "SCRATCH":
        return engine.scratch;
      case "CONTROL":
        return bit(registers.CONTROL.fields.ENABLE, engine.enabled) | bit(RING_PORT, engine.ringVia === 1);
      case "STATUS":
        return bit(BUSY, engine.busy) | bit(HALTED, engine.errors.halts);
      case "STRIPE":
        return engine.log2Chunk;
      case "RING_BASE":
        return engine.ringBase;
      case "RING_SIZE":
        return engine.ringSize;
      case "HEAD":
        return engine.head;
      case "TAIL":
        return engine.tail;
      case "ERROR_STATUS":
        return engine.errors.status;
      case "ERROR_ADDRESS":
        return engine.errors.address;
      case "INTERRUPT_STATUS":
        return this.#interrupts.pending;
      case "INTERRUPT_ENABLE":
        return this.#interrupts.enabled;
      case "TIME":
        return Math.floor(this.#wiring.clock.nanoseconds);
      case "FUNCTION_BYTES":
        return engine.bytes[0];
      case "PORT_BYTES":
        return engine.bytes[1];
      case "COMPLETED":
        return engine.completed;
      default:
        return name satisfies never;
    }
  }

  #write(offset: number, half: bigint): void {
    const register = byOffset.get(offset);
    if (register === undefined || registers[register.name].access === "RO") return;
    const engine = this.#engine;
    const value = Number(half);
    switch (register.name) {
      case "SCRATCH":
        engine.scratch = value;
        break;
      case "CONTROL":
        this.#control(value);
        break;
      case "STRIPE":
        engine.log2Chunk = value & LOG2_CHUNK_MASK;
        break;
      case "RING_BASE":
        engine.ringBase = register.high ? (engine.ringBase & LOW) | (half << HALF) : (engine.ringBase & ~LOW) | half;
        break;
      case "RING_SIZE":
        engine.ringSize = value;
        break;
      case "TAIL":
        engine.tail = value;
        break;
      case "ERROR_STATUS":
        engine.clearErrors(value);
        break;
      case "INTERRUPT_STATUS":
        this.#interrupts.acknowledge(value);
        break;
      case "INTERRUPT_ENABLE":
        this.#interrupts.enabled = value & INTERRUPTS;
        break;
    }
  }

  #control(value: number): void {
    const isSet = ({ bit: at }: RegisterField) => ((value >>> at) & 1) === 1;
    if (isSet(RESET)) {
      this.#engine.reset();
      return;
    }
    this.#engine.ringVia = isSet(RING_PORT) ? 1 : 0;
    this.#engine.enabled = isSet(ENABLE);
  }
}

const { ENABLE, RESET, RING_PORT } = registers.CONTROL.fields;
const { BUSY, HALTED } = registers.STATUS.fields;
const { DONE, ERROR } = registers.INTERRUPT_ENABLE.fields;
const INTERRUPTS = (1 << DONE.bit) | (1 << ERROR.bit);
const LOG2_CHUNK_MASK = 2 ** registers.STRIPE.fields.CHUNK.bits - 1;

function bit(field: RegisterField, on: boolean): number {
  return Number(on) << field.bit;
}
