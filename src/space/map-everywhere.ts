import { hex } from "../iova.js";
import type { Access } from "../vfio/container.js";
import { shortUnmap } from "../vfio/container-refusals.js";
import type { MappingRecord } from "./ledger.js";
import { mapStep } from "./map-step.js";
import { inconsistent, Rollback } from "./rollback.js";
import type { Steps } from "./steps.js";
import type { MapTarget } from "./strategies/strategy.js";

/** A target that a mapping reaches, and what the devices behind it may do there. */
export interface Reach {
  readonly target: MapTarget;
  readonly access: Access;
}

/**
 * Maps into every target, or into none.
 * @throws IospanError the target's refusal, or `ERR_IOSPAN_INCONSISTENT` when what was mapped could not be unmapped again.
 */
export function* mapEverywhere(record: MappingRecord, reaches: readonly Reach[]): Steps<void> {
  const rollback = new Rollback();
  try {
    for (const { target, access } of reaches) {
      yield mapStep(target, record, access);
      rollback.did(() => throwFirst(unmapFrom(target, record)));
    }
  } catch (error) {
    const failures = rollback.run();
    throw failures.length === 0 ? error : inconsistent(`mapping ${hex(record.iova)}`, error, failures);
  }
}

/**
 * Unmaps from every target, or from none.
 * @returns targets where less was mapped than the ledger says: an error for each. The range is free there now all the same.
 * @throws IospanError a target's refusal, or `ERR_IOSPAN_INCONSISTENT` when what was unmapped could not be mapped again.
 */
export function* unmapEverywhere(record: MappingRecord, reaches: readonly Reach[]): Steps<readonly Error[]> {
  const rollback = new Rollback();
  const short: Error[] = [];
  const { iova, size } = record;
  try {
    for (const { target, access } of reaches) {
      let unmapped = 0;
      yield {
        now: () => {
          unmapped = target.unmap(iova, size);
        },
        later: async () => {
          unmapped = await target.unmapAsync(iova, size);
        },
      };
      rollback.did(() => mapStep(target, record, access).now());
      if (unmapped !== size) short.push(confirmedShort(target, record, unmapped));
    }
    return short;
  } catch (error) {
    const failures = rollback.run();
    throw failures.length === 0 ? error : inconsistent(`unmapping ${hex(iova)}`, error, failures);
  }
}

/**
 * Unmaps from one target.
 * @returns an error where less was mapped than the ledger says; the range is free there all the same.
 * @throws IospanError the target's refusal, or `ERR_IOSPAN_UNMAP_SHORT` where something is still mapped.
 */
export function unmapFrom(target: MapTarget, { iova, size }: MappingRecord): readonly Error[] {
  const unmapped = target.unmap(iova, size);
  return unmapped === size ? [] : [confirmedShort(target, { iova, size }, unmapped)];
}

function throwFirst([failure]: readonly Error[]): void {
  if (failure !== undefined) throw failure;
}

/** An IOVA may only be used again once nothing translates it: the kernel is asked, not believed. */
function confirmedShort(
  target: MapTarget,
  { iova, size }: Pick<MappingRecord, "iova" | "size">,
  unmapped: number,
): Error {
  const error = shortUnmap(iova, size, unmapped, target.iommus, target.devices);
  if (target.isMapped(iova, BigInt(size))) throw error;
  return error;
}
