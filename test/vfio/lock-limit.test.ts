import { describe, expect, it } from "vitest";
import { lockLimit } from "../../src/vfio/lock-limit.js";
import { refused, strictSyscalls } from "../support/strict-syscalls.js";

const MIB = 2 ** 20;
const FIRST_NAMESPACE = "         0          0 4294967295\n";
const WITH = "Name:\tnode\nCapEff:\t0000000000004000\n";

function kernel(soft: number, files: Readonly<Record<string, string>>) {
  return strictSyscalls({
    memlockLimit: () => ({ soft, hard: soft }),
    readFile: (path) => {
      const text = files[path];
      if (text === undefined) throw refused("open", "ENOENT");
      return text;
    },
  });
}

describe("the limit on locked memory", () => {
  it.each([
    ["without CAP_IPC_LOCK", "CapEff:\t000001ffffffbfff\n", FIRST_NAMESPACE, false],
    ["with CAP_IPC_LOCK", WITH, FIRST_NAMESPACE, true],
    ["with it in a user namespace", WITH, "         0     100000      65536\n", false],
  ])("%s", (_name, status, map, isWithout) => {
    const files = { "/proc/self/status": status, "/proc/self/uid_map": map };
    expect(lockLimit(kernel(8 * MIB, files))).toEqual({ bytes: 8 * MIB, isWithout });
  });

  it("does not hold a capable process of a kernel without user namespaces", () => {
    const files = { "/proc/self/status": WITH };
    expect(lockLimit(kernel(MIB, files)).isWithout).toBe(true);
    const readFile = (path: string) => {
      if (path === "/proc/self/uid_map") throw refused("open", "EACCES");
      return WITH;
    };
    expect(lockLimit(strictSyscalls({ memlockLimit: () => ({ soft: MIB, hard: MIB }), readFile })).isWithout).toBe(
      false,
    );
  });

  it("is none where it is infinite, and stands where /proc does not say", () => {
    const infinite = Number.POSITIVE_INFINITY;
    expect(lockLimit(kernel(infinite, {}))).toEqual({ bytes: infinite, isWithout: true });
    expect(lockLimit(kernel(MIB, {}))).toEqual({ bytes: MIB, isWithout: false });
  });
});
