import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { render } from "../../../src/cli/demo/render.js";
import type { DemoResult, GainReport } from "../../../src/cli/demo/result.js";
import type { Line } from "../../../src/cli/text/line.js";
import { lineWidth } from "../../../src/cli/text/width.js";
import { machine, refused, result, working } from "../support/results.js";

const text = (line: Line) => line.map((span) => span.text).join("");
const lines = (of: DemoResult) => render(of).map(text);
const page = (of: DemoResult) => lines(of).join("\n");

describe("the picture of the machine", () => {
  it("has the interfaces behind their IOMMUs, and what they belong to", () => {
    const [, ...tree] = lines(result());
    expect(tree.slice(0, 5)).toEqual([
      "  memory",
      "  ├─ smmu3.0x0000000009050000  arm,smmu-v3",
      "  │  └─ group 2   0000:01:00.0      PCIe     ──┐",
      "  └─ smmu3.0x0000000009070000  arm,smmu-v3     │ one DMA engine",
      "     └─ group 11  9030000.dma-port  platform ──┘",
    ]);
  });

  it("has several interfaces behind one IOMMU", () => {
    const interfaces = machine().interfaces.map((each) => ({ ...each, iommu: "smmu0" }));
    const one = machine({ iommus: [{ name: "smmu0", compatible: "arm,smmu-v3", granule: 4096 }], interfaces });
    expect(lines(result({ machine: one })).slice(2, 5)).toEqual([
      "  └─ smmu0  arm,smmu-v3",
      "     ├─ group 2   0000:01:00.0      PCIe     ──┐ one DMA engine",
      "     └─ group 11  9030000.dma-port  platform ──┘",
    ]);
  });

  it("says what devices are that have nothing in common", () => {
    const drawn = page(
      result({ machine: machine({ engines: [{ kind: "edu", interfaces: ["0000:01:00.0", "9030000.dma-port"] }] }) }),
    );
    expect(drawn).not.toContain("one DMA engine");
    expect(drawn.match(/edu, a DMA engine/g)).toHaveLength(2);
  });
});

describe("the picture of an approach", () => {
  it("says what was refused, by which call, and why", () => {
    const drawn = page(result());
    expect(drawn).toContain("✗ refused  EINVAL from VFIO_DEVICE_ATTACH_IOMMUFD_PT");
    expect(drawn).toContain("why      a page table belongs to one SMMU");
    expect(drawn).not.toContain("expected that");
  });

  it("has a proof for each interface", () => {
    const drawn = page(result());
    expect(drawn).toContain("0000:01:00.0      copied 256 KiB: the CPU's ✓, the other's ✓");
    expect(drawn).toContain("9030000.dma-port  copied 256 KiB: the CPU's ✓, the other's ✓");
    const twice = page(result({ approaches: [working(), working({ approach: "shared-container" })] }));
    expect(twice.match(/each copied what the CPU wrote, then what the other wrote: ✓ equal/g)).toHaveLength(1);
  });

  it("tells the hint and what was expected when it fails unexpectedly", () => {
    const expected = { works: true, errno: null, because: "it always did" };
    const drawn = page(result({ approaches: [refused({ asExpected: false, expected })], asExpected: false }));
    expect(drawn).toContain("✗ fails");
    expect(drawn).toContain('hint     open the space with { strategy: "mirrored" }');
    expect(drawn).toContain("! expected that it works: it always did");
    expect(drawn).toContain("✗ Not as expected: single-domain.");
  });

  it("says so when it works unexpectedly", () => {
    const expected = { works: false, errno: "EINVAL", because: "it never did" };
    const drawn = page(result({ approaches: [working({ asExpected: false, expected })], asExpected: false }));
    expect(drawn).toContain("✓ works");
    expect(drawn).toContain("! expected that it is refused with EINVAL: it never did");
  });

  it("has what the kernel logged", () => {
    const log = ["vfio-pci 0000:22:00.0: cannot attach to SMMU arm-smmu-v3.0.auto (upstream of arm-smmu-v3.1.auto)"];
    expect(page(result({ approaches: [working({ kernelLog: log })] }))).toContain(
      "kernel   vfio-pci 0000:22:00.0: cannot",
    );
    expect(page(result({ approaches: [working({ kernelLog: log })] }))).toContain("means    no failure: type1");
    expect(page(result({ approaches: [refused({ kernelLog: log })] }))).not.toContain("no failure");
    expect(page(result({ approaches: [working({ kernelLog: ["event"] })] }))).not.toContain("no failure");
  });
});

