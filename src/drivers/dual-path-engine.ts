import { hex } from "../iova.js";
import type { IoAddressSpace } from "../space/io-address-space.js";
import type { Device } from "../vfio/device.js";
import type { Interrupt } from "../vfio/interrupt.js";
import type { Region } from "../vfio/region.js";
import { checkEngine, checkPatience, checkPowerOfTwo, checkRange, registersOf } from "./dual-path-checks.js";
import { closed, deviceFailed, invalid, reportedBy } from "./dual-path-errors.js";
import { type DualPathInterfaces, type Job, type JobOptions, type JobReport, viaFlags } from "./dual-path-job.js";
import {
  CAUSES,
  CHUNK,
  CONTROL,
  ERROR_STATUS,
  INTERRUPT,
  MOST_DESCRIPTORS,
  REGISTER,
  REQUEST,
  STATUS,
} from "./dual-path-registers.js";
import { type Completion, DESCRIPTOR_SIZE, DescriptorRing, type Request } from "./dual-path-ring.js";

export type { DualPathFault } from "./dual-path-errors.js";
export type { DualPathInterfaces, JobOptions, JobReport, Via } from "./dual-path-job.js";

/** How an engine is used. */
export interface DualPathEngineOptions {
  /** How the end of jobs is noticed: by `interrupt` where absent, and if the device has none by polling. */
  readonly completion?: "interrupt" | "poll" | undefined;
  /** Descriptors in the ring, a power of two; one less can be under way. 64 where absent. */
  readonly descriptors?: number | undefined;
  /** Bytes of the chunks that jobs are cut into, a power of two from 64 to 65536. The engine's default where absent. */
  readonly chunk?: number | undefined;
  /**
   * Milliseconds in which at least one of the jobs under way must end: 10,000 where absent, at most 2^31 - 1, or `Infinity`
   * for an engine that is never given up on.
   */
  readonly patience?: number | undefined;
}

/** Bytes that were written through each interface, and descriptors completed, since the engine was opened. */
export interface EngineCounters {
  readonly function: bigint;
  readonly port: bigint;
  /** Modulo 2^32. */
  readonly jobs: number;
}

/**
 * A driver for the dual-path DMA engine: one engine that reaches memory by a PCIe function and by a platform port, each behind
 * an IOMMU of its own. Both must be in one space, so that an IOVA means the same memory through either.
 *
 * Jobs are done one after the other, in the order they are asked for. Close the engine before its space.
 */
export class DualPathEngine implements AsyncDisposable {
  readonly #devices: DualPathInterfaces;
  /** The interface that the driver talks to, and that the ring is reached through. */
  readonly #main: Device;
  readonly #registers: Region;
  readonly #ring: DescriptorRing<Job>;
  readonly #patience: number;
  /** What waits for room in the ring. */
  readonly #queue: { readonly request: JobRequest; readonly job: Job }[] = [];
  #interrupt: Interrupt | undefined;
  #watchdog: ReturnType<typeof setTimeout> | undefined;
  #polling = false;
  /** Why no job is taken any more. */
  #ended: unknown;

  /** Opens the engine whose interfaces are in `space` under these names. @throws IospanError as the constructor */
  static async open(
    space: IoAddressSpace,
    names: DualPathInterfaces<string>,
    options: DualPathEngineOptions = {},
  ): Promise<DualPathEngine> {
    const named = (name: string | undefined) => (name === undefined ? undefined : space.interface(name));
    return new DualPathEngine({ function: named(names.function), port: named(names.port) }, space, options);
  }

