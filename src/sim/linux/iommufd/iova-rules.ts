import { refuse } from "../refusal.js";

/** I/O virtual addresses of 64 bits; the last one is inside. */
export interface IovaSpan {
  readonly start: bigint;
  readonly last: bigint;
}

interface Reserved extends IovaSpan {
  /** A device, or a domain whose aperture ends there. */
  readonly owner: object;
}

/** 2^64-1. */
export const LAST_IOVA = 2n ** 64n - 1n;

/** Which addresses of an IOAS may be mapped: the reserved and allowed trees of drivers/iommu/iommufd/io_pagetable.c. */
export class IovaRules {
  #reserved: readonly Reserved[] = [];
  #allowed: readonly IovaSpan[] = [];

  /** What IOMMU_IOAS_ALLOW_IOVAS keeps free of reservations, ascending; none where the program did not say. */
  get allowed(): readonly IovaSpan[] {
    return this.#allowed;
  }

  get reserved(): readonly IovaSpan[] {
    return this.#reserved;
  }

  isReserved(span: IovaSpan): boolean {
    return this.#reserved.some((other) => overlap(other, span));
  }

  /** Takes addresses away. EADDRINUSE where they are promised; whether they are mapped is the caller's to know. */
  reserve(span: IovaSpan, owner: object): void {
    if (this.#allowed.some((other) => overlap(other, span))) refuse("EADDRINUSE");
    this.#reserved = [...this.#reserved, { ...span, owner }];
  }

  /** Gives back what an owner had reserved. */
  release(owner: object): void {
    this.#reserved = this.#reserved.filter((span) => span.owner !== owner);
  }

  /** IOMMU_IOAS_ALLOW_IOVAS: replaces the list, or refuses with the old one in force. */
  allow(spans: readonly IovaSpan[]): void {
    for (const [index, span] of spans.entries()) {
      const before = spans.slice(0, index);
      if (span.start >= span.last || before.some((other) => overlap(other, span))) refuse("EINVAL");
    }
    if (spans.some((span) => this.isReserved(span))) refuse("EADDRINUSE");
    this.#allowed = ascending(spans);
  }

  /** The addresses that nobody reserved, ascending. */
  holes(): readonly IovaSpan[] {
    return holesIn({ start: 0n, last: LAST_IOVA }, this.#reserved);
  }
}

/** What of a span none of the others has, ascending. */
export function holesIn(whole: IovaSpan, used: readonly IovaSpan[]): readonly IovaSpan[] {
  const holes: IovaSpan[] = [];
  let next = whole.start;
  for (const { start, last } of ascending(used)) {
    if (last < next) continue;
    if (start > whole.last) break;
    if (start > next) holes.push({ start: next, last: start - 1n });
    next = last + 1n;
  }
  if (next <= whole.last) holes.push({ start: next, last: whole.last });
  return holes;
}

function ascending(spans: readonly IovaSpan[]): readonly IovaSpan[] {
  return [...spans].sort((a, b) => (a.start < b.start ? -1 : 1));
}

function overlap(a: IovaSpan, b: IovaSpan): boolean {
  return a.start <= b.last && b.start <= a.last;
}
