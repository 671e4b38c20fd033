import { readFileSync } from "node:fs";
import { DualPathEngine, IoAddressSpace, simulate } from "iospan";
import { afterEach, describe, expect, it, vi } from "vitest";
import { throughput } from "./throughput.js";

const chip = readFileSync(new URL("../../chips/dual-smmu.dts", import.meta.url));
const names = { function: "0000:01:00.0", port: "9030000.dma-port" };

describe("an engine with two paths to memory", () => {
  it.each(["mirrored", "shared-container"] as const)(
    "copies at twice the speed through both (%s)",
    async (strategy) => {
      const machine = simulate(chip, { drivers: "vfio" });
      await using space = await IoAddressSpace.open(machine, Object.values(names), { strategy });
      await using engine = await DualPathEngine.open(space, names);
      using buffer = space.allocate(2 ** 21);
      const [onPci = 0, port = 0, both = 0] = (await throughput(engine, buffer)).map((way) => way.bytesPerSecond);
      expect(onPci / 1e9).toBeGreaterThan(7);
      expect(port / 1e9).toBeGreaterThan(7);
      expect(both / Math.max(onPci, port)).toBeGreaterThan(1.9);
      expect(space.audit().consistent).toBe(true);
    },
  );
});

describe("the program", () => {
  const { argv } = process;
  afterEach(() => {
    process.argv = argv;
    vi.restoreAllMocks();
  });

  it("says how fast each way is", async () => {
    const lines = vi.spyOn(console, "log").mockImplementation(() => {});
    process.argv = ["node", "main.js", "--simulate"];
    await import("./main.js");
    const text = lines.mock.calls.map(([line]) => line).join("\n");
    expect(text).toMatch(/^0000:01:00\.0 is behind smmu3\.0x000000000c000000$/m);
    expect(text).toMatch(/^via both +1[45]\.\d\d GB\/s$/m);
    expect(process.exitCode).toBeUndefined();
  });
});
