import { describe, expect, it } from "vitest";
import { approachNames } from "../../../src/cli/demo/approaches.js";
import { expectation } from "../../../src/cli/demo/expectation.js";
import { granuleOf } from "../../../src/cli/demo/granule.js";
import { isSince } from "../../../src/cli/demo/release.js";
import { strategyNames } from "../../../src/space/strategies/strategy.js";

const NEW = { release: "7.3.4+deb13-arm64", pageSize: 4096, granules: [4096, 4096], isolatedInterrupts: true };

/** What is expected of each approach, in their order: an errno, `refused` where any will do, or `works`. */
function expected(changes: Partial<typeof NEW> = {}): readonly string[] {
  return approachNames.map((approach) => {
    const { works, errno } = expectation(approach, { ...NEW, ...changes });
    return works ? "works" : (errno ?? "refused");
  });
}

describe("the approaches", () => {
  it("are the library's strategies", () => {
    expect([...approachNames].sort()).toEqual([...strategyNames].sort());
  });
});

describe("what is known of Linux", () => {
  it("with several IOMMUs: no common domain", () => {
    expect(expected()).toEqual(["EINVAL", "works", "works", "works"]);
    expect(expected({ granules: [4096, 4096, 4096] })).toEqual(["EINVAL", "works", "works", "works"]);
  });

  it("with one IOMMU: everything works", () => {
    expect(expected({ granules: [4096] })).toEqual(["works", "works", "works", "works"]);
  });

  it.each(["5.10.0-32-arm64", "6.1.0-50-arm64", "6.5.13"])("on %s: no iommufd", (release) => {
    expect(expected({ release })).toEqual(["refused", "works", "works", "refused"]);
    expect(expected({ release, granules: [4096] })).toEqual(["refused", "works", "works", "refused"]);
  });

  it.each(["6.14.0", "6.14.11", "6.15", "6.15.2"])("on %s: only containers of their own", (release) => {
    expect(expected({ release })).toEqual(["refused", "works", "refused", "refused"]);
    expect(expected({ release, granules: [4096] })).toEqual(["works", "works", "works", "works"]);
  });

  it.each(["6.6.0", "6.13.9", "6.15.3", "6.16", "10.0"])("on %s: as today", (release) => {
    expect(expected({ release })).toEqual(expected());
  });

  it("with different page sizes: only containers of their own", () => {
    expect(expected({ granules: [4096, 65536] })).toEqual(["EINVAL", "works", "refused", "EINVAL"]);
    expect(expected({ granules: [65536] })).toEqual(["EINVAL", "works", "works", "EINVAL"]);
    expect(expected({ granules: [65536], pageSize: 65536 })).toEqual(["works", "works", "works", "works"]);
  });

  it("without isolated interrupts: nothing", () => {
    expect(expected({ isolatedInterrupts: false })).toEqual(["EPERM", "EPERM", "EPERM", "EPERM"]);
  });

  it("has a reason", () => {
    for (const approach of approachNames) expect(expectation(approach, NEW).because).toMatch(/^\w.*[^.]$/);
  });
});

describe("the granule", () => {
  it.each([
    [4096, undefined, 4096],
    [4096, 0x4020_1000n | 0x2001_0000n, 4096],
    [4096, 0x2001_0000n, 65536],
    [16384, 0x4020_1000n | 0x0200_4000n, 16384],
    [65536, 0x4020_1000n, 4096],
    [65536, 0x4020_1000n | 0x0200_4000n, 16384],
  ])("for pages of %d, and an IOMMU with %s, is %d", (pageSize, pageSizes, granule) => {
    expect(granuleOf(pageSize, pageSizes)).toBe(granule);
  });
});

describe("a release", () => {
  it.each([
    ["6.14", [6, 14], true],
    ["6.14.0-rc1", [6, 14], true],
    ["6.13.9", [6, 14], false],
    ["6.15.2+deb13", [6, 15, 3], false],
    ["6.15.3", [6, 15, 3], true],
    ["7.0", [6, 15, 3], true],
    ["5.19", [6, 1], false],
  ] as const)("%s compared with %s", (release, version, since) => {
    expect(isSince(release, version)).toBe(since);
  });
});
