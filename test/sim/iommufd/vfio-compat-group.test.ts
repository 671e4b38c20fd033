import { describe, expect, it } from "vitest";
import { IOMMU_VFIO_IOAS, IOMMU_VFIO_IOAS_OP, vfioIoas } from "../../../src/abi/iommufd-ioas.js";
import { VFIO_DEVICE_BIND_IOMMUFD } from "../../../src/abi/vfio-cdev.js";
import {
  dmaUnmap,
  VFIO_CHECK_EXTENSION,
  VFIO_IOMMU_DIRTY_PAGES,
  VFIO_IOMMU_UNMAP_DMA,
} from "../../../src/abi/vfio-container.js";
import { inert } from "../../../src/sim/hw/device-model.js";
import { machineOneDescription } from "../../../src/sim/linux/machine-one.js";
import type { Fd } from "../../../src/syscalls/syscalls.js";
import { outcome, PAGE } from "../program.js";
import { A, A2, B, devicesWith, type IommufdProgram, machine } from "./iommufd-program.js";

// drivers/vfio/group.c and drivers/iommu/iommufd/vfio_compat.c: an iommufd in the place of a container.

const P = BigInt(PAGE);

/** A group that has an iommufd for a container. */
function joined(program: IommufdProgram = machine(), device: string = A) {
  const [iommufd, group] = [program.iommufd(), program.group(device)];
  program.setContainer(group, iommufd);
  return { program, kernel: program.kernel, iommufd, group };
}

const vfioIoasOp = (program: IommufdProgram, iommufd: Fd, op: number): number | string => {
  const bytes = vfioIoas.encode({ op });
  return outcome(() => {
    program.kernel.ioctl(iommufd, IOMMU_VFIO_IOAS, bytes);
    return vfioIoas.decode(bytes).ioas_id;
  });
};

const unmapped = (program: IommufdProgram, iommufd: Fd, iova: bigint, size: bigint) => {
  const bytes = dmaUnmap.encode({ iova, size });
  const answer = outcome(() => program.kernel.ioctl(iommufd, VFIO_IOMMU_UNMAP_DMA, bytes));
  return [answer, dmaUnmap.decode(bytes).size];
};

/** Machine one with one more function in the group of A, which an ordinary driver has. */
function withSibling(): IommufdProgram {
  const sibling = {
    bus: "pci",
    name: "0000:02:00.1",
    iommu: "smmu3.0x000000000c000000",
    group: 6,
    driver: "virtio-pci",
    behind: ["0000:00:03.0"],
    model: inert({ vendor: 0x1af4, device: 0x1000, classCode: 0x020000 }),
  } as const;
  return machine({ devices: [...devicesWith(A, { group: 6 }), sibling] });
}

