import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Capability,
  capabilityHeader,
  decodeCapabilities,
  findCapability,
  MAX_CAPABILITIES,
} from "../../src/abi/capability.js";
import { encodeArray } from "../../src/abi/codec.js";
import {
  availableMappings,
  dmaAvailCapability,
  iovaRange,
  iovaRangeCapability,
  iovaRanges,
  migrationCapability,
  migrationLimits,
  type1Info,
  VFIO_IOMMU_TYPE1_INFO,
} from "../../src/abi/vfio-container-info.js";
import { atomicCapability, atomicCompletions, VFIO_DEVICE_INFO_CAP } from "../../src/abi/vfio-device.js";
import {
  regionType,
  regionTypeCapability,
  sparseAreas,
  sparseMmapArea,
  sparseMmapCapability,
  VFIO_REGION_INFO_CAP,
} from "../../src/abi/vfio-region.js";
import { IospanError } from "../../src/errors.js";
import { errorOf } from "./error-of.js";

const { CAP_IOVA_RANGE, CAP_MIGRATION, DMA_AVAIL } = VFIO_IOMMU_TYPE1_INFO;

const smmuRanges = [
  { start: 0n, end: 0x7ff_ffffn },
  { start: 0x810_0000n, end: 0xffff_ffff_ffffn },
];

/** What type1 answers for an SMMUv3 with 4 KiB pages, as observed; kernels up to 6.1 do not pad capabilities to 8 bytes. */
function type1Answer(iovaOffset: 68 | 72): Uint8Array {
  const answer = new Uint8Array(iovaOffset + 48);
  type1Info.write(answer, 0, { argsz: answer.length, flags: 3, iova_pgsizes: 0x4020_1000, cap_offset: 24 });
  migrationCapability.write(answer, 24, {
    header: { id: CAP_MIGRATION, version: 1, next: 56 },
    pgsize_bitmap: 4096,
    max_dirty_bitmap_size: 0x1000_0000,
  });
  dmaAvailCapability.write(answer, 56, { header: { id: DMA_AVAIL, version: 1, next: iovaOffset }, avail: 65535 });
  iovaRangeCapability.write(answer, iovaOffset, { header: { id: CAP_IOVA_RANGE, version: 1 }, nr_iovas: 2 });
  answer.set(encodeArray(iovaRange, smmuRanges), iovaOffset + 16);
  return answer;
}

function chainOf(...headers: readonly (readonly [offset: number, next: number])[]): Uint8Array {
  const answer = new Uint8Array(128);
  for (const [offset, next] of headers) capabilityHeader.write(answer, offset, { id: 1, version: 1, next });
  return answer;
}

function capability(id: number, bytes: Uint8Array): Capability {
  return { id, version: 1, offset: 24, bytes };
}

describe("the chain of a real answer", () => {
  it.each([
    { kernel: "Linux 7.3", offset: 72, total: 120 },
    { kernel: "Linux 5.10 and 6.1, on 4 bytes only", offset: 68, total: 116 },
  ] as const)("$kernel: capabilities at 24, 56 and $offset", ({ offset, total }) => {
    const answer = type1Answer(offset);
    expect(answer.length).toBe(total);
    const chain = decodeCapabilities(answer, type1Info.decode(answer).cap_offset);
    expect(chain.map((found) => [found.id, found.version, found.offset])).toEqual([
      [CAP_MIGRATION, 1, 24],
      [DMA_AVAIL, 1, 56],
      [CAP_IOVA_RANGE, 1, offset],
    ]);
    expect(chain.map(({ bytes }) => bytes.length)).toEqual([32, offset - 56, 48]);
    expect(iovaRanges(findCapability(chain, CAP_IOVA_RANGE)!)).toEqual(smmuRanges);
    expect(availableMappings(findCapability(chain, DMA_AVAIL)!)).toBe(65535);
    const limits = migrationLimits(findCapability(chain, CAP_MIGRATION)!);
    expect(limits).toMatchObject({ pgsize_bitmap: 4096n, max_dirty_bitmap_size: 0x1000_0000n });
  });

  it("of an iommufd posing as a container: no migration, capabilities at 24 and 40", () => {
    const answer = new Uint8Array(40 + 32);
    dmaAvailCapability.write(answer, 24, { header: { id: DMA_AVAIL, version: 1, next: 40 }, avail: 0xffff_ffff });
    iovaRangeCapability.write(answer, 40, { header: { id: CAP_IOVA_RANGE, version: 1 }, nr_iovas: 1 });
    const chain = decodeCapabilities(answer, 24);
    expect(findCapability(chain, CAP_MIGRATION)).toBeUndefined();
    expect(availableMappings(findCapability(chain, DMA_AVAIL)!)).toBe(0xffff_ffff);
    expect(iovaRanges(findCapability(chain, CAP_IOVA_RANGE)!)).toEqual([{ start: 0n, end: 0n }]);
  });

  it("of a device of an older kernel, whose info ends at 20", () => {
    const answer = new Uint8Array(36);
    const header = { id: VFIO_DEVICE_INFO_CAP.PCI_ATOMIC_COMP, version: 1 };
    atomicCapability.write(answer, 20, { header, flags: 3 });
    expect(decodeCapabilities(answer, 20).map(atomicCompletions)).toEqual([3]);
  });

  it("is empty when there is none", () => {
    expect(decodeCapabilities(new Uint8Array(24), 0)).toEqual([]);
    expect(decodeCapabilities(new Uint8Array(0), 0)).toEqual([]);
  });
});

