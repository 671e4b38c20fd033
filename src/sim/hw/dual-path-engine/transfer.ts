import type { TimedDmaPort } from "../device-model.js";
import type { Failure, InterfaceNumber, Job } from "./descriptor.js";

/** One interface, as a transfer uses it. */
export interface Path {
  readonly via: InterfaceNumber;
  readonly dma: TimedDmaPort;
}

/** What a transfer needs around it. */
export interface TransferParts {
  readonly paths: readonly Path[];
  /** Bytes of a chunk. */
  readonly chunkSize: number;
  /** Chunks that each path has under way at most. */
  readonly outstanding: number;
  /** Calls back at a time in nanoseconds, unless the engine is reset before. */
  at(nanoseconds: number, callback: () => void): void;
  /** A chunk is in memory. */
  moved(via: InterfaceNumber, bytes: number): void;
  /** Nothing is under way any more. */
  ended(failure: Failure | undefined): void;
}

/**
 * The payload of one job. It is cut into chunks; chunk number i goes through path i modulo the number of paths, which all work
 * at the same time.
 *
 * When bytes move: a chunk's source is read when its read request is sent; its destination is written when the data has
 * crossed the link and reaches the IOMMU. What has not reached it when the engine is reset is never written. After a fault no
 * chunk is begun, no data that is read is sent any more, and what was sent already arrives before the transfer ends.
 */
export class Transfer {
  readonly #job: Job;
  readonly #parts: TransferParts;
  readonly #chunks: number;
  #underWay = 0;
  #failure: Failure | undefined;

  constructor(job: Job, parts: TransferParts) {
    this.#job = job;
    this.#parts = parts;
    this.#chunks = Math.ceil(job.length / parts.chunkSize);
  }

  /** Begins as many chunks as the paths take. */
  start(): void {
    const { paths, outstanding } = this.#parts;
    const lanes = paths.map((path, index) => new Lane(path, index));
    // In turn, as the chunks lie: the paths compete for memory from the first on.
    for (let round = 0; round < outstanding; round++) {
      for (const lane of lanes) this.#begin(lane);
    }
  }

  #newBuffer(): Uint8Array {
    const buffer = new Uint8Array(this.#parts.chunkSize);
    if (this.#job.operation === "copy") return buffer;
    new DataView(buffer.buffer).setBigUint64(0, this.#job.pattern, true);
    for (let filled = 8; filled < buffer.length; filled *= 2) buffer.copyWithin(filled, 0, filled);
    return buffer;
  }

  /** The lane's next chunk, if there is one. @param free a buffer that can be used again */
  #begin(lane: Lane, free?: Uint8Array): void {
    const { chunkSize, paths } = this.#parts;
    if (this.#failure !== undefined || lane.next >= this.#chunks) return;
    const buffer = free ?? this.#newBuffer();
    const offset = lane.next * chunkSize;
    lane.next += paths.length;
    const length = Math.min(chunkSize, this.#job.length - offset);
    const chunk = { lane, offset, buffer, bytes: length === chunkSize ? buffer : buffer.subarray(0, length) };
    this.#underWay += 1;
    if (this.#job.operation === "fill") this.#send(chunk);
    else this.#read(chunk);
  }

  #read(chunk: Chunk): void {
    const { dma, via } = chunk.lane.path;
    const { complete, abortedAt, done } = dma.readTimed(this.#job.source + BigInt(chunk.offset), chunk.bytes);
    this.#parts.at(done, () => {
      if (!complete) this.#fail({ cause: "READ_FAULT", address: abortedAt ?? 0n, via });
      if (this.#failure === undefined) this.#send(chunk);
      else this.#end();
    });
  }

  #send(chunk: Chunk): void {
    const { dma, via } = chunk.lane.path;
    this.#parts.at(dma.send(chunk.bytes.length), () => {
      const { complete, abortedAt, done } = dma.writeTimed(this.#job.destination + BigInt(chunk.offset), chunk.bytes);
      this.#parts.at(done, () => {
        if (complete) this.#parts.moved(via, chunk.bytes.length);
        else this.#fail({ cause: "WRITE_FAULT", address: abortedAt ?? 0n, via });
        this.#begin(chunk.lane, chunk.buffer);
        this.#end();
      });
    });
  }

  /** The first to fail is the one to be told about. */
  #fail(failure: Failure): void {
    this.#failure ??= failure;
  }

  #end(): void {
    this.#underWay -= 1;
    if (this.#underWay === 0) this.#parts.ended(this.#failure);
  }
}

/** The chunks of one path. */
class Lane {
  readonly path: Path;
  /** Number of the chunk that is begun next. */
  next: number;

  constructor(path: Path, first: number) {
    this.path = path;
    this.next = first;
  }
}

interface Chunk {
  readonly lane: Lane;
  /** From the job's start. */
  readonly offset: number;
  readonly buffer: Uint8Array;
  /** As much of the buffer as the chunk has. */
  readonly bytes: Uint8Array;
}
