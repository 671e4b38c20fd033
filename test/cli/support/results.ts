import type { ApproachReport, DemoResult, MachineReport } from "../../../src/cli/demo/result.js";

const FIRST = "0000:01:00.0";
const SECOND = "9030000.dma-port";

/** An approach that works on two interfaces. */
export function working(changes: Partial<ApproachReport> = {}): ApproachReport {
  const smmu = { commands: 40, invalidations: 12, walks: 130, hits: 900 };
  return {
    approach: "mirrored",
    works: true,
    expected: { works: true, errno: null, because: "a container per IOMMU works on every kernel" },
    asExpected: true,
    error: null,
    containers: 2,
    domains: 2,
    pinnedPages: 1024,
    mappedBytes: 2 ** 21,
    dma: [
      { interface: FIRST, bytes: 262144, source: "cpu", verified: true },
      { interface: SECOND, bytes: 262144, source: "cpu", verified: true },
      { interface: SECOND, bytes: 262144, source: FIRST, verified: true },
      { interface: FIRST, bytes: 262144, source: SECOND, verified: true },
    ],
    throughput: {
      onePath: 4e9,
      bothPaths: 7.6e9,
      ratio: 1.9,
      paths: [
        { interface: FIRST, bytesPerSecond: 4e9 },
        { interface: SECOND, bytesPerSecond: 3e9 },
      ],
    },
    cost: {
      systemCalls: 61,
      mapCalls: 4,
      sysfs: 80,
      smmus: [
        { iommu: "smmu3.0x0000000009050000", ...smmu },
        { iommu: "smmu3.0x0000000009070000", ...smmu },
      ],
    },
    kernelLog: [],
    ...changes,
  };
}

/** An approach that Linux refuses. */
export function refused(changes: Partial<ApproachReport> = {}): ApproachReport {
  return {
    ...working(),
    approach: "single-domain",
    works: false,
    expected: { works: false, errno: "EINVAL", because: "a page table belongs to one SMMU" },
    error: {
      syscall: "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
      errno: "EINVAL",
      code: "ERR_IOSPAN_ATTACH_REFUSED",
      message: `${SECOND} cannot join the domain of ${FIRST}: they are behind different IOMMUs`,
      hint: 'open the space with { strategy: "mirrored" }',
    },
    containers: 0,
    domains: 0,
    pinnedPages: 0,
    mappedBytes: 0,
    dma: [],
    throughput: null,
    ...changes,
  };
}

/** Two interfaces of one engine behind two SMMUs. */
export function machine(changes: Partial<MachineReport> = {}): MachineReport {
  return {
    chip: "dual-smmu.dts",
    release: "7.3",
    iommus: [
      { name: "smmu3.0x0000000009050000", compatible: "arm,smmu-v3", granule: 4096 },
      { name: "smmu3.0x0000000009070000", compatible: "arm,smmu-v3", granule: 4096 },
    ],
    interfaces: [
      { device: FIRST, bus: "pci", iommu: "smmu3.0x0000000009050000", group: 2 },
      { device: SECOND, bus: "platform", iommu: "smmu3.0x0000000009070000", group: 11 },
    ],
    engines: [{ kind: "dual-path", interfaces: [FIRST, SECOND] }],
    gain: { ratio: 1.9, memoryBandwidth: null, limit: "paths" },
    leftOut: [],
    space: null,
    ...changes,
  };
}

/** One approach refused, one that works, both as expected. */
export function result(changes: Partial<DemoResult> = {}): DemoResult {
  const plan = [{ strategy: "mirrored", chosen: true, reason: "works on every kernel" }] as const;
  return {
    machine: machine(),
    approaches: [refused(), working()],
    asExpected: true,
    spans: true,
    auto: { strategy: "mirrored", plan },
    kernelLog: [],
    ...changes,
  };
}