describe("a broken chain", () => {
  it.each<[problem: string, answer: Uint8Array, first: number]>([
    ["first offset inside the info struct", chainOf([16, 0]), 16],
    ["first offset behind the answer", chainOf(), 128],
    ["first offset far behind the answer", chainOf(), 0xffff_fffc],
    ["first header straddling the end", chainOf(), 124],
    ["misaligned first offset", chainOf([26, 0]), 26],
    ["negative first offset", chainOf(), -8],
    ["fractional first offset", chainOf(), 24.5],
    ["no number", chainOf(), Number.NaN],
    ["pointing to itself", chainOf([24, 24]), 24],
    ["pointing back", chainOf([40, 24], [24, 0]), 40],
    ["a loop of two", chainOf([24, 56], [56, 24]), 24],
    ["pointing into its own header", chainOf([24, 28]), 24],
    ["pointing into the info struct", chainOf([24, 8]), 24],
    ["pointing out of the answer", chainOf([24, 128]), 24],
    ["pointing far out of the answer", chainOf([24, 0xffff_fffc]), 24],
    ["the next header straddling the end", chainOf([24, 124]), 24],
    ["the next header misaligned", chainOf([24, 58]), 24],
  ])("%s", (_, answer, first) => {
    expect(errorOf(() => decodeCapabilities(answer, first)).code).toBe("ERR_IOSPAN_MALFORMED_ANSWER");
  });

  it("that never ends within reason", () => {
    const answer = new Uint8Array(24 + 8 * (MAX_CAPABILITIES + 1));
    const link = (count: number): void => {
      for (let index = 0; index < count; index += 1) {
        const next = index + 1 === count ? 0 : 24 + 8 * (index + 1);
        capabilityHeader.write(answer, 24 + 8 * index, { id: 1, version: 1, next });
      }
    };
    link(MAX_CAPABILITIES);
    expect(decodeCapabilities(answer, 24)).toHaveLength(MAX_CAPABILITIES);
    link(MAX_CAPABILITIES + 1);
    expect(errorOf(() => decodeCapabilities(answer, 24)).message).toContain("one more than the 64");
  });
});

describe("any bytes at all", () => {
  // Zeros and small words, so that chains often lead somewhere and end.
  const small = fc.integer({ min: 0, max: 40 }).map((n) => n * 4);
  const word = fc.oneof(fc.constant(0), small, fc.integer({ min: 0, max: 0xffff_ffff }));
  const offsets = fc.oneof({ weight: 4, arbitrary: small }, word, fc.double());
  const answers = fc
    .array(word, { maxLength: 64, size: "max" })
    .map((words) => new Uint8Array(Uint32Array.from(words).buffer));

  it("give capabilities inside the answer, in order, or an IospanError", () => {
    let chains = 0;
    fc.assert(
      fc.property(fc.oneof(answers, fc.uint8Array({ maxLength: 200, size: "max" })), offsets, (answer, first) => {
        const chain = decodedOrRefused(() => decodeCapabilities(answer, first)) ?? [];
        if (chain.length > 0) chains += 1;
        let end = 20;
        for (const { offset, bytes } of chain) {
          expect(offset).toBeGreaterThanOrEqual(end);
          expect(bytes.length).toBeGreaterThanOrEqual(capabilityHeader.size);
          expect(bytes.byteOffset).toBe(answer.byteOffset + offset);
          end = offset + bytes.length;
        }
        expect(end).toBeLessThanOrEqual(Math.max(20, answer.length));
      }),
      { numRuns: 5000 },
    );
    expect(chains).toBeGreaterThan(100);
  });

  it("give typed decoders values, or an IospanError", () => {
    const decoders = [iovaRanges, migrationLimits, availableMappings, sparseAreas, regionType, atomicCompletions];
    fc.assert(
      fc.property(answers, fc.integer({ min: 0, max: 6 }), fc.integer({ min: 0, max: 2 }), (bytes, id, version) => {
        for (const decode of decoders) decodedOrRefused<unknown>(() => decode({ id, version, offset: 24, bytes }));
      }),
      { numRuns: 2000 },
    );
  });

  it("bent from a real answer by one word lead nowhere else", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 29 }), word, (index, value) => {
        const answer = type1Answer(72);
        new DataView(answer.buffer).setUint32(index * 4, value, true);
        decodedOrRefused(() => {
          const chain = decodeCapabilities(answer, type1Info.decode(answer).cap_offset);
          const ranges = findCapability(chain, CAP_IOVA_RANGE);
          if (ranges !== undefined) expect(iovaRanges(ranges).length).toBeLessThanOrEqual(5);
        });
      }),
      { numRuns: 5000 },
    );
  });
});

