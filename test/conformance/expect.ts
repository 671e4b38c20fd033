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

/** Compares long byte arrays, and shows the first difference instead of all of them. */
export function sameBytes(actual: Uint8Array, expected: Uint8Array, what: string): void {
  assert.equal(actual.length, expected.length, what);
  const at = actual.findIndex((byte, index) => byte !== expected[index]);
  assert.ok(at < 0, `${what}: byte ${at} is ${actual[at]}, not ${expected[at]}`);
}

/** Every IOMMU has what the space says, as the kernel sees it. */
export function consistent(space: IoAddressSpace, mappings?: number): void {
  const report = space.audit();
  assert.deepEqual(report.differences, []);
  assert.equal(report.consistent, true);
  if (mappings !== undefined) assert.equal(space.mappings.length, mappings);
}
