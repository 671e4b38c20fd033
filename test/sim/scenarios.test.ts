import { describe, expect, it } from "vitest";
import { VFIO_DEVICE_BIND_IOMMUFD } from "../../src/abi/vfio-cdev.js";
import { dmaUnmap, VFIO_IOMMU_UNMAP_DMA } from "../../src/abi/vfio-container.js";
import { inert } from "../../src/sim/hw/device-model.js";
import type { DeviceDescription, IommuDescription } from "../../src/sim/linux/description.js";
import { type MachineOneOptions, machineOne, machineOneDescription } from "../../src/sim/linux/machine-one.js";
import { O_RDWR } from "../../src/syscalls/mmap-flags.js";
import { outcome, PAGE, Program } from "./program.js";

// The surprising answers of real kernels, each seen there. What concerns iommufd is left out, /dev/iommu is not simulated yet:
// page tables shared across SMMUs, IOAS_MAP, COPY and UNMAP, an iommufd as container, BIND and ATTACH of character devices, HWPT_ALLOC.
// Two SMMUs in one container and the regression of 6.14 are in domains.test.ts, dirty pages in info-dirty.test.ts.

const A = "0000:02:00.0";
const B = "0000:22:00.0";
const P = 4096n;
const SMMU1 = "smmu3.0x000000000c020000";

interface Scenario {
  readonly what: string;
  readonly run: () => unknown;
  readonly answers: unknown;
}

function machine(options: MachineOneOptions = {}): Program {
  return new Program(machineOne(options));
}

function changed(name: string, change: Partial<DeviceDescription>): MachineOneOptions {
  const { devices } = machineOneDescription();
  const change_ = change as Partial<DeviceDescription & { bus: "pci" }>;
  return {
    devices: devices.map((device) =>
      device.name === name ? ({ ...device, ...change_ } as DeviceDescription) : device,
    ),
  };
}

function secondSmmu(change: Partial<IommuDescription>): MachineOneOptions {
  const { iommus } = machineOneDescription();
  return { iommus: iommus.map((iommu) => (iommu.name === SMMU1 ? { ...iommu, ...change } : iommu)) };
}

/** A container of type 1, version 1. */
function versionOne(program: Program): number {
  const container = program.container();
  program.setContainer(program.group(A), container);
  program.setIommu(container, 1);
  return container;
}

const platform = (msiIsolated: boolean): MachineOneOptions => {
  const port: DeviceDescription = {
    bus: "platform",
    name: "9030000.dma-port",
    iommu: SMMU1,
    streamId: 0x42,
    driver: "vfio-platform",
    compatible: ["example,dual-path-dma-port"],
    resources: [{ start: 0x9030000, size: 0x1000 }],
    msiIsolated,
    model: inert(),
  };
  return { devices: [...machineOneDescription().devices, port], resetRequired: false };
};

