import { IospanError } from "../../errors.js";
import type { Clock } from "./clock.js";

/** What all links share. */
export interface InterconnectOptions {
  readonly clock: Clock;
  /** Bytes per second that memory moves for all links together, reads and writes alike; no limit where absent. */
  readonly memoryBandwidth?: number | undefined;
  /** Nanoseconds that an IOMMU waits for one descriptor of a table walk; 0 where absent. */
  readonly walkLatency?: number | undefined;
}

/** A device's own way to memory. */
export interface LinkOptions {
  /** Bytes per second in each direction: PCIe and AXI have lanes of their own for each. No limit where absent. */
  readonly bandwidth?: number | undefined;
  /** Nanoseconds from a request to its answer when nothing else is under way; 0 where absent. */
  readonly latency?: number | undefined;
}

const NANOSECONDS_PER_SECOND = 1e9;

/** Something that moves bytes one after the other, and is busy until it has. */
class Channel {
  readonly #nanosecondsPerByte: number;
  #busyUntil = 0;

  constructor(bandwidth: number) {
    this.#nanosecondsPerByte = NANOSECONDS_PER_SECOND / bandwidth;
  }

  /** Who comes at `from` waits for those that came before. @returns when the last byte is through. */
  move(bytes: number, from: number): number {
    this.#busyUntil = Math.max(from, this.#busyUntil) + bytes * this.#nanosecondsPerByte;
    return this.#busyUntil;
  }
}

/**
 * The way from devices to memory in virtual time: links of their own, one memory for all. It moves no bytes and decides when
 * they would have arrived. Times are nanoseconds on the simulation's clock.
 *
 * An access takes as long as the slower one of its link and memory, each after what was asked of it before, plus the link's
 * latency, plus the IOMMU's table walk. Walks and latencies delay an access and not those after it: hardware has many under
 * way at a time.
 */
export class Interconnect {
  readonly #clock: Clock;
  readonly #memory: Channel;
  readonly #walkLatency: number;

  /** @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for a bandwidth or latency that cannot be. */
  constructor({ clock, memoryBandwidth, walkLatency }: InterconnectOptions) {
    this.#clock = clock;
    this.#memory = new Channel(checkedBandwidth("the memory's", memoryBandwidth));
    this.#walkLatency = checkedLatency("a table walk's", walkLatency);
  }

  /** A device's link. @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for a bandwidth or latency that cannot be. */
  link({ bandwidth, latency }: LinkOptions = {}): Link {
    return new Link({
      clock: this.#clock,
      memory: this.#memory,
      walkLatency: this.#walkLatency,
      bandwidth: checkedBandwidth("a link's", bandwidth),
      latency: checkedLatency("a link's", latency),
    });
  }
}

/** One device's way to memory; see {@link Interconnect}. */
export class Link {
  readonly #clock: Clock;
  readonly #memory: Channel;
  readonly #walkLatency: number;
  readonly #toDevice: Channel;
  readonly #toMemory: Channel;
  readonly #latency: number;

  /** @internal {@link Interconnect.link} makes them. */
  constructor(parts: {
    readonly clock: Clock;
    readonly memory: Channel;
    readonly walkLatency: number;
    readonly bandwidth: number;
    readonly latency: number;
  }) {
    this.#clock = parts.clock;
    this.#memory = parts.memory;
    this.#walkLatency = parts.walkLatency;
    this.#toDevice = new Channel(parts.bandwidth);
    this.#toMemory = new Channel(parts.bandwidth);
    this.#latency = parts.latency;
  }

  get now(): number {
    return this.#clock.nanoseconds;
  }

  /**
   * A read that is requested now.
   * @param walked descriptors that the IOMMU read for it
   * @returns when its last byte is with the device
   */
  read(bytes: number, walked: number): number {
    const { now } = this;
    const moved = Math.max(this.#toDevice.move(bytes, now), this.#memory.move(bytes, now));
    return moved + this.#latency + walked * this.#walkLatency;
  }

  /** A write that leaves the device now. @returns when its last byte reaches the IOMMU. */
  send(bytes: number): number {
    return this.#toMemory.move(bytes, this.now) + this.#latency;
  }

  /**
   * A write that has reached the IOMMU now.
   * @param walked descriptors that the IOMMU read for it
   * @returns when memory has it
   */
  land(bytes: number, walked: number): number {
    return this.#memory.move(bytes, this.now) + walked * this.#walkLatency;
  }
}

function checkedBandwidth(whose: string, bandwidth: number | undefined): number {
  if (bandwidth === undefined) return Number.POSITIVE_INFINITY;
  if (bandwidth > 0) return bandwidth;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${whose} bandwidth is ${bandwidth}`, {
    hint: "it must be a positive number of bytes per second; leave it out for no limit",
  });
}

function checkedLatency(whose: string, latency = 0): number {
  if (latency >= 0 && Number.isFinite(latency)) return latency;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${whose} latency is ${latency}`, {
    hint: "it must be a number of nanoseconds, 0 or more",
  });
}
