import { afterEach, describe, expect, it, vi } from "vitest";
import { DualPathEngine, type DualPathEngineOptions, type Via } from "../../src/drivers/dual-path-engine.js";
import { reportedBy } from "../../src/drivers/dual-path-errors.js";
import { CONTROL, REGISTER } from "../../src/drivers/dual-path-registers.js";
import { IospanError } from "../../src/errors.js";
import { iova } from "../../src/iova.js";
import type { MachineDescription } from "../../src/sim/linux/description.js";
import { DmaMemory } from "../../src/space/dma-memory.js";
import { IoAddressSpace } from "../../src/space/io-address-space.js";
import { errorFrom, errorOf } from "../support/errors.js";
import { engineMachine, FUNCTION, OTHER_PORT, PORT, SMMU1 } from "./engine-machine.js";

const KiB = 1024;
const names = { function: FUNCTION, port: PORT };

interface SetUpOptions {
  readonly interfaces?: { readonly function?: string; readonly port?: string };
  readonly engine?: DualPathEngineOptions;
  readonly machine?: Partial<MachineDescription>;
}

async function setUp({ interfaces = names, engine: options = {}, machine = {} }: SetUpOptions = {}) {
  const kernel = engineMachine(machine);
  const used = Object.values(interfaces).filter((name) => name !== undefined);
  const space = await IoAddressSpace.open(kernel, used, { strategy: "mirrored" });
  const engine = await DualPathEngine.open(space, interfaces, options);
  const buffer = space.allocate(512 * KiB);
  for (let i = 0; i < 256 * KiB; i++) buffer.bytes[i] = (i * 7 + (i >> 8)) & 0xff;
  const source = buffer.iova;
  const target = iova(buffer.iova + BigInt(256 * KiB));
  const copied = (length: number) => {
    const to = buffer.bytes.subarray(256 * KiB, 256 * KiB + length);
    return Buffer.compare(to, buffer.bytes.subarray(0, length)) === 0;
  };
  return { kernel, space, engine, buffer, source, target, copied };
}

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const each of opened.splice(0)) await each.close();
});

/** {@link setUp}, closed after the test. */
async function use(options: SetUpOptions = {}) {
  const all = await setUp(options);
  opened.push(all.engine, all.space);
  return all;
}

