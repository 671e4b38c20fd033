import { IOMMU_IOAS_ALLOC, ioasAlloc } from "../abi/iommufd-ioas.js";
import { destroy, IOMMU_DESTROY } from "../abi/iommufd-object.js";
import { withFailures } from "./failures.js";
import type { KernelQuestion } from "./kernel-question.js";
import { type About, refusal, shortages, unexplained } from "./refusal.js";

/** Any place will do in an address space that has nothing else. */
export const SOMEWHERE = 0x1000n;

/**
 * A question that is asked in an I/O address space of its own, without devices: nothing is pinned there, nothing comes into an
 * IOMMU, and mappings are as small as one byte (drivers/iommu/iommufd/io_pagetable.c). It ends with the question.
 * @param ask is given the kernel's number for it
 */
export function* withScratchIoas<Answer>(
  about: About,
  ask: (scratch: number) => KernelQuestion<Answer>,
): KernelQuestion<Answer> {
  const bytes = ioasAlloc.encode();
  const refused = yield { call: IOMMU_IOAS_ALLOC, bytes };
  if (refused !== undefined) throw notMade(refused, about);
  const { out_ioas_id: scratch } = ioasAlloc.decode(bytes);
  let answer: Answer;
  try {
    answer = yield* ask(scratch);
  } catch (error) {
    const left = yield* end(scratch, about);
    throw withFailures(error, left === undefined ? [] : [left]);
  }
  const left = yield* end(scratch, about);
  if (left !== undefined) throw left;
  return answer;
}

/** @returns why it is still there */
function* end(id: number, about: About): KernelQuestion<unknown> {
  const refused = yield { call: IOMMU_DESTROY, bytes: destroy.encode({ id }) };
  return refused && unexplained(refused, "ending the address space that the kernel was asked with", about);
}

function notMade(error: unknown, about: About): unknown {
  const refused = { code: "ERR_IOSPAN_SYSCALL", message: "no I/O address space can be made to ask with" } as const;
  const hint = "the kernel log may say more: dmesg | grep iommufd";
  return refusal(error, about, { ...refused, hint }, shortages(refused));
}
