import { describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { IospanError } from "../../src/errors.js";
import { faulty } from "../../src/syscalls/faulty.js";
import type { Call } from "../../src/syscalls/intercepted.js";
import { proveDma } from "../conformance/dma-proof.js";
import { movers } from "../conformance/frame-mover.js";
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
      await proveDma({ syscalls: kernel }, space, movers(space));
      return failed && space.strategy;
    } catch (error) {
      if (error instanceof IospanError) return error.code;
      throw error;
    }
  }

  /** What a device itself refuses, it refuses to every strategy. */
  const OF_DEVICES = ["ERR_IOSPAN_INTERRUPT_REFUSED", "ERR_IOSPAN_REGION_ACCESS"];

  it.each([
    ["EPERM", ["shared-container"]],
    // A region or an interrupt that the kernel does not know is left out.
    ["EINVAL", ["iommufd", "shared-container"]],
    ["ENOMEM", ["ERR_IOSPAN_ATTACH_REFUSED", "ERR_IOSPAN_SYSCALL"]],
  ] as const)("auto finds another way or says why, and leaves nothing: %s", async (name, expected) => {
    const ends = new Set<string>();
    for (let nth = 1; ; nth += 1) {
      const kernel = withIommufd();
      const end = await openWith(kernel, nth, errno[name]);
      expect([nth, leftOf(kernel)]).toEqual([nth, NOTHING]);
      if (end === undefined) break;
      ends.add(end);
    }
    const others = [...ends].filter((end) => !OF_DEVICES.includes(end));
    expect(others.sort()).toEqual(expected);
  });
});