  /**
   * Resets the engine, lets it master the bus and gives it a ring.
   * @param devices as `space.interface()` gives them
   * @throws IospanError `ERR_IOSPAN_NOT_SUPPORTED` for a device that is none, or two that are not one engine's;
   * `ERR_IOSPAN_INVALID_ARGUMENT`
   */
  constructor(
    devices: DualPathInterfaces,
    space: Pick<IoAddressSpace, "allocate">,
    options: DualPathEngineOptions = {},
  ) {
    const main = devices.function ?? devices.port;
    if (main === undefined) throw invalid("an engine needs an interface", "name its PCIe function, its port, or both");
    const { descriptors = 64, patience = 10_000, completion = "interrupt", chunk } = options;
    checkPowerOfTwo("descriptors", descriptors, 2, MOST_DESCRIPTORS);
    if (chunk !== undefined) checkPowerOfTwo("chunk", chunk, CHUNK.LEAST, CHUNK.MOST);
    checkPatience(patience);
    checkEngine(devices);
    this.#devices = devices;
    this.#main = main;
    this.#patience = patience;
    this.#registers = registersOf(main);
    this.#ring = new DescriptorRing(space.allocate(descriptors * DESCRIPTOR_SIZE), descriptors);
    try {
      const line = completion === "interrupt" ? interruptOf(devices) : undefined;
      // Before the reset: an engine that is in use already, and so has no interrupt left, goes on.
      this.#interrupt = line?.device.interrupt(line.kind);
      this.#start(chunk, line?.device);
    } catch (error) {
      this.#end(error);
      this.#ring.releaseNow();
      throw error;
    }
  }

  /** The engine's clock, in nanoseconds. */
  get time(): bigint {
    this.#checkOpen();
    return this.#registers.read64(REGISTER.TIME);
  }

  get counters(): EngineCounters {
    this.#checkOpen();
    return {
      function: this.#registers.read64(REGISTER.FUNCTION_BYTES),
      port: this.#registers.read64(REGISTER.PORT_BYTES),
      jobs: this.#registers.read32(REGISTER.COMPLETED),
    };
  }

  /**
   * Copies memory. Addresses and length are multiples of 8, and the two ranges must not overlap.
   * @throws IospanError `ERR_IOSPAN_DMA_FAULT` when the engine could not access an address: which, and on which interface, is
   * in its message, `device` and `cause` ({@link DualPathFault}); part of the destination may have been written.
   * `ERR_IOSPAN_DEVICE_FAILED` when it does not answer, or was reset by somebody else. `ERR_IOSPAN_CLOSED`,
   * `ERR_IOSPAN_INVALID_ARGUMENT`.
   */
  async copy(from: number | bigint, to: number | bigint, length: number, options: JobOptions = {}): Promise<JobReport> {
    const source = checkRange("the source", from, length);
    const destination = checkRange("the destination", to, length);
    const size = BigInt(length);
    if (source < destination + size && destination < source + size)
      throw invalid("source and destination overlap", "copy in parts, or through a buffer between");
    return this.#submit({ source, destination, length, flags: REQUEST.COPY | viaFlags(options, this.#devices) });
  }

