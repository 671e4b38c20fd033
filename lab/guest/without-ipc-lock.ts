/**
 * Gives up CAP_IPC_LOCK, the capability by which root is exempt from the limit on locked memory. For `node --import`:
 * what is pinned from the main thread afterwards counts as it does for an ordinary user.
 */
import koffi from "koffi";

// linux/capability.h
const CAPABILITY_VERSION_3 = 0x20080522;
const CAP_IPC_LOCK = 14;

const libc = koffi.load(null);
const capget = libc.func("capget", "int", ["void *", "void *"]);
const capset = libc.func("capset", "int", ["void *", "void *"]);

// Effective, permitted and inheritable, each 32 bits at a time: the low words of all three, then the high ones.
const header = Uint32Array.of(CAPABILITY_VERSION_3, 0);
const sets = new Uint32Array(6);
if (capget(header, sets) !== 0) throw new Error(`capget: errno ${koffi.errno()}`);
for (const low of [0, 1, 2]) sets[low] = (sets[low] ?? 0) & ~(1 << CAP_IPC_LOCK);
if (capset(header, sets) !== 0) throw new Error(`capset: errno ${koffi.errno()}`);
