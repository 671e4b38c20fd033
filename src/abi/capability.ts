import { type IospanError, malformedAnswer } from "../errors.js";
import { type Struct, struct } from "./codec.js";
import { u16, u32 } from "./fields.js";
import type { NameSet } from "./flags.js";

/** `struct vfio_info_cap_header` (include/uapi/linux/vfio.h). `next` counts from the start of the whole answer. */
export const capabilityHeader = struct("vfio_info_cap_header", { id: u16, version: u16, next: u32 });

/** One element of the chain behind an info answer. */
export interface Capability {
  readonly id: number;
  readonly version: number;
  /** Where it lies in the answer. */
  readonly offset: number;
  /** The capability from its header up to the next one or the end of the answer. */
  readonly bytes: Uint8Array;
}

/** The capabilities that the chain behind one call's answer may hold. */
export interface CapabilityTable {
  readonly ids: NameSet;
  /** Layouts of version 1 by id, each beginning with the header; none for a header alone. */
  readonly layouts: Readonly<Record<number, Struct>>;
}

/** More than any kernel has kinds of capabilities; what exceeds it is not a chain. */
export const MAX_CAPABILITIES = 64;

// Every info struct reaches at least to the end of its own `cap_offset`; this is where vfio_device_info's and
// vfio_iommu_type1_info's ends, and where older kernels, whose vfio_device_info has no padding, put the first capability.
const SHORTEST_INFO = 20;

/**
 * The capability chain of a VFIO info answer, in the kernel's order; empty when `firstOffset` is 0, which is how
 * the kernel says that there is none or that the buffer was too small for it.
 *
 * Believes nothing: each header must lie inside the answer, behind the one before it, and on 4 bytes. Not on 8: up to
 * 6.1 the kernel put capabilities behind one another without padding, so that a `__u64` in one may be misaligned.
 * @throws IospanError `ERR_IOSPAN_MALFORMED_ANSWER` where the chain breaks one of these rules.
 */
export function decodeCapabilities(answer: Uint8Array, firstOffset: number): readonly Capability[] {
  const chain: Capability[] = [];
  let offset = firstOffset;
  let earliest = SHORTEST_INFO;
  while (offset !== 0) {
    checkOffset(answer, offset, earliest);
    if (chain.length === MAX_CAPABILITIES)
      throw malformed(offset, `is one more than the ${MAX_CAPABILITIES} a chain may have`);
    const { id, version, next } = capabilityHeader.decode(answer, offset);
    chain.push({ id, version, offset, bytes: answer.subarray(offset, next === 0 ? answer.length : next) });
    earliest = offset + capabilityHeader.size;
    offset = next;
  }
  return chain;
}

function checkOffset(answer: Uint8Array, offset: number, earliest: number): void {
  if (!Number.isInteger(offset) || offset % 4 !== 0) throw malformed(offset, "is not on a multiple of 4");
  if (offset < earliest) throw malformed(offset, `points back, before byte ${earliest}`);
  if (offset + capabilityHeader.size > answer.length)
    throw malformed(offset, `leaves the answer of ${answer.length} bytes`);
}

/** The first capability with this id. */
export function findCapability(chain: readonly Capability[], id: number): Capability | undefined {
  return chain.find((capability) => capability.id === id);
}

/**
 * For decoders of one capability: its layout belongs to a version.
 * @throws IospanError `ERR_IOSPAN_MALFORMED_ANSWER` when it is another capability or another version.
 */
export function expectCapability(capability: Capability, id: number, version: number): void {
  if (capability.id === id && capability.version === version) return;
  const found = `capability ${capability.id} version ${capability.version}`;
  throw malformed(capability.offset, `is ${found}, not capability ${id} version ${version}`);
}

function malformed(offset: number, problem: string): IospanError {
  return malformedAnswer(`the kernel's capability at offset ${offset} ${problem}`);
}
