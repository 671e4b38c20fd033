import { errnoName } from "../../../src/abi/errno.js";
import { refusalOf } from "../../../src/sim/linux/refusal.js";

/** The name of the errno that the kernel's code refuses with; undefined when it does not. */
export function outcome(call: () => void): string | undefined {
  const refusal = refusalOf(call);
  return refusal && errnoName(refusal.errno);
}
