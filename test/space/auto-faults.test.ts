import { describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { IospanError } from "../../src/errors.js";
import { faulty } from "../../src/syscalls/faulty.js";
import type { Call } from "../../src/syscalls/intercepted.js";
import { edus, proveDma } from "../conformance/dma-proof.js";
import { leftOf, NOTHING, open, withIommufd } from "../support/edu-spaces.js";

describe("whichever call of opening fails", () => {
  const SYSFS = new Set(["read-file", "write-file", "read-directory", "readlinkat"]);
  const isFallible = ({ name }: Call) => !SYSFS.has(name) && name !== "close" && name !== "munmap";

  /** @returns what was chosen, or the error's code; undefined where opening makes fewer calls */
  async function openWith(kernel: ReturnType<typeof withIommufd>, nth: number, number: number) {
    const syscalls = faulty(kernel, { match: isFallible, nth, errno: number });
    try {
      await using space = await open(syscalls);
      const { failed } = syscalls;
      syscalls.fault = undefined;
      await proveDma({ syscalls: kernel }, space, edus(space));
      return failed && space.strategy;
    } catch (error) {
      if (error instanceof IospanError) return error.code;
      throw error;
    }
  }

  /** What a device itself refuses, it refuses to every strategy. */
  const OF_DEVICES = ["ERR_IOSPAN_INTERRUPT_REFUSED", "ERR_IOSPAN_REGION_ACCESS"];

  /** Fails every `stride`th call. @returns how that ended, but for what the devices refuse. */
  async function endsOf(number: number, stride: number): Promise<readonly string[]> {
    const ends = new Set<string>();
    for (let nth = 1; ; nth += stride) {
      const kernel = withIommufd();
      const end = await openWith(kernel, nth, number);
      expect([nth, leftOf(kernel)]).toEqual([nth, NOTHING]);
      if (end === undefined) break;
      ends.add(end);
    }
    return [...ends].filter((end) => !OF_DEVICES.includes(end)).sort();
  }

  it("auto finds another way or does without, and leaves nothing", async () => {
    // A region or an interrupt that the kernel does not know is left out.
    expect(await endsOf(errno.EINVAL, 1)).toEqual(["iommufd", "shared-container"]);
  });

  // A sample: which errno it is makes a difference to what is tried next, not to what is undone.
  it.each([
    ["EPERM", ["iommufd", "shared-container"]],
    ["ENOMEM", ["iommufd", "ERR_IOSPAN_ATTACH_REFUSED", "ERR_IOSPAN_SYSCALL"]],
  ] as const)("auto finds another way or says why, and leaves nothing: %s", async (name, possible) => {
    const ends = await endsOf(errno[name], 5);
    expect(ends.length).toBeGreaterThan(0);
    for (const end of ends) expect(possible).toContain(end);
  });
});
