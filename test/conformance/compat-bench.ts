import assert from "node:assert/strict";
import {
  Container,
  Device,
  type DmaMemory,
  type Fd,
  findDevice,
  Group,
  type Ioctl,
  type Machine,
  SyscallError,
} from "iospan";
import { errnoName } from "../../src/abi/errno.js";
import { dmaMap, dmaUnmap, VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA } from "../../src/abi/vfio-container.js";
import { intercepted } from "../../src/syscalls/intercepted.js";
import type { IoctlArgument } from "../../src/syscalls/syscalls.js";
import { granules } from "./granule.js";
import type { Rig } from "./rig.js";

/** Flags of VFIO_IOMMU_MAP_DMA. */
export const READ = 1;
export const WRITE = 2;
/** Where a bench maps unless told otherwise. */
export const AT = 0x40_0000;

/** Bare hands on one container, which an iommufd is. */
export class CompatBench {
  readonly machine: Machine;
  readonly container: Container;
  readonly group: Group;
  readonly memory: DmaMemory;
  /** Bytes. */
  readonly page: number;
  readonly #name: string;
  readonly #fd: Fd;
  #device: Device | undefined;

  private constructor(machine: Machine, parts: { container: Container; group: Group; memory: DmaMemory; fd: Fd }) {
    this.machine = machine;
    this.page = machine.syscalls.pageSize;
    this.container = parts.container;
    this.group = parts.group;
    this.memory = parts.memory;
    this.#name = parts.group.device;
    this.#fd = parts.fd;
  }

  static async open(rig: Rig, device: string): Promise<CompatBench> {
    let fd: Fd | undefined;
    const syscalls = intercepted(rig.machine.syscalls, (call, proceed) => {
      if (call.ioctl?.name === "VFIO_CHECK_EXTENSION") fd = call.fd;
      return proceed();
    });
    const { group: id, iommu } = findDevice(rig.machine, device);
    assert.ok(id !== undefined && iommu !== undefined);
    const group = await Group.open(syscalls, { id, iommu: iommu.name, device });
    const container = await Container.open(syscalls);
    assert.ok(fd !== undefined);
    return new CompatBench(rig.machine, { container, group, memory: granules(rig, 64, { hugePages: "no" }), fd });
  }

  /** From then on an IOMMU is behind the container. */
  async openDevice(): Promise<void> {
    const { iommu } = this.group;
    this.#device = await Device.open(this.machine.syscalls, this.group, { name: this.#name, bus: "pci", iommu });
  }

  async close(): Promise<void> {
    await this.#device?.close();
    if (this.container.groups.size > 0) this.container.detach(this.group);
    this.group.close();
    this.container.close();
    this.memory.release();
  }

  /** What the call returns, or the name of what the kernel refuses with. */
  answer(call: Ioctl, argument: IoctlArgument): number | string {
    try {
      return this.machine.syscalls.ioctl(this.#fd, call, argument);
    } catch (error) {
      if (error instanceof SyscallError) return errnoName(error.errno);
      throw error;
    }
  }

  map(fields: {
    argsz?: number;
    flags?: number;
    vaddr?: bigint;
    iova?: number | bigint;
    size?: number | bigint;
  }): number | string {
    const whole = { flags: READ | WRITE, vaddr: this.memory.address, iova: AT, size: this.page, ...fields };
    return this.answer(VFIO_IOMMU_MAP_DMA, dmaMap.encode(whole));
  }

  unmap(fields: {
    argsz?: number;
    flags?: number;
    iova?: number | bigint;
    size?: number | bigint;
  }): [number | string, bigint] {
    const bytes = dmaUnmap.encode({ iova: AT, size: this.page, ...fields });
    return [this.answer(VFIO_IOMMU_UNMAP_DMA, bytes), dmaUnmap.decode(bytes).size];
  }
}

/** Uses a bench, which leaves nothing open. */
export async function onBench(
  rig: Rig,
  use: (bench: CompatBench) => void | Promise<void>,
  device = rig.first,
): Promise<void> {
  const before = rig.openFiles();
  const bench = await CompatBench.open(rig, device);
  try {
    await use(bench);
  } finally {
    await bench.close();
  }
  assert.deepEqual(rig.openFiles(), before);
}

/** With the device open. */
export const onOpenDevice = (
  rig: Rig,
  use: (bench: CompatBench) => void | Promise<void>,
  device = rig.first,
): Promise<void> =>
  onBench(
    rig,
    async (bench) => {
      bench.container.attach(bench.group);
      await bench.openDevice();
      await use(bench);
    },
    device,
  );