describe("the rest of the picture", () => {
  it("compares what approaches cost that work", () => {
    const drawn = page(
      result({ approaches: [refused(), working(), working({ approach: "shared-container", containers: 1 })] }),
    );
    expect(drawn).toMatch(/^ {3}mirrored +2 +2 +1024 +61 +80 +260$/m);
    expect(drawn).toMatch(/^ {3}shared-container +1 +2 +1024 +61 +80 +260$/m);
    expect(drawn).not.toMatch(/^ {3}single-domain /m);
  });

  it("draws throughput to scale", () => {
    const bars = lines(result()).filter((line) => line.includes("█"));
    expect(bars.map((line) => line.match(/█/g)?.length)).toEqual([19, 14, 36]);
    expect(bars.at(-1)).toMatch(/7\.6 GB\/s {2}1\.90x$/);
  });

  it("tells approaches apart whose throughput differs", () => {
    const slow = { ...working().throughput!, bothPaths: 5e9 };
    const others = [working({ approach: "shared-container", throughput: slow })];
    expect(page(result({ approaches: [working(), ...others] }))).toContain(
      "with mirrored; 5 GB/s with shared-container",
    );
  });

  it("has no comparison of one path with itself", () => {
    const throughput = { onePath: 4e9, bothPaths: 4e9, ratio: 1, paths: [{ interface: "a", bytesPerSecond: 4e9 }] };
    const drawn = page(result({ approaches: [working({ throughput })] }));
    expect(drawn).not.toContain("second path");
    expect(drawn).not.toContain("times as fast");
  });

  it("says what keeps a second path from being worth something", () => {
    const throughput = { ...working().throughput!, bothPaths: 6.4e9, onePath: 6.4e9, ratio: 1 };
    const drawn = (gain: GainReport | null) =>
      page(result({ machine: machine({ gain }), approaches: [working({ throughput })] })).replaceAll(/\n +/g, " ");
    expect(drawn({ ratio: 1, memoryBandwidth: 12.8e9, limit: "memory" })).toContain(
      "both paths together copy no faster than the faster alone: memory, with 12.8 GB/s for reads and writes, is the limit.",
    );
    expect(drawn(null)).toMatch(/no faster than the faster alone\. Strategy auto/);
  });

  it("leaves out what there is nothing to say about", () => {
    const drawn = page(result({ approaches: [refused()], spans: false, auto: null }));
    expect(drawn).not.toContain("What it costs");
    expect(drawn).not.toContain("█");
    expect(drawn.replaceAll(/\n +/g, " ")).toMatch(
      /\n! Nothing spans the interfaces\. With 2 IOMMUs, single-domain \(EINVAL\) is refused\.$/,
    );
    expect(drawn).not.toContain("✓");
  });

  it("has no second path where devices have one each", () => {
    const interfaces = ["0000:01:00.0", "9030000.dma-port"];
    const drawn = page(result({ machine: machine({ engines: [{ kind: "edu", interfaces }] }) }));
    expect(drawn).not.toContain("second path");
    expect(drawn).not.toContain("times as fast");
    expect(drawn.replaceAll(/\n +/g, " ")).toContain("both devices read and write the same memory");
  });

  it("is no success where there is one interface", () => {
    const [interfaces, leftOut] = [machine().interfaces.slice(1), [{ device: "0000:01:00.0", why: "no IOMMU" }]];
    const drawn = page(result({ machine: machine({ interfaces, leftOut }), spans: false }));
    expect(drawn).toMatch(/\n! Only one interface can do DMA through an IOMMU, nothing to span\.$/);
    expect(drawn).toContain("\n  left out 0000:01:00.0  no IOMMU\n");
  });

  it("says what auto takes, and what it cannot", () => {
    const plan = [
      { strategy: "shared-container", chosen: false, reason: "no page size in common" },
      { strategy: "mirrored", chosen: true, reason: "works on every kernel" },
    ] as const;
    expect(page(result())).toMatch(/\n {2}Strategy auto takes mirrored \(works on every kernel\)\.$/);
    expect(page(result({ auto: { strategy: "mirrored", plan } }))).toMatch(
      /\(works on every kernel\), for shared-container is\n {2}refused\.$/,
    );
    const iommufd = { strategy: "iommufd", chosen: false, reason: "no /dev/iommu" } as const;
    expect(page(result({ auto: { strategy: "mirrored", plan: [iommufd, ...plan] } }))).toMatch(
      /for iommufd and\n {2}shared-container are refused\.$/,
    );
    const notTried = { strategy: "mirrored", chosen: false, reason: "not tried" } as const;
    const taken = { strategy: "iommufd", chosen: true, reason: "pins memory once" } as const;
    expect(page(result({ auto: { strategy: "iommufd", plan: [taken, notTried] } }))).toMatch(
      /Strategy auto takes iommufd \(pins memory once\)\.$/,
    );
  });

  it("says what all can address where IOMMUs differ, and only there", () => {
    const [first = "", second = ""] = machine().iommus.map(({ name }) => name);
    const common = { granule: 4096, pageSizes: [4096], removedPageSizes: [] };
    const iovaRanges = [{ start: "0x0", end: "0xfff" }];
    const all = { start: "0x2000", end: "0xffff", by: [first, second] };
    const equal = { ...common, iovaRanges, removedIovas: [all] };
    expect(page(result({ machine: machine({ space: equal }) }))).toBe(page(result()));
    const one = { start: "0x1000", end: "0x1fff", by: [second] };
    const unequal = {
      ...equal,
      granule: 65536,
      removedIovas: [one, all],
      removedPageSizes: [{ size: 4096, by: [first] }],
    };
    expect(lines(result({ machine: machine({ space: unequal }) }))).toEqual(
      expect.arrayContaining([
        "  IOVAs for all, in steps of 64 KiB: 0x0-0xfff",
        `    ${second} excludes 0x1000-0x1fff`,
        `    ${first} has no pages of 4 KiB`,
      ]),
    );
  });
});