const scenarios: readonly Scenario[] = [
  {
    what: "a second SMMU joins a live container: success, no further pin, DMA at the same iova",
    answers: [0, PAGE, [5, 5]],
    run: () => {
      const program = machine();
      const { container } = program.open(A);
      const address = program.memory(PAGE);
      const bytes = program.bytes(address, PAGE);
      program.map(container, 0n, P, address);
      const group = program.group(B);
      const answer = program.setContainer(group, container);
      const edu = program.edu(program.device(group, B));
      bytes[0] = 5;
      edu.fetch(0n, 1);
      edu.store(9n, 1);
      return [answer, program.kernel.lockedBytes, [bytes[0], bytes[9]]];
    },
  },
  {
    what: "version 1: unmapping the first page of two removes both",
    answers: 2n * P,
    run: () => {
      const program = machine();
      const container = versionOne(program);
      program.map(container as never, 0n, 2n * P, program.memory(2 * PAGE));
      return program.unmap(container as never, 0n, P);
    },
  },
  {
    what: "version 1: from the middle of one mapping over the next: nothing is removed",
    answers: [0n, 3 * PAGE],
    run: () => {
      const program = machine();
      const container = versionOne(program) as never;
      const vaddr = program.memory(2 * PAGE);
      program.map(container, 0n, 2n * P, vaddr);
      program.map(container, 2n * P, P, vaddr);
      return [program.unmap(container, P, 2n * P), program.kernel.lockedBytes];
    },
  },
  {
    what: "version 2: one mapping and half of the next: EINVAL, both intact, size untouched",
    answers: ["EINVAL", 0x7000n, 8 * PAGE],
    run: () => {
      const program = machine();
      const { container } = program.open(A);
      const vaddr = program.memory(4 * PAGE);
      program.map(container, 0n, 4n * P, vaddr);
      program.map(container, 5n * P, 4n * P, vaddr);
      const bytes = dmaUnmap.encode({ iova: 0n, size: 7n * P });
      const answer = outcome(() => program.kernel.ioctl(container, VFIO_IOMMU_UNMAP_DMA, bytes));
      return [answer, dmaUnmap.decode(bytes).size, program.kernel.lockedBytes];
    },
  },
  {
    what: "every descriptor closed, a BAR still mapped: the group is busy until munmap",
    answers: ["EBUSY", 1],
    run: () => {
      const program = machine();
      const { container, groups, devices } = program.open(A);
      const { address } = program.edu(devices[0]!);
      for (const fd of [container, groups[0]!, devices[0]!]) program.kernel.close(fd);
      const busy = outcome(() => program.group(A));
      program.kernel.munmap(address, 2 ** 20);
      return [busy, program.status(program.group(A))];
    },
  },
  {
    what: "a device without isolated interrupts: EPERM at SET_IOMMU, and when it joins a live container",
    answers: ["EPERM", "EPERM", 0],
    run: () => {
      const program = machine(platform(false));
      const container = program.container();
      const group = program.group("9030000.dma-port");
      program.setContainer(group, container);
      const first = outcome(() => program.setIommu(container));
      program.unsetContainer(group);
      const joining = outcome(() => program.setContainer(group, program.open(A).container));
      return [first, joining, machine(platform(true)).open("9030000.dma-port").devices.length - 1];
    },
  },
  {
    what: "a device with a 1:1 region: viable, and refused",
    answers: [1, "EINVAL"],
    run: () => {
      const program = machine(changed(A, { reserved: [{ start: 0, end: 0xfff, type: "direct" }] }));
      const group = program.group(A);
      return [program.status(group), outcome(() => program.setContainer(group, program.container()))];
    },
  },
  {
    what: "no entry left: overlapping, in the MSI window, and anywhere else",
    answers: ["EEXIST", "ENOSPC", "ENOSPC"],
    run: () => {
      const program = machine({ dmaEntryLimit: 1 });
      const { container } = program.open(A);
      const vaddr = program.memory(PAGE);
      program.map(container, 0n, P, vaddr);
      return [0n, 0x8000000n, P].map((iova) => outcome(() => program.map(container, iova, P, vaddr)));
    },
  },
  {
    what: "an overlap is found before the MSI window",
    answers: "EEXIST",
    run: () => {
      const program = machine();
      const { container } = program.open(A);
      const vaddr = program.memory(2 * PAGE);
      program.map(container, 0x7fff000n, P, vaddr);
      return outcome(() => program.map(container, 0x7fff000n, 2n * P, vaddr));
    },
  },
  {
    what: "a superset that is no multiple of pages: EINVAL",
    answers: "EINVAL",
    run: () => {
      const program = machine();
      const { container } = program.open(A);
      program.map(container, 0n, 4n * P, program.memory(4 * PAGE));
      return outcome(() => program.unmap(container, 0n, 0x4001n));
    },
  },
  {
    what: "two containers, one buffer of 2 MiB: counted twice, until one unmaps",
    answers: [4096, 2048],
    run: () => {
      const program = machine();
      const containers = [A, B].map((device) => program.open(device).container);
      const vaddr = program.memory(2 ** 21);
      for (const container of containers) program.map(container, 0n, 2n ** 21n, vaddr);
      const both = program.kernel.lockedBytes / 1024;
      program.unmap(containers[0]!, 0n, 2n ** 21n);
      return [both, program.kernel.lockedBytes / 1024];
    },
  },
  {
    what: "root over the limit: mapped, and counted",
    answers: [0, 2 ** 20],
    run: () => {
      const program = machine({ memlock: 65536 });
      const { container } = program.open(A);
      return [program.map(container, 0n, 2n ** 20n, program.memory(2 ** 20)), program.kernel.lockedBytes];
    },
  },
  {
    what: "without the capability: the limit exactly, and one page more",
    answers: [0, "ENOMEM"],
    run: () => {
      const program = machine({ memlock: 65536, capabilities: [] });
      const { container } = program.open(A);
      const vaddr = program.memory(2 ** 20);
      return [0n, 65536n].map((iova) => outcome(() => program.map(container, iova, iova === 0n ? 65536n : P, vaddr)));
    },
  },
  {
    what: "the container's descriptor closed: status, device, another container",
    answers: [3, true, "EINVAL"],
    run: () => {
      const program = machine();
      const { container, groups } = program.open(A);
      program.kernel.close(container);
      const device = program.device(groups[0]!, A) > 0;
      return [program.status(groups[0]!), device, outcome(() => program.setContainer(groups[0]!, program.container()))];
    },
  },
  {
    what: "a device from its group knows no iommufd",
    answers: "ENOTTY",
    run: () => {
      const program = machine();
      const device = program.open(A).devices[0]!;
      return outcome(() => program.kernel.ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, new Uint8Array(16)));
    },
  },
  {
    what: "a mapping at 2^46 and an SMMU of stage 2 with 44 bits: EINVAL, the container is as before",
    answers: ["EINVAL", 1, true],
    run: () => {
      const program = machine(secondSmmu({ stage: 2, outputBits: 44 }));
      const { container } = program.open(A);
      program.map(container, 1n << 46n, P, program.memory(PAGE));
      const before = program.kernel.containers[0];
      const answer = outcome(() => program.setContainer(program.group(B), container));
      const after = program.kernel.containers[0];
      return [answer, after?.groups.length, JSON.stringify(before) === JSON.stringify(after)];
    },
  },
  {
    what: "a mapping in the joining group's reserved region: EINVAL; without it success, and a hole",
    answers: ["EINVAL", 0, ["0-7ffffff", "8100000-fffffff", "10001000-ffffffffffff"]],
    run: () => {
      const program = machine(changed(B, { reserved: [{ start: 0x10000000, end: 0x10000fff, type: "reserved" }] }));
      const { container } = program.open(A);
      const group = program.group(B);
      program.map(container, 0x10000000n, P, program.memory(PAGE));
      const refused = outcome(() => program.setContainer(group, container));
      program.unmap(container, 0x10000000n, P);
      return [refused, program.setContainer(group, container), program.ranges(container)];
    },
  },
  {
    what: "DMA of a device whose group is owned but in no domain is aborted without a trace",
    answers: [],
    run: () => {
      const program = machine({ release: "6.15.0" });
      const { container, devices } = program.open(A, B);
      program.map(container, 0n, P, program.memory(PAGE));
      program.edu(devices[1]!).store(0n, 4);
      return program.kernel.log;
    },
  },
  {
    what: "an SMMU that is not coherent: VFIO's drivers do not bind",
    answers: ["ENOENT", "EINVAL", 1],
    run: () => {
      const program = machine(secondSmmu({ coherent: false }));
      const node = outcome(() => program.kernel.open("/dev/vfio/10", O_RDWR));
      const bind = outcome(() => program.kernel.writeFile("/sys/bus/pci/drivers/vfio-pci/bind", B));
      return [node, bind, program.open(A).devices.length];
    },
  },
  {
    what: "a device without a group: VFIO's drivers do not bind",
    answers: "EINVAL",
    run: () => {
      const { devices } = machineOneDescription();
      const alone: DeviceDescription = {
        bus: "pci",
        name: "0000:03:00.0",
        driver: "vfio-pci",
        model: inert({ vendor: 1, device: 2, classCode: 0x020000 }),
      };
      const program = machine({ devices: [...devices, alone] });
      return outcome(() => program.kernel.writeFile("/sys/bus/pci/drivers/vfio-pci/bind", alone.name));
    },
  },
];

describe("what surprises", () => {
  it.each(scenarios)("$what", ({ run, answers }) => {
    expect(run()).toEqual(answers);
  });
});