function decodedOrRefused<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch (error) {
    if (error instanceof IospanError && error.code === "ERR_IOSPAN_MALFORMED_ANSWER") return undefined;
    throw error;
  }
}

describe("typed decoders", () => {
  const header = { id: CAP_IOVA_RANGE, version: 1 };

  it("iovaRanges refuses more ranges than there are bytes", () => {
    for (const nr_iovas of [1, 2, 0x1000_0000, 0xffff_ffff]) {
      const bytes = iovaRangeCapability.encode({ header, nr_iovas }, new Uint8Array(nr_iovas === 2 ? 31 : 15));
      expect(errorOf(() => iovaRanges(capability(CAP_IOVA_RANGE, bytes))).code).toBe("ERR_IOSPAN_MALFORMED_ANSWER");
    }
  });

  it("iovaRanges refuses a range that ends before it starts", () => {
    const range = encodeArray(iovaRange, [{ start: 2, end: 1 }]);
    const bytes = iovaRangeCapability.encode({ header, nr_iovas: 1 }, range);
    expect(errorOf(() => iovaRanges(capability(CAP_IOVA_RANGE, bytes))).message).toContain("before its start 0x2");
  });

  it("iovaRanges takes none, and the whole 64 bits", () => {
    expect(iovaRanges(capability(CAP_IOVA_RANGE, iovaRangeCapability.encode({ header })))).toEqual([]);
    const whole = encodeArray(iovaRange, [{ end: 2n ** 64n - 1n }]);
    const bytes = iovaRangeCapability.encode({ header, nr_iovas: 1 }, whole);
    expect(iovaRanges(capability(CAP_IOVA_RANGE, bytes))).toEqual([{ start: 0n, end: 2n ** 64n - 1n }]);
  });

  it("refuse another capability, another version and a cut-off one", () => {
    const bytes = iovaRangeCapability.encode({ header });
    for (const wrong of [
      capability(DMA_AVAIL, bytes),
      { ...capability(CAP_IOVA_RANGE, bytes), version: 2 },
      capability(CAP_IOVA_RANGE, bytes.subarray(0, 12)),
    ]) {
      expect(errorOf(() => iovaRanges(wrong)).code).toBe("ERR_IOSPAN_MALFORMED_ANSWER");
    }
  });

  it("sparseAreas gives what a BAR with an MSI-X table leaves to mmap", () => {
    const areas = [
      { offset: 0n, size: 0x2000n },
      { offset: 0x3000n, size: 0x1000n },
    ];
    const sparse = { id: VFIO_REGION_INFO_CAP.SPARSE_MMAP, version: 1 };
    const bytes = sparseMmapCapability.encode({ header: sparse, nr_areas: 2 }, encodeArray(sparseMmapArea, areas));
    expect(sparseAreas(capability(sparse.id, bytes))).toEqual(areas);
    const cut = capability(sparse.id, bytes.subarray(0, bytes.length - 1));
    expect(errorOf(() => sparseAreas(cut)).code).toBe("ERR_IOSPAN_MALFORMED_ANSWER");
  });

  it("regionType tells device specific regions apart", () => {
    const type = { id: VFIO_REGION_INFO_CAP.TYPE, version: 1 };
    const bytes = regionTypeCapability.encode({ header: type, type: 0x8000_8086, subtype: 1 });
    expect(regionType(capability(type.id, bytes))).toMatchObject({ type: 0x8000_8086, subtype: 1 });
  });
});