describe("the driver of the dual-path engine", () => {
  it.each<[Via, readonly [number, number]]>([
    ["function", [64 * KiB, 0]],
    ["port", [0, 64 * KiB]],
    ["both", [32 * KiB, 32 * KiB]],
  ])("copies via %s", async (via, carried) => {
    const { engine, source, target, copied } = await use();
    const { bytes, started, finished, elapsed } = await engine.copy(source, target, 64 * KiB, { via });
    expect([bytes, copied(64 * KiB), copied(64 * KiB + 8)]).toEqual([64 * KiB, true, false]);
    expect([started > 0, elapsed]).toEqual([true, finished - started]);
    expect(engine.counters).toEqual({ function: BigInt(carried[0]), port: BigInt(carried[1]), jobs: 1 });
  });

  it("takes half the time via both", async () => {
    const { engine, source, target } = await use();
    const one = await engine.copy(source, target, 256 * KiB, { via: "port" });
    const both = await engine.copy(source, target, 256 * KiB);
    expect(one.elapsed / both.elapsed).toBeGreaterThan(1.9);
    expect(engine.time).toBeGreaterThanOrEqual(BigInt(both.finished));
  });

  it("fills memory", async () => {
    const { engine, buffer, target } = await use();
    await engine.fill(target, 16, 0x0102030405060708n, { via: "port" });
    expect([...buffer.bytes.subarray(256 * KiB, 256 * KiB + 20)]).toEqual([
      ...[8, 7, 6, 5, 4, 3, 2, 1],
      ...[8, 7, 6, 5, 4, 3, 2, 1],
      ...[0, 0, 0, 0],
    ]);
  });

  it.each<[string, SetUpOptions["interfaces"], Via]>([
    ["its function", { function: FUNCTION }, "function"],
    ["its port", { port: PORT }, "port"],
  ])("works with %s alone", async (_what, interfaces, via) => {
    const { engine, source, target, copied } = await use({ interfaces: interfaces! });
    await engine.copy(source, target, 8 * KiB);
    await engine.copy(source, target, 8 * KiB, { via });
    expect(copied(8 * KiB)).toBe(true);
    const error = await errorFrom(engine.copy(source, target, 8, { via: "both" }));
    expect(error.code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
  });

  it.each([names, { function: FUNCTION }, { port: PORT }])("polls where it is told to: %o", async (interfaces) => {
    const { engine, source, target, copied } = await use({ interfaces, engine: { completion: "poll" } });
    await Promise.all([engine.copy(source, target, 64), engine.copy(iova(source + 64n), iova(target + 64n), 64)]);
    expect(copied(128)).toBe(true);
  });

  it("takes more jobs than its ring has room for, and does them in order", async () => {
    const { engine, buffer, target } = await use({ engine: { descriptors: 4 } });
    const ended: number[] = [];
    const jobs = Array.from({ length: 50 }, async (_, at) => {
      const report = await engine.fill(iova(target + BigInt(at * 8)), 4096, BigInt(at));
      ended.push(at);
      return report;
    });
    const reports = await Promise.all(jobs);
    expect(ended).toEqual(Array.from({ length: 50 }, (_, at) => at));
    for (const [at, { started }] of reports.slice(1).entries()) {
      expect(started).toBeGreaterThan(reports[at]!.finished);
    }
    expect(buffer.bytes[256 * KiB + 49 * 8]).toBe(49);
  });

  it("cuts jobs into chunks of the size it is told", async () => {
    const { engine, source, target } = await use({ engine: { chunk: 512 } });
    await engine.copy(source, target, 1024 + 512);
    expect(engine.counters).toMatchObject({ function: 1024n, port: 512n });
  });
});

describe("a fault", () => {
  /** Memory that only the function can write. */
  async function half() {
    const all = await use();
    const memory = DmaMemory.allocate(all.kernel, 64 * KiB);
    opened.push({ close: async () => memory.release() });
    const mapping = await all.space.map(memory, {
      iova: 0x4000_0000n,
      interfaces: { [FUNCTION]: "read-write", [PORT]: "read" },
    });
    return { ...all, mapping };
  }

  it("rejects the job with device, IOMMU and IOVA", async () => {
    const { engine, source, mapping } = await half();
    const error = await errorFrom(engine.copy(source, mapping.iova, 64 * KiB, { via: "both" }));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_DMA_FAULT", device: PORT, iommu: SMMU1 });
    expect(error.message).toBe(`${PORT} could not write IOVA 0x40001000`);
    expect(error.cause).toEqual({ reported: "WRITE_FAULT", iova: 0x4000_1000n });
  });

  it("is in the kernel's log, too", async () => {
    const { engine, kernel, target } = await use();
    const error = await errorFrom(engine.copy(0x7000_0000, target, 8, { via: "function" }));
    expect([error.device, error.message]).toEqual([FUNCTION, `${FUNCTION} could not read IOVA 0x70000000`]);
    expect(kernel.log.join("\n")).toContain("0x0000000070000000");
  });

  it("leaves the jobs around it alone", async () => {
    const { engine, source, target, copied, mapping } = await half();
    const results = await Promise.allSettled([
      engine.copy(source, target, 4 * KiB),
      engine.copy(source, mapping.iova, 64, { via: "port" }),
      engine.copy(source, iova(mapping.iova + 4096n), 64, { via: "port" }),
      engine.copy(iova(source + 4096n), iova(target + 4096n), 4 * KiB),
    ]);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "rejected", "fulfilled"]);
    expect(copied(8 * KiB)).toBe(true);
  });

  it("of the ring itself ends the engine", async () => {
    const { engine, source, target, deafen } = await deaf();
    deafen();
    const jobs = [engine.copy(source, target, 8), engine.copy(source, target, 8)].map(errorFrom);
    for (const job of jobs) expect((await job).message).toMatch(/could not read its descriptor ring at IOVA 0x/);
    expect((await errorFrom(engine.copy(source, target, 8))).code).toBe("ERR_IOSPAN_DMA_FAULT");
  });

  /** The function may not master the bus: no DMA, and no message that says so. */
  async function deaf() {
    const all = await use({ interfaces: { function: FUNCTION }, engine: { patience: 20 } });
    return { ...all, deafen: () => all.space.interface(FUNCTION).pciConfig!.setBusMaster(false) };
  }
});