describe("the width", () => {
  const name = fc.string({ unit: fc.constantFrom("a", "0", ".", "-", ":", " ", "世"), minLength: 1, maxLength: 90 });
  const rate = fc.double({ min: 1, max: 1e15, noNaN: true });
  const count = fc.nat();

  it("is 80 columns at most, whatever the names and numbers", () => {
    const anyResult = fc.record({ device: name, iommu: name, chip: name, message: name, rate, count }).map((any) => {
      const interfaces = machine().interfaces.map((each) => ({
        ...each,
        device: any.device,
        iommu: any.iommu,
        group: any.count,
      }));
      const paths = interfaces.map(({ device }) => ({ interface: device, bytesPerSecond: any.rate }));
      const approaches = [
        refused({ error: { ...refused().error!, message: any.message }, kernelLog: [any.message] }),
        working({
          pinnedPages: any.count,
          dma: [{ interface: any.device, bytes: any.count, source: any.iommu, verified: true }],
          throughput: { onePath: any.rate, bothPaths: any.rate, ratio: any.rate, paths },
        }),
      ];
      const iommus = [{ name: any.iommu, compatible: any.message, granule: 4096 }];
      return result({ machine: machine({ chip: any.chip, iommus, interfaces }), approaches });
    });
    fc.assert(
      fc.property(anyResult, (any) => {
        for (const line of render(any)) expect(lineWidth(line), text(line)).toBeLessThanOrEqual(80);
      }),
    );
  });
});