describe("an iommufd as a group's container", () => {
  it("gets an address space with the first group, which the next ones share", () => {
    const { program, iommufd } = joined();
    const { GET } = IOMMU_VFIO_IOAS_OP;
    expect(vfioIoasOp(program, iommufd, GET)).toBe(1);
    program.setContainer(program.group(B), iommufd);
    expect(vfioIoasOp(program, iommufd, GET)).toBe(1);
    expect(program.ioas(iommufd)).toBe(2);
  });

  it("keeps an address space that the program named before", () => {
    const program = machine();
    const iommufd = program.iommufd();
    const ioas = program.ioas(iommufd);
    const bytes = vfioIoas.encode({ op: IOMMU_VFIO_IOAS_OP.SET, ioas_id: ioas });
    program.kernel.ioctl(iommufd, IOMMU_VFIO_IOAS, bytes);
    program.setContainer(program.group(A), iommufd);
    expect(vfioIoasOp(program, iommufd, IOMMU_VFIO_IOAS_OP.GET)).toBe(ioas);
    expect(program.ioas(iommufd)).toBe(2);
  });

  it("is told of a second time after anything else: EINVAL, whichever container it is", () => {
    const { program, group, iommufd } = joined();
    expect(outcome(() => program.setContainer(group, 77))).toBe("EBADF");
    expect(outcome(() => program.setContainer(group, iommufd))).toBe("EINVAL");
    expect(outcome(() => program.setContainer(group, program.container()))).toBe("EINVAL");
    expect(program.status(group)).toBe(3);
  });

  it("takes SET_IOMMU with type 1 or 3, as often as one likes, and does without", () => {
    const { program, group, iommufd } = joined();
    expect(program.device(group, A)).toBeGreaterThan(0);
    for (const type of [3, 3, 1, 3]) expect(program.setIommu(iommufd, type)).toBe(0);
    for (const type of [0, 2, 6, 7, 8, 99]) expect(outcome(() => program.setIommu(iommufd, type))).toBe("EINVAL");
  });

  it("takes SET_IOMMU with type 1 before there are mappings and a page table, not after", () => {
    const { program, group, iommufd } = joined();
    program.map(iommufd, 0n, P, program.memory(PAGE));
    program.device(group, A);
    expect(outcome(() => program.setIommu(iommufd, 1))).toBe("EINVAL");
    expect(program.setIommu(iommufd, 3)).toBe(0);
  });

  it("knows no UPDATE_VADDR, and says of coherency what its page tables say", () => {
    const { program, kernel, group, iommufd } = joined();
    const extensions = () => [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((n) => kernel.ioctl(iommufd, VFIO_CHECK_EXTENSION, n));
    expect(extensions()).toEqual([1, 0, 1, 1, 0, 0, 0, 1, 1, 0]);
    program.device(group, A);
    expect(extensions()).toEqual([1, 0, 1, 0, 0, 0, 0, 1, 1, 0]);
    expect(outcome(() => kernel.ioctl(iommufd, VFIO_IOMMU_DIRTY_PAGES, new Uint8Array(8)))).toBe("ENOTTY");
  });

  it("has a page table per SMMU behind it, of one set of mappings", () => {
    const { program, kernel, group, iommufd } = joined();
    const [second, neighbour] = [program.group(B), program.group(A2)];
    program.setContainer(second, iommufd);
    program.setContainer(neighbour, iommufd);
    program.device(group, A);
    program.map(iommufd, 0x40_0000n, 4n * P, program.memory(4 * PAGE));
    program.device(second, B);
    program.device(neighbour, A2);
    const [ioas] = kernel.iommufds[0]?.ioases ?? [];
    expect(ioas?.hwpts.map(({ iommu, mappings }) => [iommu, mappings.length])).toEqual([
      ["smmu3.0x000000000c000000", 1],
      ["smmu3.0x000000000c020000", 1],
    ]);
    expect(kernel.iommufds[0]?.devices.map(({ name, hwpt }) => [name, hwpt])).toEqual([
      [A, 3],
      [B, 5],
      [A2, 3],
    ]);
    expect(kernel.pinnedPages).toBe(4);
  });
});

describe("a device of a group with an iommufd", () => {
  it("does DMA through what was mapped before it was opened", () => {
    const { program, group, iommufd } = joined();
    const memory = program.memory(2 * PAGE);
    program.map(iommufd, 0x40_0000n, 2n * P, memory);
    expect(program.kernel.pinnedPages).toBe(0);
    const edu = program.edu(program.device(group, A));
    program.bytes(memory, PAGE).fill(7);
    edu.fetch(0x40_0000n, PAGE);
    edu.store(0x40_0000n + P, PAGE);
    expect(program.bytes(memory + P, PAGE).every((byte) => byte === 7)).toBe(true);
  });

  it("can be opened again while it is open, and is bound once", () => {
    const { program, kernel, group } = joined();
    const fds = [program.device(group, A), program.device(group, A)];
    expect(kernel.iommufds[0]?.devices).toHaveLength(1);
    kernel.close(fds[0]!);
    expect(kernel.iommufds[0]?.devices).toHaveLength(1);
    kernel.close(fds[1]!);
    expect(kernel.iommufds[0]?.devices).toEqual([]);
    expect(kernel.iommufds[0]?.ioases[0]?.hwpts).toEqual([]);
  });

  it("keeps working when its group leaves the iommufd, which is no matter of use", () => {
    const { program, kernel, group, iommufd } = joined();
    const memory = program.memory(PAGE);
    program.map(iommufd, 0n, P, memory);
    const edu = program.edu(program.device(group, A));
    expect(program.unsetContainer(group)).toBe(0);
    expect(outcome(() => program.unsetContainer(group))).toBe("EINVAL");
    expect(program.status(group)).toBe(0);
    program.bytes(memory, PAGE).fill(9);
    edu.fetch(0n, PAGE);
    program.bytes(memory, PAGE).fill(0);
    edu.store(0n, PAGE);
    expect(program.bytes(memory, PAGE)[0]).toBe(9);
    expect(outcome(() => program.device(group, A))).toBe("EINVAL");
    expect(outcome(() => program.setContainer(group, program.container()))).toBe("EPERM");
    // Another iommufd may be set: it is not asked for what is open already.
    program.setContainer(group, program.iommufd());
    expect(program.device(group, A)).toBeGreaterThan(0);
    expect(kernel.iommufds.map(({ devices }) => devices.length)).toEqual([1, 0]);
  });

  it("does not keep its group: that can be closed and opened again", () => {
    const { program, kernel, group, iommufd } = joined();
    const device = program.device(group, A);
    kernel.close(group);
    const again = program.group(A);
    expect(program.status(again)).toBe(0);
    expect(outcome(() => program.setContainer(again, program.container()))).toBe("EPERM");
    expect(program.setContainer(again, iommufd)).toBe(0);
    expect(program.status(again)).toBe(3);
    kernel.close(device);
    program.unsetContainer(again);
    expect(program.status(again)).toBe(1);
  });

  it("keeps the iommufd, with its mappings, when every descriptor but a mapped region is gone", () => {
    const { program, kernel, group, iommufd } = joined();
    program.map(iommufd, 0n, P, program.memory(PAGE));
    const device = program.device(group, A);
    const { address } = program.edu(device);
    for (const fd of [device, group, iommufd]) kernel.close(fd);
    expect(kernel.openFds).toEqual([]);
    expect(kernel.pinnedPages).toBe(1);
    expect(program.status(program.group(A))).toBe(0);
    kernel.munmap(address, 2 ** 20);
    expect(kernel.iommufds).toEqual([]);
    expect(kernel.pinnedPages).toBe(0);
  });

  it("does not let the group's viability be seen before it is opened", () => {
    const program = withSibling();
    expect(program.status(program.group(A))).toBe(0);
    const { kernel } = program;
    kernel.close(kernel.openFds[0]!.fd);
    const { group } = joined(program);
    expect(program.status(group)).toBe(3);
    expect(outcome(() => program.device(group, A))).toBe("EPERM");
    kernel.writeFile("/sys/bus/pci/drivers/virtio-pci/unbind", "0000:02:00.1");
    expect(program.device(group, A)).toBeGreaterThan(0);
  });

  it("is looked for by its name first, and for a group without container refused", () => {
    const { program, group } = joined();
    expect(outcome(() => program.device(group, B))).toBe("ENODEV");
    program.unsetContainer(group);
    expect(outcome(() => program.device(group, B))).toBe("ENODEV");
    expect(outcome(() => program.device(group, A))).toBe("EINVAL");
  });

  it("cannot be bound through the same descriptor, nor through its own node meanwhile", () => {
    const { program, kernel, group, iommufd } = joined();
    const device = program.device(group, A);
    expect(outcome(() => program.bind(device, iommufd))).toBe("EINVAL");
    const cdev = program.cdev(A);
    expect(outcome(() => program.bind(cdev, iommufd))).toBe("EBUSY");
    kernel.close(group);
    expect(outcome(() => program.bind(cdev, iommufd))).toBe("EINVAL");
    kernel.close(device);
    expect(program.bind(cdev, iommufd)).toBe(2);
  });

  it.each([
    ["memory that is not there", 0x1000n, 0x1000n, "EFAULT"],
    ["an address in the MSI window", 0x800_0000n, undefined, "EADDRINUSE"],
    ["an address beyond the aperture", 2n ** 50n, undefined, "EADDRINUSE"],
  ] as const)("%s is found when it is opened, which changes nothing", (_, iova, va, errno) => {
    const { program, kernel, group, iommufd } = joined();
    expect(program.map(iommufd, 0x40_0000n, P, program.memory(PAGE))).toBe(0);
    expect(program.map(iommufd, iova, P, va ?? program.memory(PAGE))).toBe(0);
    expect(outcome(() => program.device(group, A))).toBe(errno);
    expect(kernel.pinnedPages).toBe(0);
    expect(kernel.iommufds[0]?.devices).toEqual([]);
    expect(kernel.iommufds[0]?.ioases[0]?.hwpts).toEqual([]);
    expect(program.status(group)).toBe(3);
    expect(unmapped(program, iommufd, iova, P)).toEqual([0, P]);
    expect(program.device(group, A)).toBeGreaterThan(0);
    expect(kernel.pinnedPages).toBe(1);
  });

  it("has no address space to go to once that was cleared", () => {
    const { program, kernel, group, iommufd } = joined();
    vfioIoasOp(program, iommufd, IOMMU_VFIO_IOAS_OP.CLEAR);
    expect(outcome(() => program.device(group, A))).toBe("ENODEV");
    expect(kernel.iommufds[0]?.devices).toEqual([]);
    expect(outcome(() => program.map(iommufd, 0n, P, program.memory(PAGE)))).toBe("ENODEV");
    expect(outcome(() => program.setIommu(iommufd))).toBe("ENODEV");
    expect(outcome(() => kernel.ioctl(iommufd, VFIO_CHECK_EXTENSION, 4))).toBe("ENODEV");
    program.unsetContainer(group);
    program.setContainer(group, iommufd);
    expect(vfioIoasOp(program, iommufd, IOMMU_VFIO_IOAS_OP.GET)).toBe(2);
    expect(program.device(group, A)).toBeGreaterThan(0);
  });

  it("is refused for interrupts that are not isolated, by iommufd's own parameter", () => {
    const devices = devicesWith(A, { msiIsolated: false });
    const refused = joined(machine({ devices, allowUnsafeInterrupts: true }));
    expect(outcome(() => refused.program.device(refused.group, A))).toBe("EPERM");
    const allowed = joined(machine({ devices, iommufdUnsafeInterrupts: true }));
    expect(allowed.program.device(allowed.group, A)).toBeGreaterThan(0);
  });

  it("is refused where firmware wants memory of it mapped 1:1", () => {
    const reserved = [{ start: 0x4000_0000, end: 0x4000_ffff, type: "direct" }] as const;
    const { program, group } = joined(machine({ devices: devicesWith(A, { reserved }) }));
    expect(program.status(group)).toBe(3);
    expect(outcome(() => program.device(group, A))).toBe("EINVAL");
  });

  it("is refused where an IOMMU's pages are larger than the processor's", () => {
    const { iommus } = machineOneDescription();
    const coarse = iommus.map((iommu) => ({ ...iommu, pageSizes: 0x10000n }));
    const { program, group } = joined(machine({ iommus: coarse }));
    expect(outcome(() => program.device(group, A))).toBe("EINVAL");
  });

  it("has registers that cannot be mapped for DMA", () => {
    const { program, group, iommufd } = joined();
    const { address } = program.edu(program.device(group, A));
    expect(outcome(() => program.map(iommufd, 0n, P, address))).toBe("EFAULT");
  });
});

describe("a group whose last device leaves VFIO", () => {
  it("keeps its iommufd, and says first that it has one", () => {
    const { program, kernel, group, iommufd } = joined();
    kernel.writeFile("/sys/bus/pci/drivers/vfio-pci/unbind", A);
    expect(outcome(() => program.status(group))).toBe("ENODEV");
    expect(outcome(() => program.setContainer(group, iommufd))).toBe("EINVAL");
    expect(program.unsetContainer(group)).toBe(0);
    expect(outcome(() => program.setContainer(group, iommufd))).toBe("ENODEV");
  });
});

describe("locked memory", () => {
  const map = (program: IommufdProgram, fd: Fd, pages: number) =>
    outcome(() => program.map(fd, 0x40_0000n, BigInt(pages) * P, program.memory(pages * PAGE)));

  function opened(container: "iommufd" | "iommufd-link") {
    const program = machine({ container, memlock: 16 * PAGE, capabilities: [] });
    const both = [A, B].map((name) => program.open(name).container);
    return { program, kernel: program.kernel, both };
  }

  it("counts for the process in iommufd's own container, once in each", () => {
    const { program, kernel, both } = opened("iommufd");
    expect(map(program, both[0]!, 8)).toBe(0);
    expect(program.kilobytes("VmLck")).toBe(32);
    expect(map(program, both[1]!, 9)).toBe("ENOMEM");
    expect(map(program, both[1]!, 8)).toBe(0);
    expect(kernel.lockedBytes).toBe(16 * PAGE);
    expect(kernel.log.filter((line) => line.startsWith("iommufd:"))).toEqual([
      "iommufd: IOMMUFD is providing /dev/vfio/vfio, not VFIO.",
    ]);
  });

  it("counts for the user where the node is a link, which VmLck does not show", () => {
    const { program, kernel, both } = opened("iommufd-link");
    expect(map(program, both[0]!, 8)).toBe(0);
    expect([program.kilobytes("VmLck"), program.kilobytes("VmPin")]).toEqual([0, 32]);
    expect(map(program, both[1]!, 9)).toBe("ENOMEM");
    expect(map(program, both[1]!, 8)).toBe(0);
    expect(kernel.log.filter((line) => line.startsWith("iommufd:"))).toEqual([]);
  });
});

describe("locked memory of a process with CAP_IPC_LOCK", () => {
  it("is not counted at all, other than type1's", () => {
    const program = machine({ container: "iommufd", memlock: 0, capabilities: ["CAP_IPC_LOCK"] });
    const { container } = program.open(A);
    expect(program.map(container, 0n, P, program.memory(PAGE))).toBe(0);
    expect([program.kilobytes("VmLck"), program.kilobytes("VmPin")]).toEqual([0, 4]);
  });
});

describe("what /dev/vfio/vfio is", () => {
  it("is an iommufd's node of the kernel's making, or a link", () => {
    const own = machine({ container: "iommufd" });
    own.container();
    expect(own.kernel.openFds.map(({ path }) => path)).toEqual(["/dev/vfio/vfio"]);
    expect(outcome(() => own.kernel.readDirectory("/sys/module/vfio_iommu_type1"))).toBe("ENOENT");
    expect(own.kernel.containers).toEqual([]);
    const linked = machine({ container: "iommufd-link" });
    expect(linked.kernel.readLink("/dev/vfio/vfio")).toBe("/dev/iommu");
    linked.container();
    expect(linked.kernel.openFds.map(({ path }) => path)).toEqual(["/dev/iommu"]);
    expect(linked.kernel.readDirectory("/sys/module/vfio_iommu_type1/parameters")).toContain("dma_entry_limit");
  });

  it("takes a kernel with iommufd", () => {
    expect(() => machine({ container: "iommufd", release: "6.1.0" })).toThrow(/there is no iommufd/);
    expect(() => machine({ container: "iommufd-link", iommufd: false })).toThrow(/there is no iommufd/);
  });

  it("is all there is where VFIO has no character devices", () => {
    const program = machine({ container: "iommufd", vfioCdev: false });
    const { kernel } = program;
    expect(kernel.readDirectory("/dev/vfio")).toEqual(["10", "5", "6", "vfio"]);
    const { devices, container } = program.open(A);
    const bind = () => kernel.ioctl(devices[0]!, VFIO_DEVICE_BIND_IOMMUFD, new Uint8Array(24));
    expect(outcome(bind)).toBe("ENOTTY");
    expect(program.ranges(container)).toEqual(["0-7ffffff", "8100000-ffffffffffff"]);
  });
});
