import { refuse } from "../refusal.js";
import { holesIn, type IovaSpan, LAST_IOVA } from "./iova-rules.js";

/** What the kernel goes by when it chooses an address for a mapping. */
export interface ChoiceRequest {
  /** Of the memory, in the process. */
  readonly address: bigint;
  readonly length: bigint;
  /** Bytes of a page. */
  readonly pageSize: number;
  /** What every mapping is a multiple of. */
  readonly alignment: number;
  /** Where to look; anywhere where empty. */
  readonly allowed: readonly IovaSpan[];
  /** Reserved or mapped. */
  readonly used: readonly IovaSpan[];
}

/**
 * The lowest free address for a mapping that the program left to the kernel, never 0 (io_pagetable.c, iopt_alloc_iova): as
 * aligned as the memory is and the length can use, up to a transparent huge page, at the same place within its page.
 */
export function chooseIova(request: ChoiceRequest): bigint {
  const { address, length, pageSize, allowed, used } = request;
  if (length === 0n || length >= LAST_IOVA / 2n) refuse("EOVERFLOW");
  const alignment = wantedAlignment(address, length, pageSize);
  if (alignment < BigInt(request.alignment)) refuse("EINVAL");
  const place = (span: IovaSpan) => firstFit(span, length, alignment, address % BigInt(pageSize));
  const page = BigInt(pageSize);
  for (const { start, last } of allowed.length > 0 ? allowed : [{ start: page, last: LAST_IOVA - page }]) {
    const from = place({ start: start < page ? page : start, last });
    if (from === undefined) continue;
    for (const hole of holesIn({ start: from, last }, used)) {
      const found = place(hole);
      if (found !== undefined) return found;
    }
  }
  return refuse("ENOSPC");
}

function wantedAlignment(address: bigint, length: bigint, pageSize: number): bigint {
  let alignment = 1n;
  while (alignment < length) alignment *= 2n;
  const own = address & -address;
  if (address !== 0n && own < alignment) alignment = own;
  // HPAGE_SIZE: one level up, a page full of 8-byte entries.
  const huge = (BigInt(pageSize) * BigInt(pageSize)) / 8n;
  return alignment < huge ? alignment : huge;
}

/** __alloc_iova_check_range. */
function firstFit({ start, last }: IovaSpan, length: bigint, alignment: bigint, pageOffset: bigint) {
  const aligned = (((start + alignment - 1n) / alignment) * alignment) | pageOffset;
  return aligned >= last || last - aligned < length - 1n ? undefined : aligned;
}
