import { describe, expect, it } from "vitest";
import { VFIO_CHECK_EXTENSION } from "../../src/abi/vfio-container.js";
import type { IommuDescription, ReservedDescription } from "../../src/sim/linux/description.js";
import { type MachineOneOptions, machineOne, machineOneDescription } from "../../src/sim/linux/machine-one.js";
import { outcome, PAGE, Program } from "./program.js";

const A = "0000:02:00.0";
const A2 = "0000:01:00.0";
const B = "0000:22:00.0";
const P = 4096n;
const WINDOW = "0-7ffffff";

/** Machine one with its SMMUs changed, and the first NVMe controller for VFIO, too: a second device behind the first SMMU. */
function setUp(changes: readonly Partial<IommuDescription>[] = [{}, {}], options: MachineOneOptions = {}) {
  const { iommus, devices } = machineOneDescription();
  const program = new Program(
    machineOne({
      iommus: iommus.map((iommu, index) => ({ ...iommu, ...changes[index] })),
      devices: devices.map((device) => (device.name === A2 ? { ...device, driver: "vfio-pci" } : device)),
      ...options,
    }),
  );
  return program;
}

/** Domains of the first container as IOMMU index and groups, newest first. */
function domains(program: Program): readonly string[] {
  const { domains: all = [] } = program.kernel.containers[0]?.type1 ?? {};
  return all.map(({ iommu, groups }) => `${iommu.endsWith("c000000") ? "smmu0" : "smmu1"}:${groups.join(",")}`);
}

function join(program: Program, container: number, device: string): number | string {
  return outcome(() => program.setContainer(program.group(device), container));
}

describe("groups in one container", () => {
  it("share a domain behind one SMMU and have one each behind two", () => {
    const program = setUp();
    program.open(A, A2);
    expect(domains(program)).toEqual(["smmu0:6,5"]);
    const other = setUp();
    other.open(A, B);
    expect(domains(other)).toEqual(["smmu1:10", "smmu0:6"]);
  });

  it("are attached by SET_IOMMU most recently added first", () => {
    const program = setUp();
    const container = program.container();
    for (const device of [A, A2, B]) join(program, container, device);
    program.setIommu(container);
    expect(domains(program)).toEqual(["smmu0:5,6", "smmu1:10"]);
  });

  it("get the mappings that are there, without another pin", () => {
    const program = setUp();
    const { container, groups } = program.open(A);
    const address = program.memory(4 * PAGE);
    program.bytes(address, 4 * PAGE)[0] = 99;
    program.map(container, 0n, 2n * P, address);
    program.map(container, 0x100000n, P, address + 2n * P, 1);
    const group = program.group(B);
    expect(program.setContainer(group, container)).toBe(0);
    expect(program.kernel.lockedBytes).toBe(3 * PAGE);
    const [newest, oldest] = program.kernel.containers[0]?.type1?.domains ?? [];
    expect(newest?.mappings).toEqual(oldest?.mappings);
    const edu = program.edu(program.device(group, B));
    edu.fetch(0n, 1);
    edu.store(P, 1);
    expect(program.bytes(address, 4 * PAGE)[PAGE]).toBe(99);
    program.unmap(container, 0n, 2n * P);
    expect(program.kernel.containers[0]?.type1?.domains.map(({ mappings }) => mappings.length)).toEqual([1, 1]);
    expect(groups).toHaveLength(1);
  });

  it("leave with their domain, the mappings stay in the others", () => {
    const program = setUp();
    const { container, groups, devices } = program.open(A, B);
    program.map(container, 0n, P, program.memory(PAGE));
    program.kernel.close(devices[0]!);
    program.unsetContainer(groups[0]!);
    expect(domains(program)).toEqual(["smmu1:10"]);
    expect(program.kernel.lockedBytes).toBe(PAGE);
    expect(program.setContainer(groups[0]!, container)).toBe(0);
    expect(program.kernel.containers[0]?.type1?.domains[0]?.mappings).toHaveLength(1);
  });
});

