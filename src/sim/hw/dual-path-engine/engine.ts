import { IospanError } from "../../../errors.js";
import type { Wiring } from "../device-model.js";
import {
  DESCRIPTOR_SIZE,
  decodeRequest,
  encodeOutcome,
  type Failure,
  type InterfaceNumber,
  interfaces,
  type Job,
  mistakeIn,
  type Outcome,
} from "./descriptor.js";
import { ErrorRecord } from "./error-record.js";
import { InterruptBank } from "./interrupt-bank.js";
import { capabilities, MOST_DESCRIPTORS, registers } from "./registers.js";
import { type Path, Transfer } from "./transfer.js";

const { DONE, ERROR } = registers.INTERRUPT_STATUS.fields;
const LOG2_CHUNK = { least: 6, most: 16, reset: 12 } as const;

/** What an interface connects the engine to. */
interface Connection {
  readonly wiring: Wiring;
  readonly interrupts: InterruptBank;
}

/** How the ring is reached, for one descriptor. */
interface RingPath extends Path {
  /** The engine's when it was begun. */
  readonly life: number;
}

/**
 * The one engine behind both interfaces: a ring of descriptors, executed one after the other. Each is fetched, its chunks are
 * moved ({@link Transfer}), its completion is written back, and then HEAD advances and interrupts are raised.
 */
export class Engine {
  scratch = 0;
  /** Whether the ring is reached through the platform port. */
  ringVia: InterfaceNumber = 0;
  completed = 0;
  /** Bytes of destinations, by interface. */
  readonly bytes: [number, number] = [0, 0];
  readonly #outstanding: number;
  readonly #connections: [Connection | undefined, Connection | undefined] = [undefined, undefined];
  readonly #ring = { base: 0n, size: 0, head: 0, tail: 0 };
  #errors = new ErrorRecord();
  #log2Chunk: number = LOG2_CHUNK.reset;
  #enabled = false;
  #busy = false;
  /** Counts resets: what was begun before one must not end after it. */
  #life = 0;

  constructor(outstanding: number) {
    this.#outstanding = outstanding;
  }

  /** Connects an interface. */
  connect(via: InterfaceNumber, wiring: Wiring): InterruptBank {
    const other = this.#connections[via === 0 ? 1 : 0];
    if (this.#connections[via] !== undefined || (other !== undefined && other.wiring.clock !== wiring.clock)) {
      throw twice(interfaces[via]);
    }
    const interrupts = new InterruptBank(wiring.interrupts);
    this.#connections[via] = { wiring, interrupts };
    return interrupts;
  }

  // Registers

  get capabilities(): number {
    const [onFunction, onPort] = this.#connections;
    return capabilities({
      function: onFunction !== undefined,
      port: onPort !== undefined,
      outstanding: this.#outstanding,
    });
  }

  get busy(): boolean {
    return this.#busy;
  }

  get errors(): Readonly<Pick<ErrorRecord, "halts" | "status" | "address">> {
    return this.#errors;
  }

  get enabled(): boolean {
    return this.#enabled;
  }

  set enabled(enabled: boolean) {
    const begins = enabled && !this.#enabled;
    const isRing = this.#isRing;
    this.#enabled = enabled && isRing;
    if (begins && !isRing) this.#report({ cause: "BAD_RING", address: this.#ring.base, via: undefined });
    this.#begin();
  }

  /** Log2 of a chunk's bytes. */
  get log2Chunk(): number {
    return this.#log2Chunk;
  }

  set log2Chunk(log2: number) {
    this.#log2Chunk = Math.min(Math.max(log2, LOG2_CHUNK.least), LOG2_CHUNK.most);
  }

  get ringBase(): bigint {
    return this.#ring.base;
  }

