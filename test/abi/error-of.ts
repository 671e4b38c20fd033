import { IospanError } from "../../src/errors.js";

/** The {@link IospanError} that `action` throws; anything else it throws goes on, and nothing thrown is an error. */
export function errorOf(action: () => unknown): IospanError {
  try {
    action();
  } catch (error) {
    if (error instanceof IospanError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}
