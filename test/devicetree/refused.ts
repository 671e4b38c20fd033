import { expect } from "vitest";
import { errorOf } from "../support/errors.js";

/** The message of the one error that a malformed tree may give; it has a hint, too. */
export function refused(read: () => unknown): string {
  const { code, hint, message } = errorOf(read);
  expect(code).toBe("ERR_IOSPAN_DEVICE_TREE");
  expect(hint).not.toBe("");
  return message;
}