describe("opening and closing", () => {
  it("closing rejects what is under way, after which nothing is written", async () => {
    const { engine, space, buffer, source, target } = await setUp();
    const jobs = [engine.copy(source, target, 256 * KiB), engine.copy(source, target, 8)].map(errorFrom);
    await engine.close();
    const after = buffer.bytes.slice();
    for (const job of jobs) expect((await job).code).toBe("ERR_IOSPAN_CLOSED");
    await new Promise((resolve) => setTimeout(resolve));
    expect(Buffer.compare(buffer.bytes, after)).toBe(0);
    expect((await errorFrom(engine.copy(source, target, 8))).code).toBe("ERR_IOSPAN_CLOSED");
    expect(errorOf(() => engine.time).code).toBe("ERR_IOSPAN_CLOSED");
    await engine.close();
    await space.close();
  });

  it("leaves nothing behind", async () => {
    const { kernel, engine, space, source, target } = await setUp();
    await engine.copy(source, target, 8);
    const mappings = space.mappings.length;
    await engine[Symbol.asyncDispose]();
    expect(space.mappings.length).toBe(mappings - 1);
    await space.close();
    expect([kernel.openFds, kernel.pinnedPages]).toEqual([[], 0]);
  });

  it("lets a function master the bus that the kernel cannot reset", async () => {
    await using space = await IoAddressSpace.open(engineMachine({}, false), [FUNCTION], { strategy: "mirrored" });
    expect(space.interface(FUNCTION).pciConfig?.busMaster).toBe(false);
    await using engine = await DualPathEngine.open(space, { function: FUNCTION });
    const buffer = space.allocate(16);
    expect(await engine.copy(buffer.iova, iova(buffer.iova + 8n), 8)).toMatchObject({ bytes: 8 });
  });

  it("can be opened again", async () => {
    const { engine, space } = await use();
    await engine.close();
    await using again = await DualPathEngine.open(space, names);
    const buffer = space.allocate(16);
    await again.copy(buffer.iova, iova(buffer.iova + 8n), 8);
    expect(again.counters.jobs).toBe(1);
  });

  it("notices that its space was closed under it", async () => {
    const { engine, space, source, target } = await setUp();
    const job = errorFrom(engine.copy(source, target, 256 * KiB));
    await space.close();
    expect((await job).code).toMatch(/ERR_IOSPAN_(CLOSED|DEVICE_FAILED)/);
    expect((await errorFrom(engine.copy(source, target, 8))).code).toMatch(/ERR_IOSPAN_(CLOSED|DEVICE_FAILED)/);
    await engine.close();
  });

  it.each<[string, { function?: string; port?: string }, RegExp]>([
    ["nothing", {}, /needs an interface/],
    ["another device", { function: "0000:02:00.0" }, /is no dual-path engine: its ID register reads 0x10000ed/],
    ["its port as the function", { function: PORT }, /is the engine's platform port/],
    ["two engines", { function: FUNCTION, port: OTHER_PORT }, /belongs to another engine/],
  ])("refuses %s", async (_what, interfaces, message) => {
    const kernel = engineMachine();
    const used = [FUNCTION, PORT, OTHER_PORT, "0000:02:00.0"];
    await using space = await IoAddressSpace.open(kernel, used, { strategy: "mirrored" });
    expect((await errorFrom(DualPathEngine.open(space, interfaces))).message).toMatch(message);
    expect(space.mappings).toEqual([]);
  });

  it.each<DualPathEngineOptions>([
    { descriptors: 3 },
    { descriptors: 1 },
    { chunk: 32 },
    { chunk: 100 },
    { patience: 0 },
    { patience: 2 ** 31 },
    { patience: Number.NaN },
  ])("refuses %o", async (engine) => {
    const kernel = engineMachine();
    await using space = await IoAddressSpace.open(kernel, [FUNCTION], { strategy: "mirrored" });
    const error = await errorFrom(DualPathEngine.open(space, { function: FUNCTION }, engine));
    expect(error.code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
  });

  it("gives everything back when it cannot be opened", async () => {
    const kernel = engineMachine();
    await using space = await IoAddressSpace.open(kernel, [FUNCTION], { strategy: "mirrored" });
    const taken = space.interface(FUNCTION).interrupt("msi");
    expect((await errorFrom(DualPathEngine.open(space, { function: FUNCTION }))).code).toBe("ERR_IOSPAN_BUSY");
    expect(space.mappings).toEqual([]);
    taken.close();
    await using engine = await DualPathEngine.open(space, { function: FUNCTION });
    expect(engine.counters.jobs).toBe(0);
  });
});

describe("an engine that is reset by somebody else", () => {
  const patient = { engine: { patience: 30 } };

  /** Its CONTROL register, and others, as somebody else writes them. */
  function write(space: IoAddressSpace, register: keyof typeof REGISTER, value: number) {
    space.interface(PORT).region(0).write32(REGISTER[register], value);
  }

  it.each(["interrupt", "poll"] as const)("is told so when its port goes away: %s", async (completion) => {
    const { engine, space, source, target } = await use({ engine: { completion } });
    await engine.copy(source, target, 8);
    await space.detach(PORT);
    const error = await errorFrom(engine.copy(source, target, 8, { via: "function" }));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_DEVICE_FAILED", device: FUNCTION });
    expect(error.message).toMatch(/was reset by somebody else: its ring is at 0x0 and not at 0x/);
    expect(await errorFrom(engine.fill(target, 8, 0n))).toBe(error);
  });

  it("gives up the jobs that were under way", async () => {
    const { engine, space, source, target } = await use(patient);
    const jobs = [engine.copy(source, target, 256 * KiB), engine.copy(source, target, 8)].map(errorFrom);
    write(space, "CONTROL", CONTROL.RESET);
    for (const job of jobs) expect((await job).message).toMatch(/was reset by somebody else/);
  });

  it("is not taken for one that passes descriptors", async () => {
    const { engine, space, source, target } = await use({ engine: { patience: 30, descriptors: 4 } });
    for (let job = 0; job < 3; job++) await engine.copy(source, target, 8);
    // HEAD is 3, and 0 after the reset: as if the descriptor were done.
    const jobs = [engine.copy(source, target, 256 * KiB)].map(errorFrom);
    write(space, "CONTROL", CONTROL.RESET);
    for (const job of jobs) expect((await job).message).toMatch(/was reset by somebody else/);
    expect((await errorFrom(engine.copy(source, target, 8))).code).toBe("ERR_IOSPAN_DEVICE_FAILED");
  });

  it("leaves it to who has opened it since", async () => {
    const { engine, space, source, target, copied } = await use({ engine: { completion: "poll" } });
    await using second = await DualPathEngine.open(space, names, { completion: "poll" });
    expect((await errorFrom(engine.copy(source, target, 8))).message).toMatch(/was reset by somebody else/);
    await engine.close();
    await second.copy(source, target, 64);
    expect(copied(64)).toBe(true);
  });

  it("is not, by one that cannot be opened because its interrupt is taken", async () => {
    const { engine, space, source, target, copied } = await use();
    const job = engine.copy(source, target, 64);
    expect((await errorFrom(DualPathEngine.open(space, names))).code).toBe("ERR_IOSPAN_BUSY");
    await job;
    await engine.copy(source, target, 64);
    expect(copied(64)).toBe(true);
  });
});

describe("what an engine reports but a fault", () => {
  it.each(["BAD_RING", "BAD_DESCRIPTOR", "BAD_LENGTH", "BAD_ALIGNMENT", "UNKNOWN"] as const)(
    "is a device that failed: %s",
    async (reported) => {
      const error = reportedBy({ name: PORT, iommu: SMMU1 }, { reported, iova: 0n });
      expect(error).toMatchObject({ code: "ERR_IOSPAN_DEVICE_FAILED", device: PORT, cause: { reported } });
      expect([error.message, error.hint]).toEqual([
        `${PORT} reports ${reported} for 0x0`,
        expect.not.stringContaining("map"),
      ]);
    },
  );

  it("ends the engine when it is the ring", async () => {
    const { engine, space, source, target } = await use();
    space.interface(PORT).region(0).write32(REGISTER.TAIL, 99);
    expect((await errorFrom(engine.copy(source, target, 8))).message).toMatch(/reports BAD_RING for 0x0/);
  });
});

describe("a job that cannot be", () => {
  it("is refused before it is asked for", async () => {
    const { engine, source, target } = await use();
    const refused = [
      engine.copy(source, target, 0),
      engine.copy(source, target, 12),
      engine.copy(source, target, 2 ** 32),
      engine.copy(iova(source + 4n), target, 8),
      engine.copy(source, iova(target + 1n), 8),
      engine.copy(2n ** 64n - 8n, target, 16),
      engine.copy(-8, target, 8),
      engine.copy(source, iova(source + 8n), 16),
      engine.fill(target, 8.5, 0n),
      engine.copy(source, target, 8, { via: "neither" as Via }),
    ];
    for (const job of refused) expect((await errorFrom(job)).code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
    expect(engine.counters.jobs).toBe(0);
  });
});

describe("an engine that does not answer", () => {
  const patient = { interfaces: { function: FUNCTION }, engine: { patience: 30 } };
  afterEach(() => {
    vi.restoreAllMocks();
  });

  /** A doorbell that is not heard. */
  function withoutDoorbell(space: IoAddressSpace) {
    const registers = space.interface(FUNCTION).region("bar0");
    const write32 = registers.write32.bind(registers);
    vi.spyOn(registers, "write32").mockImplementation((offset, value) => {
      if (offset !== REGISTER.TAIL) write32(offset, value);
    });
    return registers;
  }

  it("is given up on", async () => {
    const { engine, space, source, target } = await use(patient);
    withoutDoorbell(space);
    const error = await errorFrom(engine.copy(source, target, 8));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_DEVICE_FAILED", device: FUNCTION });
    expect(error.message).toBe(`${FUNCTION} has not ended a job for 30 ms`);
  });

  it("is asked before it is given up on, for interrupts can be lost", async () => {
    const { engine, kernel, source, target, copied } = await use(patient);
    vi.spyOn(kernel, "readEventfd").mockReturnValue(0);
    await engine.copy(source, target, 8);
    await engine.copy(source, target, 16);
    expect(copied(16)).toBe(true);
  });

  it.each([Number.POSITIVE_INFINITY, 2 ** 31 - 1])(
    "is waited for as long as it is told to: %s ms",
    async (patience) => {
      const { engine, space, source, target } = await setUp({ ...patient, engine: { patience } });
      withoutDoorbell(space);
      let ended = false;
      const job = errorFrom(engine.copy(source, target, 8)).finally(() => {
        ended = true;
      });
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(ended).toBe(false);
      await engine.close();
      expect((await job).code).toBe("ERR_IOSPAN_CLOSED");
      await space.close();
    },
  );

  it("is not waited for while there is nothing to do", async () => {
    const { engine } = await use(patient);
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(engine.counters.jobs).toBe(0);
  });

  it("is gone when its registers read as all ones", async () => {
    const { engine, space, source, target } = await use(patient);
    const registers = withoutDoorbell(space);
    const job = errorFrom(engine.copy(source, target, 8));
    vi.spyOn(registers, "read32").mockReturnValue(0xffff_ffff);
    expect((await job).message).toBe(`${FUNCTION} is gone: its HEAD register reads 0xffffffff`);
  });
});

describe("the driver's errors", () => {
  it("are IospanErrors with a hint", async () => {
    const { engine, target } = await use();
    const error = await errorFrom(engine.copy(0x7000_0000, target, 8));
    expect(error).toBeInstanceOf(IospanError);
    expect(error.hint).toContain("map all of the memory");
  });
});

describe("a machine's kernel", () => {
  it("is the same for the same jobs", async () => {
    const times = async () => {
      const { engine, source, target } = await use();
      const reports = [
        await engine.copy(source, target, 100 * KiB),
        await engine.fill(target, 8 * KiB, 1n),
        await engine.copy(source, target, 64, { via: "port" }),
      ];
      return reports.map(({ started, finished }) => [started, finished]);
    };
    expect(await times()).toEqual(await times());
  });
});
