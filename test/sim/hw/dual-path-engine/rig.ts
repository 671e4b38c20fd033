import type { DeviceModel } from "../../../../src/sim/hw/device-model.js";
import {
  completion,
  DESCRIPTOR_SIZE,
  descriptorFlags,
  type InterfaceNumber,
  operations,
  request,
} from "../../../../src/sim/hw/dual-path-engine/descriptor.js";
import { dualPathEngine } from "../../../../src/sim/hw/dual-path-engine/dual-path-engine.js";
import { errorCauses, type RegisterName, registers } from "../../../../src/sim/hw/dual-path-engine/registers.js";
import { FlatMachine, type FlatMachineOptions, type Side } from "../flat-machine.js";

export const RING = 0x1000;
export const SOURCE = 0x10000;
export const TARGET = 0x50000;
const RING_SIZE = 8;

/** What {@link EngineRig} is made of. */
export interface EngineRigOptions extends FlatMachineOptions {
  readonly outstanding?: number;
  /** Which interfaces are wired: both where absent. */
  readonly wired?: readonly InterfaceNumber[];
}

/** A descriptor, as far as it differs from a copy of a page through the function. */
export interface Asked {
  readonly operation?: number;
  readonly source?: number | bigint;
  readonly destination?: number | bigint;
  readonly length?: number;
  readonly via?: readonly InterfaceNumber[];
  readonly pattern?: bigint;
  readonly interrupt?: boolean;
  readonly last?: boolean;
  /** Further bits. */
  readonly flags?: number;
}

/** An engine in a flat machine, everything mapped to itself for both interfaces, and a driver's hands. */
export class EngineRig extends FlatMachine {
  readonly frames: readonly (DeviceModel | undefined)[];
  #tail = 0;

  constructor({ outstanding, wired = [0, 1], ...options }: EngineRigOptions = {}) {
    super(options);
    const kinds = dualPathEngine(outstanding === undefined ? {} : { outstanding });
    const create = (via: InterfaceNumber, kind: "function" | "port") => {
      const { dma, pins, table } = this.sides[via];
      table.map(0, 2 ** 20);
      return wired.includes(via) ? kinds[kind].create({ clock: this.clock, dma, interrupts: pins }) : undefined;
    };
    this.frames = [create(0, "function"), create(1, "port")];
    for (let at = 0; at < 0x20000; at++) this.memory.bytes[SOURCE + at] = (at * 13 + (at >> 8)) & 0xff;
  }

  side(via: InterfaceNumber): Side {
    return this.sides[via];
  }

  frame(via: InterfaceNumber): DeviceModel {
    return this.frames[via]!;
  }

  get(name: RegisterName, via: InterfaceNumber = this.#first): number {
    const { offset, width } = registers[name];
    return Number(this.frame(via).read(0, offset, width));
  }

  set(name: RegisterName, value: number | bigint, via: InterfaceNumber = this.#first): void {
    const { offset, width } = registers[name];
    this.frame(via).write(0, offset, width, BigInt(value));
  }

  /** Sets the ring up and enables the engine. */
  enable(control = 0): this {
    this.set("RING_BASE", RING);
    this.set("RING_SIZE", RING_SIZE);
    this.set("CONTROL", control | 1);
    return this;
  }

  /** Puts a descriptor into the ring without ringing the doorbell. @returns its index */
  put(asked: Asked = {}): number {
    const index = this.#tail;
    const { operation = operations.COPY, via = [0], interrupt = false, last = false, flags = 0, pattern } = asked;
    const bits =
      operation |
      (via.includes(0) ? 1 << descriptorFlags.FUNCTION.bit : 0) |
      (via.includes(1) ? 1 << descriptorFlags.PORT.bit : 0) |
      (interrupt ? 1 << descriptorFlags.INTERRUPT.bit : 0) |
      (last ? 1 << descriptorFlags.LAST.bit : 0);
    const { source = SOURCE, destination = TARGET, length = 4096 } = asked;
    const values = { source, destination, length, flags: (bits | flags) >>> 0, pattern: pattern ?? 0n };
    request.write(this.memory.bytes, RING + index * DESCRIPTOR_SIZE, values);
    this.#tail = (index + 1) % RING_SIZE;
    return index;
  }

  /** Rings the doorbell for all that was put. */
  ring(): void {
    this.set("TAIL", this.#tail);
  }

  /** {@link put} and {@link ring}. */
  submit(asked: Asked = {}): number {
    const index = this.put(asked);
    this.ring();
    return index;
  }

  /** What the engine wrote back. */
  completed(index: number) {
    const { started, finished, bytes, status, address } = completion.decode(
      this.memory.bytes,
      RING + index * DESCRIPTOR_SIZE,
    );
    return {
      done: status >>> 31 === 1,
      error: errorCauses[(status & 0xf) - 1],
      via: (status >> 4) & 3,
      bytes,
      address: Number(address),
      started: Number(started),
      finished: Number(finished),
    };
  }

  /** Submits, lets everything happen, and tells how it was completed. */
  run(asked: Asked = {}) {
    const index = this.submit(asked);
    this.settle();
    return this.completed(index);
  }

  bytes(address: number, length: number): Buffer {
    return Buffer.from(this.memory.bytes.slice(address, address + length));
  }

  get #first(): InterfaceNumber {
    return this.frames[0] === undefined ? 1 : 0;
  }
}