  /** Fills memory with 8 bytes that are repeated, the lowest one first. @throws IospanError as {@link copy} */
  async fill(to: number | bigint, length: number, pattern: bigint, options: JobOptions = {}): Promise<JobReport> {
    const destination = checkRange("the destination", to, length);
    const repeated = BigInt.asUintN(64, pattern);
    return this.#submit({
      destination,
      length,
      pattern: repeated,
      flags: REQUEST.FILL | viaFlags(options, this.#devices),
    });
  }

  /** Stops the engine: no DMA of it goes on when this returns. Jobs that have not ended are rejected. */
  async close(): Promise<void> {
    const failures = this.#end(closed(this.#main));
    await this.#ring.release();
    if (failures.length > 0) throw failures[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** @param listener the interface that interrupts */
  #start(chunk: number | undefined, listener: Device | undefined): void {
    const registers = this.#registers;
    registers.write32(REGISTER.CONTROL, CONTROL.RESET);
    this.#devices.function?.pciConfig?.setBusMaster(true);
    if (chunk !== undefined) registers.write32(REGISTER.STRIPE, Math.log2(chunk));
    registers.write64(REGISTER.RING_BASE, this.#ring.iova);
    registers.write32(REGISTER.RING_SIZE, this.#ring.size);
    if (listener !== undefined && this.#interrupt !== undefined) {
      registersOf(listener).write32(REGISTER.INTERRUPT_ENABLE, INTERRUPT.DONE | INTERRUPT.ERROR);
      void this.#serve(this.#interrupt, registersOf(listener));
    }
    const via = this.#devices.function === undefined ? CONTROL.RING_PORT : 0;
    registers.write32(REGISTER.CONTROL, CONTROL.ENABLE | via);
  }

  async #serve(interrupt: Interrupt, registers: Region): Promise<void> {
    try {
      for await (const _ of interrupt) {
        // Acknowledged first: what ends from now on interrupts again.
        registers.write32(REGISTER.INTERRUPT_STATUS, registers.read32(REGISTER.INTERRUPT_STATUS));
        this.#collect();
      }
      this.#end(closed(this.#main));
    } catch (error) {
      this.#end(deviceFailed(this.#main, "cannot be listened to any more", error));
    }
  }

  async #poll(): Promise<void> {
    if (this.#polling) return;
    this.#polling = true;
    while (this.#ended === undefined && !this.#ring.empty) {
      try {
        this.#collect();
      } catch (error) {
        this.#end(deviceFailed(this.#main, "cannot be polled any more", error));
      }
      await new Promise((resolve) => setTimeout(resolve));
    }
    this.#polling = false;
  }

  async #submit(request: JobRequest): Promise<JobReport> {
    this.#checkOpen();
    return new Promise((resolve, reject) => {
      this.#queue.push({ request, job: { resolve, reject } });
      this.#feed();
    });
  }

  #feed(): void {
    if (this.#ended !== undefined) return;
    try {
      this.#fill();
    } catch (error) {
      this.#end(deviceFailed(this.#main, "cannot be given jobs any more", error));
    }
  }

  /** Puts into the ring what there is room for. */
  #fill(): void {
    if (this.#queue.length === 0 || this.#ring.full) return;
    // A doorbell that is not heard would leave the jobs hanging.
    if (this.#endIfReset()) return;
    for (let next = this.#queue[0]; next !== undefined && !this.#ring.full; next = this.#queue[0]) {
      const flags = next.request.flags | REQUEST.INTERRUPT;
      this.#ring.push({ ...next.request, flags }, next.job);
      this.#queue.shift();
    }
    this.#registers.write32(REGISTER.TAIL, this.#ring.tail);
    this.#watch(false);
    if (this.#interrupt === undefined) void this.#poll();
  }

  /** Tells everybody whose job has ended, and lets the engine go on if one of them failed. @returns whether one had */
  #collect(): boolean {
    if (this.#ended !== undefined) return false;
    const head = this.#registers.read32(REGISTER.HEAD);
    if (head >= this.#ring.size) {
      this.#end(deviceFailed(this.#main, `is gone: its HEAD register reads 0x${head.toString(16)}`));
      return false;
    }
    let progress = false;
    for (let ended = this.#ring.shift(head); ended !== undefined; ended = this.#ring.shift(head)) {
      if (ended.completion === undefined) {
        if (!this.#endIfReset()) this.#end(deviceFailed(this.#main, "has passed a descriptor without completing it"));
        ended.waiter.reject(this.#ended);
        return false;
      }
      this.#settle(ended.waiter, ended.completion);
      progress = true;
    }
    if (!progress && !this.#ring.empty && this.#endIfReset()) return false;
    if ((this.#registers.read32(REGISTER.STATUS) & STATUS.HALTED) !== 0) this.#resume();
    this.#watch(progress);
    this.#feed();
    return progress;
  }

  #settle(job: Job, completion: Completion): void {
    const { started, finished, bytes, cause, via, address } = completion;
    if (cause === undefined) job.resolve({ bytes, started, finished, elapsed: finished - started });
    else job.reject(reportedBy(this.#deviceOf(via), { reported: cause, iova: address }));
  }

  /** After a job that failed the ring goes on; without its ring the engine is of no use. */
  #resume(): void {
    const status = this.#registers.read32(REGISTER.ERROR_STATUS);
    const address = this.#registers.read64(REGISTER.ERROR_ADDRESS);
    const ring = RING_CAUSES.find((cause) => (status & (1 << CAUSES.indexOf(cause))) !== 0);
    if (ring === undefined) {
      this.#registers.write32(REGISTER.ERROR_STATUS, status & ERROR_STATUS.CAUSES);
      return;
    }
    const via = (status & ERROR_STATUS.PORT) !== 0 ? "port" : "function";
    this.#end(reportedBy(this.#deviceOf(via), { reported: ring, iova: address }));
  }

  #deviceOf(via: "function" | "port" | undefined): Device {
    return (via === undefined ? undefined : this.#devices[via]) ?? this.#main;
  }

  /** The engine must end a job in time while there are any. @param progress whether it just has */
  #watch(progress: boolean): void {
    const idle = this.#ring.empty || this.#ended !== undefined;
    if (this.#watchdog !== undefined && !progress && !idle) return;
    clearTimeout(this.#watchdog);
    const never = this.#patience === Number.POSITIVE_INFINITY;
    this.#watchdog = idle || never ? undefined : setTimeout(this.#expired, this.#patience);
  }

  /** Interrupts can be lost: a function that may not master the bus sends no messages. So it is looked at once more. */
  readonly #expired = (): void => {
    this.#watchdog = undefined;
    try {
      if (this.#collect()) return;
    } catch (error) {
      this.#end(deviceFailed(this.#main, "cannot be asked any more", error));
    }
    this.#end(deviceFailed(this.#main, `has not ended a job for ${this.#patience} ms`));
  };

  /** Nothing goes on: stops the engine and tells everybody why. @returns what went wrong on the way */
  #end(reason: unknown): readonly unknown[] {
    if (this.#ended !== undefined) return [];
    this.#ended = reason;
    this.#watch(false);
    const failures: unknown[] = [];
    for (const step of [() => this.#stop(), () => this.#interrupt?.close()]) {
      try {
        step();
      } catch (error) {
        failures.push(error);
      }
    }
    for (const job of this.#ring.abandon()) job.reject(reason);
    for (const { job } of this.#queue.splice(0)) job.reject(reason);
    return failures;
  }

  /**
   * Both interfaces are one engine: a reset of either, by whoever has the other, or who opens the engine once more, takes the
   * ring from it. @returns whether that has happened
   */
  #endIfReset(): boolean {
    const base = this.#registers.read64(REGISTER.RING_BASE);
    if (base === this.#ring.iova) return false;
    const found = `its ring is at ${hex(base)} and not at ${hex(this.#ring.iova)}`;
    this.#end(deviceFailed(this.#main, `was reset by somebody else: ${found}`));
    return true;
  }

  /** An engine that has another ring, or none, does nothing for this driver, and may be somebody else's. */
  #stop(): void {
    if (this.#main.closed || this.#registers.read64(REGISTER.RING_BASE) !== this.#ring.iova) return;
    this.#registers.write32(REGISTER.CONTROL, CONTROL.RESET);
    // Reading makes sure that the write has arrived.
    this.#registers.read32(REGISTER.STATUS);
  }

  #checkOpen(): void {
    if (this.#ended !== undefined) throw this.#ended;
  }
}

/** A descriptor, but for what this driver adds to every one. */
type JobRequest = Request & { readonly flags: number };

/** The interface that is listened to, and how; undefined where the engine has no interrupt. */
function interruptOf({ function: onPci, port }: DualPathInterfaces) {
  const offers = (device: Device | undefined, kind: "msi" | "intx" | "irq") => {
    const has = device?.interrupts.some((info) => info.kind === kind && info.count > 0);
    return has === true && device !== undefined ? { device, kind } : undefined;
  };
  return offers(onPci, "msi") ?? offers(onPci, "intx") ?? offers(port, "irq");
}

/** What takes the ring from the engine. */
const RING_CAUSES = ["FETCH_FAULT", "WRITEBACK_FAULT", "BAD_RING"] as const;
