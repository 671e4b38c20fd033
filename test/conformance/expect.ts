import assert from "node:assert/strict";
import { type ErrorCode, type IoAddressSpace, IospanError } from "iospan";

/** The call is refused with this code, an explanation and a way out. */
export async function refused(code: ErrorCode, call: () => unknown): Promise<IospanError> {
  const error = await failureOf(call);
  assert.ok(error instanceof IospanError, `expected ${code}, got ${error}`);
  assert.equal(error.code, code, error.message);
  assert.ok(error.message.length > 0);
  assert.ok(error.hint !== undefined && error.hint.length > 0, `${code} without a hint: ${error.message}`);
  return error;
}

async function failureOf(call: () => unknown): Promise<unknown> {
  try {
    await call();
  } catch (error) {
    return error;
  }
  assert.fail("nothing was refused");
}

/** Every IOMMU has what the space says, as the kernel sees it. */
export function consistent(space: IoAddressSpace, mappings?: number): void {
  const report = space.audit();
  assert.deepEqual(report.differences, []);
  assert.equal(report.consistent, true);
  if (mappings !== undefined) assert.equal(space.mappings.length, mappings);
}
