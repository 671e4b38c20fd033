import { describe, expect, it } from "vitest";
import { readChip } from "../../../src/cli/chip-file.js";
import { expectedGain, isAsFastAs } from "../../../src/cli/demo/gain.js";
import { simulate } from "../../../src/sim/simulate.js";

const PATHS = ["0000:01:00.0", "9030000.dma-port"];

describe("the gain that a chip's figures allow", () => {
  it("is what the links have together, where memory has more", () => {
    const gain = expectedGain(simulate(readChip("dual-smmu").content), PATHS);
    expect(gain?.limit).toBe("paths");
    expect(gain?.ratio).toBeCloseTo((7.877 + 8) / 8, 3);
  });

  it("is nothing, where memory has less than one link asks of it", () => {
    expect(expectedGain(simulate(readChip("dual-smmu-slow-memory").content), PATHS)).toEqual({
      ratio: 1,
      memoryBandwidth: 12.8e9,
      limit: "memory",
    });
  });

  it("is not known of one path, and of links without a bandwidth", () => {
    const machine = simulate(readChip("dual-smmu").content);
    expect(expectedGain(machine, PATHS.slice(0, 1))).toBeNull();
    expect(expectedGain(machine, [...PATHS, "0000:00:01.0"])).toBeNull();
  });

  it("is reached or not", () => {
    const gain = { ratio: 2, memoryBandwidth: null, limit: "paths" } as const;
    const throughput = (ratio: number) => ({ onePath: 1, bothPaths: ratio, ratio, paths: [] });
    expect(isAsFastAs(throughput(1.94), gain)).toBe(true);
    expect(isAsFastAs(throughput(1.8), gain)).toBe(false);
  });
});
