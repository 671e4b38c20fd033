import { beforeEach, describe, expect, it } from "vitest";
import { linux } from "../../src/machine/linux.js";
import { machineOne, machineOneDescription } from "../../src/sim/linux/machine-one.js";
import { DmaMemory } from "../../src/space/dma-memory.js";
import { IoAddressSpace } from "../../src/space/io-address-space.js";
import { errorOf } from "../support/errors.js";

const FIRST = "0000:02:00.0";
const SECOND = "0000:22:00.0";
let kernel = machineOne();

beforeEach(() => {
  kernel = machineOne();
});

describe("a buffer of a space", () => {
  it("gives its memory back however it is unmapped", async () => {
    await using space = await IoAddressSpace.open(kernel, [FIRST]);
    const buffers = [space.allocate(4096), space.allocate(4096), space.allocate(4096)];
    for (const mapping of space.mappings.slice(0, 1)) await mapping.unmap();
    for (const mapping of space.mappings.slice(0, 1)) await space.unmap(mapping);
    buffers[2]?.free();
    expect(buffers.map(({ memory }) => memory.released)).toEqual([true, true, true]);
  });

  it("is not unmapped by another space", async () => {
    await using one = await IoAddressSpace.open(kernel, [FIRST]);
    await using two = await IoAddressSpace.open(kernel, [SECOND]);
    using buffer = one.allocate(4096);
    await expect(two.unmap(buffer)).rejects.toMatchObject({ code: "ERR_IOSPAN_INVALID_ARGUMENT" });
    expect(buffer.mapped).toBe(true);
  });
});

describe("an interface of a space", () => {
  it.each([undefined, 0])("is not named by %o", async (name) => {
    await using space = await IoAddressSpace.open(kernel, [FIRST]);
    expect(errorOf(() => Reflect.apply(space.interface, space, [name]))).toMatchObject({
      ...{ code: "ERR_IOSPAN_INVALID_ARGUMENT", message: `a device is named by text, not by ${typeof name}` },
    });
  });
});

describe("the end of a using block", () => {
  it("is no error while the space closes", async () => {
    const space = await IoAddressSpace.open(kernel, [FIRST, SECOND]);
    let closing: Promise<void> | undefined;
    {
      using buffer = space.allocate(4096);
      expect(buffer.mapped).toBe(true);
      closing = space.close();
    }
    await closing;
    expect([kernel.openFds, kernel.lockedBytes]).toEqual([[], 0]);
  });

  it("takes effect after an attach that is under way", async () => {
    await using space = await IoAddressSpace.open(kernel, [FIRST]);
    const buffer = space.allocate(4096);
    const attaching = space.attach(SECOND);
    buffer[Symbol.dispose]();
    expect(buffer.mapped).toBe(true);
    await attaching;
    // Whatever is asked for next comes after it.
    using memory = DmaMemory.allocate(kernel, 4096);
    await (await space.map(memory)).unmap();
    expect([buffer.mapped, buffer.memory.released]).toEqual([false, true]);
    expect(space.audit()).toMatchObject({ consistent: true, checked: 0 });
  });
});

describe("a device that cannot be reset", () => {
  it("does not master the bus until its driver lets it", async () => {
    const { devices } = machineOneDescription();
    const unresettable = devices.map((each) =>
      each.name === FIRST && each.bus === "pci" ? { ...each, reset: false } : each,
    );
    await using space = await IoAddressSpace.open(machineOne({ devices: unresettable }), [FIRST]);
    const device = space.interface(FIRST);
    expect([device.resettable, device.pciConfig?.busMaster]).toEqual([false, false]);
    device.pciConfig?.setBusMaster(true);
    expect(device.pciConfig?.busMaster).toBe(true);
  });
});

describe("a device of a space", () => {
  it("cannot be closed but by the space", async () => {
    await using space = await IoAddressSpace.open(kernel, [FIRST]);
    const device = space.interface(FIRST);
    await expect(device.close()).rejects.toMatchObject({ code: "ERR_IOSPAN_BUSY", device: FIRST });
    expect(device.closed).toBe(false);
    await space.detach(FIRST);
    expect(device.closed).toBe(true);
    await device.close();
  });
});

describe("what makes no sense", () => {
  it("is refused with what would", async () => {
    const invalid = { code: "ERR_IOSPAN_INVALID_ARGUMENT" };
    // @ts-expect-error what a caller without types may pass
    await expect(IoAddressSpace.open(kernel, FIRST)).rejects.toMatchObject({
      ...invalid,
      hint: expect.stringContaining("["),
    });
    await using space = await IoAddressSpace.open(kernel, [FIRST]);
    // @ts-expect-error what a caller without types may pass
    await expect(space.map(new Uint8Array(4096))).rejects.toMatchObject({
      ...invalid,
      hint: expect.stringContaining("DmaMemory"),
    });
    // @ts-expect-error what a caller without types may pass
    expect(() => space.allocate(4096, { iova: "0x1000" })).toThrowError(expect.objectContaining(invalid));
    expect(space.audit()).toMatchObject({ consistent: true, checked: 0 });
  });

  it("is to ask a closed space for a device", async () => {
    const space = await IoAddressSpace.open(kernel, [FIRST]);
    await space.close();
    expect(() => space.interface(FIRST)).toThrowError(expect.objectContaining({ code: "ERR_IOSPAN_CLOSED" }));
  });
});

describe.skipIf(process.platform !== "linux")("memory on Linux", () => {
  it("that the machine does not have is refused before it is asked for", () => {
    expect(() => DmaMemory.allocate(linux(), 2 ** 50)).toThrowError(
      expect.objectContaining({
        code: "ERR_IOSPAN_NO_MEMORY",
        message: expect.stringContaining("GiB of memory the machine has"),
      }),
    );
  });
});
