import { iova } from "iospan";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Edu } from "../../examples/edu/edu.js";

const COMMAND = 0x98;

/** An edu whose command register reads as told, and whose interrupt is closed before it comes. */
function eduWith(command: number): Edu {
  const bar = {
    read32: (offset: number) => (offset === COMMAND ? command : 0x010000ed),
    write32: () => {},
    write64: () => {},
  };
  const interrupt = { next: async () => ({ done: true, value: undefined }), [Symbol.dispose]: () => {} };
  const device = { name: "0000:02:00.0", region: () => bar, interrupt: () => interrupt };
  return new Edu(device as unknown as ConstructorParameters<typeof Edu>[0]);
}

describe("the example's driver", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("gives up on a job that does not end", async () => {
    const loading = expect(eduWith(1).load(iova(0), 1)).rejects.toThrow(/0000:02:00\.0 does not end its job/);
    await vi.advanceTimersByTimeAsync(20_000);
    await loading;
  });

  it("says so when the device is gone", async () => {
    await expect(eduWith(0xffff_ffff).load(iova(0), 1)).rejects.toThrow(/0000:02:00\.0 is gone/);
  });

  it("does not take a closed interrupt for the end of a job", async () => {
    await expect(eduWith(1).load(iova(0), 1, "msi")).rejects.toThrow(/interrupt was closed/);
  });

  it("ends a job whose end it sees", async () => {
    await expect(eduWith(0).load(iova(0), 1)).resolves.toBeUndefined();
  });
});

describe("the example's program", () => {
  const argv = process.argv;
  afterEach(() => {
    process.argv = argv;
    process.exitCode = undefined;
    vi.doUnmock("iospan");
    vi.restoreAllMocks();
    vi.resetModules();
  });

  it("gives every device back, whichever cannot be, and says why it failed", async () => {
    const restored: string[] = [];
    const said = vi.spyOn(console, "error").mockImplementation(() => {});
    vi.resetModules();
    vi.doMock("iospan", async (original) => ({
      ...(await original<typeof import("iospan")>()),
      linux: () => ({ syscalls: {} }),
      bindToVfio: (_: unknown, name: string) => ({
        restore: () => {
          restored.push(name);
          if (name === "b") throw new Error(`${name} stays where it is`);
        },
      }),
      IoAddressSpace: {
        open: async () => {
          throw new Error("no space for you");
        },
      },
    }));
    process.argv = ["node", "main.js", "--bind", "a", "b", "c"];
    await import("../../examples/edu/main.js");
    expect(restored).toEqual(["c", "b", "a"]);
    const lines = said.mock.calls.map(([line]) => line);
    expect(lines).toContain("error: no space for you");
    expect(lines).toContain("error: b stays where it is");
    expect(process.exitCode).toBe(1);
  });
});
