import { describe, expect, it } from "vitest";
import { KERNELS } from "../../lab/kernels.js";
import { formatListing } from "../../lab/listing.js";
import { MACHINES } from "../../lab/machines.js";

const inCache = KERNELS.map((source) => {
  const facts = { release: "7.3.4+deb13-arm64-16k", version: "7.3.4-1~bpo13+1" };
  return { source, kernel: { name: source.name, folder: "/cache", ...facts } };
});
const missing = KERNELS.map((source) => ({ source }));

describe("the list", () => {
  it("tells what every kernel and machine is, in 80 columns", () => {
    for (const text of [formatListing(inCache), formatListing(missing)]) {
      for (const { name, summary } of [...KERNELS, ...MACHINES]) {
        expect(text.split("\n").some((line) => line.trim().startsWith(name) && line.endsWith(summary))).toBe(true);
      }
      expect(text.split("\n").filter((line) => line.length > 80)).toEqual([]);
    }
  });

  it("tells which kernels are in the cache, and how the others come there", () => {
    expect(formatListing(inCache)).toContain("in the cache: 7.3.4+deb13-arm64-16k (Debian 7.3.4-1~bpo13+1)");
    const text = formatListing(missing);
    expect(text).toContain("not in the cache: the newest 6.1 of Debian bookworm is downloaded");
    expect(text).toContain("not in the cache: the newest source of 7.3 is compiled");
    expect(text.match(/is downloaded|is compiled/g)).toHaveLength(KERNELS.length);
  });
});
