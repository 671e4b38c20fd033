import { describe, expect, it } from "vitest";
import { IospanError } from "../src/errors.js";
import { IoAddressSpace } from "../src/index.js";
import { checkOptions } from "../src/options.js";
import { machineOne } from "../src/sim/linux/machine-one.js";
import { errorFrom, errorOf } from "./support/errors.js";

interface Shape {
  readonly size?: number;
  readonly colour?: string;
}
const KNOWN = { size: true, colour: true } as const;
const check = (options: unknown) => checkOptions("paint()", options as Shape, KNOWN);

describe("options", () => {
  it("may be absent, one by one", () => {
    for (const options of [{}, { size: 1 }, { colour: undefined }, { size: 1, colour: "red" }]) check(options);
  });

  it.each([[{ sise: 1 }], [{ size: 1, color: "red" }], [{ toString: 1 }]])(
    "are refused when misspelt: %o",
    (options) => {
      const error = errorOf(() => check(options));
      expect(error).toMatchObject({ code: "ERR_IOSPAN_INVALID_ARGUMENT" });
      expect(error.message).toMatch(/^paint\(\) has no option "/);
      expect(error.hint).toBe("it has size, colour");
    },
  );

  it.each(["mirrored", 4096, null, true])("are an object, not %o", (options) => {
    expect(errorOf(() => check(options))).toMatchObject({ code: "ERR_IOSPAN_INVALID_ARGUMENT" });
  });
});

describe("a space", () => {
  const names = ["0000:02:00.0"];
  const anything = (value: unknown) => value as never;

  it("refuses misspelt options, and has changed nothing", async () => {
    const kernel = machineOne();
    const machine = { syscalls: kernel };
    for (const options of ["mirrored", { stategy: "mirrored" }]) {
      expect(await errorFrom(IoAddressSpace.open(machine, names, anything(options)))).toBeInstanceOf(IospanError);
    }
    const request = { device: "0000:02:00.0", vfTokn: "x" };
    expect(await errorFrom(IoAddressSpace.open(machine, [anything(request)]))).toBeInstanceOf(IospanError);
    expect(kernel.openFds).toEqual([]);
    await using space = await IoAddressSpace.open(machine, names);
    for (const options of [{ acess: "read" }, 0x1000]) {
      expect(errorOf(() => space.allocate(4096, anything(options))).code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
    }
    using buffer = space.allocate(4096);
    for (const options of [{ iov: 0x1000n }, 0x1000]) {
      expect((await errorFrom(space.map(buffer.memory, anything(options)))).code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
    }
    expect(space.mappings).toHaveLength(1);
  });
});