describe("page sizes and ranges", () => {
  const hole = (start: number, type: ReservedDescription["type"] = "reserved") => ({ start, end: start + 0xfff, type });

  it("are what all IOMMUs have in common", () => {
    const program = setUp([{}, { pageSizes: 0x40001000n, inputBits: 40, reserved: [hole(0x1000_0000)] }]);
    const container = program.container();
    const group = program.group(B);
    join(program, container, A);
    program.setIommu(container);
    expect(program.ranges(container)).toEqual([WINDOW, "8100000-ffffffffffff"]);
    expect(program.info(container).pageSizes).toBe(0x40201000n);
    program.setContainer(group, container);
    expect(program.ranges(container)).toEqual([WINDOW, "8100000-fffffff", "10001000-ffffffffff"]);
    expect(program.info(container).pageSizes).toBe(0x40001000n);
    program.unsetContainer(group);
    expect(program.ranges(container)).toEqual([WINDOW, "8100000-ffffffffffff"]);
    expect(program.info(container).pageSizes).toBe(0x40201000n);
  });

  it("nobody builds an SMMU with other pages than SMMUs have", () => {
    expect(() => setUp([{ pageSizes: 0x40201400n }])).toThrow(/has page sizes 0x40201400/);
    expect(() => setUp([{ pageSizes: 0x40200000n }])).toThrow(/has page sizes 0x40200000/);
    expect(() => setUp([{ outputBits: 30 }])).toThrow(/physical addresses of 30 bits/);
  });

  it("nobody refuses IOMMUs without a common page size", () => {
    const program = setUp([{}, { pageSizes: 0x20010000n }]);
    const { container } = program.open(A, B);
    expect(program.info(container).pageSizes).toBe(0n);
  });

  it("a page smaller than the processor's counts as one of the processor's", () => {
    const program = setUp([], { pageSize: 16384 });
    expect(program.info(program.open(A).container).pageSizes).toBe(0x40204000n);
  });

  it("a stage 2 IOMMU reaches as far as its physical addresses", () => {
    const program = setUp([{ stage: 2, outputBits: 44 }]);
    expect(program.ranges(program.open(A).container)).toEqual([WINDOW, "8100000-fffffffffff"]);
  });

  it("relaxable 1:1 regions make no hole", () => {
    const program = setUp([{ reserved: [hole(0x1000_0000, "direct-relaxable")] }]);
    expect(program.ranges(program.open(A).container)).toEqual([WINDOW, "8100000-ffffffffffff"]);
  });

  it("a hole at the edge of the window is not given back when the domain stays", () => {
    const { devices } = machineOneDescription();
    const program = setUp([], {
      devices: devices.map((device) =>
        device.name === A2 ? { ...device, driver: "vfio-pci", reserved: [hole(0)] } : device,
      ),
    });
    const { container } = program.open(A);
    const group = program.group(A2);
    program.setContainer(group, container);
    program.unsetContainer(group);
    expect(program.ranges(container)[0]).toBe("1000-7ffffff");
  });
});