  set ringBase(base: bigint) {
    if (!this.#ringHeld) this.#ring.base = base;
  }

  get ringSize(): number {
    return this.#ring.size;
  }

  set ringSize(size: number) {
    if (!this.#ringHeld) this.#ring.size = size;
  }

  get head(): number {
    return this.#ring.head;
  }

  get tail(): number {
    return this.#ring.tail;
  }

  set tail(tail: number) {
    if (tail < this.#ring.size) this.#ring.tail = tail;
    else this.#report({ cause: "BAD_RING", address: 0n, via: undefined });
    this.#begin();
  }

  clearErrors(bits: number): void {
    this.#errors.clear(bits);
    this.#begin();
  }

  /** As at power-on. What is under way is given up: nothing of it is written any more. */
  reset(): void {
    this.#life += 1;
    this.#busy = false;
    this.#enabled = false;
    this.#errors = new ErrorRecord();
    this.#log2Chunk = LOG2_CHUNK.reset;
    this.scratch = 0;
    this.ringVia = 0;
    this.completed = 0;
    this.bytes.fill(0);
    Object.assign(this.#ring, { base: 0n, size: 0, head: 0, tail: 0 });
    for (const connection of this.#connections) connection?.interrupts.reset();
  }

  // The ring

  /** A descriptor that is under way is completed in the ring that it came from, though the engine is stopped meanwhile. */
  get #ringHeld(): boolean {
    return this.#enabled || this.#busy;
  }

  get #isRing(): boolean {
    const { base, size, head, tail } = this.#ring;
    const hasSize = size >= 2 && size <= MOST_DESCRIPTORS && isPowerOfTwo(size);
    return hasSize && base % BigInt(DESCRIPTOR_SIZE) === 0n && head < size && tail < size;
  }

  #begin(): void {
    if (!this.#enabled || this.#errors.halts || this.#busy || this.#ring.head === this.#ring.tail) return;
    const wiring = this.#connections[this.ringVia]?.wiring;
    if (wiring === undefined) {
      this.#report({ cause: "BAD_RING", address: this.#ring.base, via: undefined });
      return;
    }
    this.#busy = true;
    this.#fetch({ via: this.ringVia, dma: wiring.dma, life: this.#life });
  }

  #fetch(ring: RingPath): void {
    const at = this.#ring.base + BigInt(this.#ring.head * DESCRIPTOR_SIZE);
    const bytes = new Uint8Array(DESCRIPTOR_SIZE);
    const { complete, abortedAt = at, done } = ring.dma.readTimed(at, bytes);
    this.#at(done, ring.life, () => {
      if (complete) this.#execute(bytes, ring);
      else this.#halt({ cause: "FETCH_FAULT", address: abortedAt, via: ring.via });
    });
  }

  #execute(bytes: Uint8Array, ring: RingPath): void {
    const { job, flags } = decodeRequest(bytes);
    const started = this.#now;
    const before = this.bytes[0] + this.bytes[1];
    const ended = (failure: Failure | undefined) => {
      const moved = this.bytes[0] + this.bytes[1] - before;
      this.#writeBack({ started, finished: this.#now, bytes: moved, failure }, job, ring);
    };
    const mistake = mistakeIn(job, flags, (via) => this.#connections[via] !== undefined);
    if (mistake === undefined) this.#transfer(job, ring.life, ended);
    else ended(mistake);
  }

  #transfer(job: Job, life: number, ended: (failure: Failure | undefined) => void): void {
    const transfer = new Transfer(job, {
      paths: job.via.flatMap((via) => {
        const dma = this.#connections[via]?.wiring.dma;
        return dma === undefined ? [] : [{ via, dma }];
      }),
      chunkSize: 2 ** this.#log2Chunk,
      outstanding: this.#outstanding,
      at: (nanoseconds, callback) => this.#at(nanoseconds, life, callback),
      moved: (via, bytes) => {
        this.bytes[via] += bytes;
      },
      ended,
    });
    transfer.start();
  }

  #writeBack(outcome: Outcome, job: Job, ring: RingPath): void {
    const address = this.#ring.base + BigInt(this.#ring.head * DESCRIPTOR_SIZE);
    const bytes = encodeOutcome(outcome);
    this.#at(ring.dma.send(bytes.length), ring.life, () => {
      const { complete, abortedAt = address, done } = ring.dma.writeTimed(address, bytes);
      this.#at(done, ring.life, () => {
        if (complete) this.#complete(job, outcome.failure);
        else this.#halt({ cause: "WRITEBACK_FAULT", address: abortedAt, via: ring.via });
      });
    });
  }

  #complete(job: Job, failure: Failure | undefined): void {
    // The error is told with the descriptor's own index.
    if (failure !== undefined) this.#report(failure);
    this.#ring.head = (this.#ring.head + 1) % this.#ring.size;
    this.completed = (this.completed + 1) >>> 0;
    this.#busy = false;
    if (job.last) this.#enabled = false;
    if (job.interrupt) this.#interrupt(1 << DONE.bit);
    this.#begin();
  }

  #halt(failure: Failure): void {
    this.#busy = false;
    this.#report(failure);
  }

  #report(failure: Failure): void {
    this.#errors.add(failure, this.#ring.head);
    this.#interrupt(1 << ERROR.bit);
  }

  #interrupt(bits: number): void {
    for (const connection of this.#connections) connection?.interrupts.raise(bits);
  }

  get #now(): number {
    const [onFunction, onPort] = this.#connections;
    return Math.floor((onFunction ?? onPort)?.wiring.clock.nanoseconds ?? 0);
  }

  /** @param life of what is to go on: DMA can reach the engine's own registers, and reset it in the midst of a step */
  #at(nanoseconds: number, life: number, callback: () => void): void {
    const [onFunction, onPort] = this.#connections;
    (onFunction ?? onPort)?.wiring.clock.at(nanoseconds, () => {
      if (this.#life === life) callback();
    });
  }
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value));
}

function twice(interfaceName: string): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `the engine's ${interfaceName} is built in already`, {
    hint: "each interface exists once, and both in one machine: call dualPathEngine() for each engine",
  });
}
