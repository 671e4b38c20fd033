import type { Encodable } from "../abi/codec.js";
import type { DmaBuffer } from "../space/mapping.js";
import { CAUSES, type Cause, COMPLETION, completion, request } from "./dual-path-registers.js";

/** A descriptor's values. */
export type Request = Encodable<typeof request>;

/** How the engine completed a descriptor. */
export interface Completion {
  /** TIME when the first chunk was begun. */
  readonly started: number;
  /** TIME when the last chunk was in memory. */
  readonly finished: number;
  readonly bytes: number;
  /** Undefined when all went well. */
  readonly cause: Cause | "UNKNOWN" | undefined;
  /** Where a fault was; undefined for other causes. */
  readonly via: "function" | "port" | undefined;
  readonly address: bigint;
}

/** Bytes of a descriptor. */
export const DESCRIPTOR_SIZE: number = request.size;

/** The descriptors in memory, and who waits for which. */
export class DescriptorRing<Waiter> {
  readonly size: number;
  readonly #buffer: DmaBuffer;
  readonly #waiters: (Waiter | undefined)[];
  #tail = 0;
  /** The oldest descriptor that is not taken back. */
  #oldest = 0;

  /** @param size descriptors, a power of two */
  constructor(buffer: DmaBuffer, size: number) {
    this.#buffer = buffer;
    this.size = size;
    this.#waiters = Array.from({ length: size }, () => undefined);
  }

  get iova(): bigint {
    return this.#buffer.iova;
  }

  /** What the doorbell is told. */
  get tail(): number {
    return this.#tail;
  }

  get empty(): boolean {
    return this.#oldest === this.#tail;
  }

  /** One descriptor stays free: a ring whose head is its tail is empty. */
  get full(): boolean {
    return (this.#tail + 1) % this.size === this.#oldest;
  }

  /** Appends a descriptor to a ring that is not {@link full}. */
  push(values: Request, waiter: Waiter): void {
    request.write(this.#buffer.bytes, this.#tail * DESCRIPTOR_SIZE, values);
    this.#waiters[this.#tail] = waiter;
    this.#tail = (this.#tail + 1) % this.size;
  }

  /** Takes back the oldest descriptor before `head`; undefined when there is none. */
  shift(head: number): { readonly waiter: Waiter; readonly completion: Completion | undefined } | undefined {
    const index = this.#oldest;
    const waiter = this.#waiters[index];
    if (this.empty || index === head || waiter === undefined) return undefined;
    this.#waiters[index] = undefined;
    this.#oldest = (index + 1) % this.size;
    return { waiter, completion: readCompletion(this.#buffer.bytes, index * DESCRIPTOR_SIZE) };
  }

  /** Everybody who still waits. Nothing is in the ring afterwards. */
  abandon(): readonly Waiter[] {
    const waiting = this.#waiters.filter((waiter) => waiter !== undefined);
    this.#waiters.fill(undefined);
    this.#oldest = this.#tail;
    return waiting;
  }

  /** Gives the memory back. */
  release(): Promise<void> {
    return this.#buffer.unmap();
  }

  /** {@link release}, before it returns. */
  releaseNow(): void {
    this.#buffer.free();
  }
}

/** Undefined: the engine has not written it. */
function readCompletion(bytes: Uint8Array, at: number): Completion | undefined {
  const { status, started, finished, address, bytes: moved } = completion.decode(bytes, at);
  if (status < COMPLETION.DONE) return undefined;
  const number = status & COMPLETION.CAUSE;
  const cause = number === 0 ? undefined : (CAUSES[number - 1] ?? "UNKNOWN");
  const via = (status & COMPLETION.FUNCTION) !== 0 ? "function" : (status & COMPLETION.PORT) !== 0 ? "port" : undefined;
  return { started: Number(started), finished: Number(finished), bytes: moved, cause, via, address };
}