describe("a group that does not fit", () => {
  /** The kernel's own memory is low, what programs get is not. */
  const memory = [
    { start: 2 ** 30, size: 2 ** 21 },
    { start: 2 ** 32, size: 2 ** 30 },
  ];
  const cases = [
    ["a mapping beyond its aperture", { inputBits: 40 }, 1n << 46n, "EINVAL"],
    [
      "a mapping in its reserved region",
      { reserved: [{ start: 0x1000_0000, end: 0x1000_0fff, type: "reserved" }] },
      0x1000_0000n,
      "EINVAL",
    ],
    ["memory beyond its physical addresses", { outputBits: 32 }, 0n, "ERANGE"],
    ["a mapping finer than its pages", { pageSizes: 0x20010000n }, 0x1000n, "EINVAL"],
  ] as const;

  it.each(cases)("%s: the container stays as it was", (_name, change, iova, expected) => {
    const program = setUp([{}, change], { memory });
    const { container } = program.open(A);
    program.map(container, iova, P, program.memory(PAGE));
    const before = program.kernel.containers[0];
    const group = program.group(B);
    expect(outcome(() => program.setContainer(group, container))).toBe(expected);
    expect(program.kernel.containers[0]).toEqual(before);
    expect(program.status(group)).toBe(1);
    program.unmap(container, iova, P);
    expect(outcome(() => program.setContainer(group, container))).toBe(0);
  });

  it("interrupts that are not isolated are refused, unless the module allows it", () => {
    const { devices } = machineOneDescription();
    const program = setUp([], {
      devices: devices.map((device) => (device.name === A ? { ...device, msiIsolated: false } : device)),
    });
    const container = program.container();
    join(program, container, A);
    expect(outcome(() => program.setIommu(container))).toBe("EPERM");
    expect(program.kernel.log.at(-1)).toMatch(/No interrupt remapping support/);
    program.kernel.writeFile("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "1");
    expect(program.setIommu(container)).toBe(0);
  });
});

describe("two SMMUs in one container, by release", () => {
  it.each([
    ["5.10.223", ["vfio-pci 0000:22:00.0: cannot attach to SMMU arm-smmu-v3.0.auto (upstream of arm-smmu-v3.1.auto)"]],
    ["6.1.176", ["vfio-pci 0000:22:00.0: cannot attach to SMMU arm-smmu-v3.0.auto (upstream of arm-smmu-v3.1.auto)"]],
    ["6.12.107", []],
    ["6.15.3", []],
    ["7.3.4", []],
  ])("%s makes a second domain", (release, log) => {
    const program = setUp([], { release });
    program.open(A, B);
    expect(domains(program)).toEqual(["smmu1:10", "smmu0:6"]);
    expect(program.kernel.log).toEqual(log);
  });

  it.each(["6.14.0", "6.15.2"])("%s says it has attached, and the DMA goes nowhere", (release) => {
    const program = setUp([], { release });
    const { container, devices } = program.open(A, B);
    expect(domains(program)).toEqual(["smmu0:6,10"]);
    const address = program.memory(PAGE);
    program.map(container, 0n, P, address);
    program.bytes(address, PAGE)[0] = 1;
    program.edu(devices[1]!).store(0n, 1);
    expect(program.bytes(address, PAGE)[0]).toBe(1);
    expect(program.kernel.log).toEqual([]);
  });
});

describe("other differences between releases", () => {
  const releases = ["5.10.223", "6.1.176", "6.12.107", "7.3.4"];
  const each = (probe: (program: Program) => unknown) => releases.map((release) => probe(setUp([], { release })));
  const group = (program: Program, container: number) =>
    outcome(() => program.setContainer(program.group(A), container));
  const extension = (program: Program, number: number) => {
    const { container } = program.open(A);
    return program.kernel.ioctl(container, VFIO_CHECK_EXTENSION, number);
  };

  it.each([
    [
      "a wrap",
      ["EINVAL", "EINVAL", "EINVAL", "EOVERFLOW"],
      (program: Program) => {
        const { container } = program.open(A);
        return outcome(() => program.map(container, 2n ** 64n - P, 2n * P, program.memory(PAGE)));
      },
    ],
    [
      "SET_CONTAINER /dev/null",
      ["EINVAL", "EINVAL", "EBADFD", "EBADFD"],
      (program: Program) => group(program, program.kernel.open("/dev/null", 2)),
    ],
    ["SET_CONTAINER -1", ["EINVAL", "EBADF", "EBADF", "EBADF"], (program: Program) => group(program, -1)],
    [
      "a bad device name without a container",
      ["EINVAL", "ENODEV", "ENODEV", "ENODEV"],
      (program: Program) => outcome(() => program.device(program.group(A), "x")),
    ],
    [
      "SET_IOMMU 6",
      [0, 0, "EPERM", "ENODEV"],
      (program: Program) => {
        const container = program.container();
        group(program, container);
        return outcome(() => program.setIommu(container, 6));
      },
    ],
    ["CHECK_EXTENSION 6", [1, 1, 1, 0], (program: Program) => extension(program, 6)],
    ["CHECK_EXTENSION 4", [1, 0, 0, 0], (program: Program) => extension(program, 4)],
    ["CHECK_EXTENSION 9", [0, 1, 1, 1], (program: Program) => extension(program, 9)],
    ["CHECK_EXTENSION 10", [0, 1, 1, 1], (program: Program) => extension(program, 10)],
    [
      "UNMAP everything",
      ["EINVAL", 0n, 0n, 0n],
      (program: Program) => {
        const { container } = program.open(A);
        return outcome(() => program.unmap(container, 0n, 0n, 2));
      },
    ],
    [
      "the size of GET_INFO's answer",
      [116, 116, 120, 120],
      (program: Program) => program.info(program.open(A).container, 24).argsz,
    ],
  ] as const)("%s", (_name, expected, probe) => {
    expect(each(probe)).toEqual(expected);
  });

  it("does not know kernels before 5.10", () => {
    expect(() => machineOne({ release: "5.4.0" })).toThrow(/no simulated Linux/);
  });
});
