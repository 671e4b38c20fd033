import { decodeCapabilities, findCapability } from "../../src/abi/capability.js";
import { errnoName } from "../../src/abi/errno.js";
import {
  dirtyBitmap,
  dirtyBitmapGet,
  dmaMap,
  dmaUnmap,
  VFIO_DMA_MAP_FLAG,
  VFIO_EXTENSION,
  VFIO_IOMMU_DIRTY_PAGES,
  VFIO_IOMMU_DIRTY_PAGES_FLAG,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_UNMAP_DMA,
  VFIO_SET_IOMMU,
} from "../../src/abi/vfio-container.js";
import {
  availableMappings,
  iovaRanges,
  type1Info,
  VFIO_IOMMU_GET_INFO,
  VFIO_IOMMU_TYPE1_INFO,
} from "../../src/abi/vfio-container-info.js";
import {
  containerFd,
  groupStatus,
  VFIO_GROUP_GET_DEVICE_FD,
  VFIO_GROUP_GET_STATUS,
  VFIO_GROUP_SET_CONTAINER,
  VFIO_GROUP_UNSET_CONTAINER,
} from "../../src/abi/vfio-group.js";
import type { SimulatedKernel } from "../../src/sim/linux/kernel.js";
import {
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  MAP_SHARED,
  O_RDWR,
  PROT_READ,
  PROT_WRITE,
} from "../../src/syscalls/mmap-flags.js";
import { type Fd, type Mmio, SyscallError } from "../../src/syscalls/syscalls.js";

export const READ_WRITE: number = VFIO_DMA_MAP_FLAG.READ | VFIO_DMA_MAP_FLAG.WRITE;
export const PAGE = 4096;

/** `EINVAL`, …, or what the call returned: lets a table of expectations have one column. */
export function outcome<T>(call: () => T): T | string {
  try {
    return call();
  } catch (error) {
    if (error instanceof SyscallError) return errnoName(error.errno);
    throw error;
  }
}

/** A small C program's worth of VFIO calls, each raw. */
export class Program {
  readonly kernel: SimulatedKernel;

  constructor(kernel: SimulatedKernel) {
    this.kernel = kernel;
  }

  container(): Fd {
    return this.kernel.open("/dev/vfio/vfio", O_RDWR);
  }

  group(device: string): Fd {
    return this.kernel.open(`/dev/vfio/${this.groupNumber(device)}`, O_RDWR);
  }

  groupNumber(device: string): string {
    const bus = device.includes(":") ? "pci" : "platform";
    const link = this.kernel.readLink(`/sys/bus/${bus}/devices/${device}/iommu_group`);
    return link.slice(link.lastIndexOf("/") + 1);
  }

  setContainer(group: Fd, container: number): number {
    return this.kernel.ioctl(group, VFIO_GROUP_SET_CONTAINER, containerFd.encode({ fd: container }));
  }

  unsetContainer(group: Fd): number {
    return this.kernel.ioctl(group, VFIO_GROUP_UNSET_CONTAINER, 0);
  }

  status(group: Fd): number {
    const bytes = groupStatus.encode();
    this.kernel.ioctl(group, VFIO_GROUP_GET_STATUS, bytes);
    return groupStatus.decode(bytes).flags;
  }

  setIommu(container: Fd, type: number = VFIO_EXTENSION.TYPE1v2_IOMMU): number {
    return this.kernel.ioctl(container, VFIO_SET_IOMMU, type);
  }

  device(group: Fd, name: string): Fd {
    return this.kernel.ioctl(group, VFIO_GROUP_GET_DEVICE_FD, new TextEncoder().encode(`${name}\0`)) as Fd;
  }

  /** Anonymous memory. */
  memory(length: number, prot: number = PROT_READ | PROT_WRITE): bigint {
    return this.kernel.mmap({ length, prot, flags: MAP_PRIVATE | MAP_ANONYMOUS });
  }

  bytes(address: bigint, length: number): Uint8Array {
    return new Uint8Array(this.kernel.view(address, length));
  }

  map(container: Fd, iova: bigint, size: bigint, vaddr: bigint, flags: number = READ_WRITE): number {
    return this.kernel.ioctl(container, VFIO_IOMMU_MAP_DMA, dmaMap.encode({ iova, size, vaddr, flags }));
  }

  /** @returns the size that the kernel wrote back */
  unmap(container: Fd, iova: bigint, size: bigint, flags = 0): bigint {
    const bytes = dmaUnmap.encode({ iova, size, flags });
    this.kernel.ioctl(container, VFIO_IOMMU_UNMAP_DMA, bytes);
    return dmaUnmap.decode(bytes).size;
  }

  /** A container with these devices in it, type 1 version 2. */
  open(...devices: readonly string[]): { container: Fd; groups: Fd[]; devices: Fd[] } {
    const container = this.container();
    const groups = devices.map((device) => this.group(device));
    for (const [index, group] of groups.entries()) {
      this.setContainer(group, container);
      if (index === 0) this.setIommu(container);
    }
    return { container, groups, devices: devices.map((name, index) => this.device(groups[index]!, name)) };
  }

  /** GET_INFO with a buffer of `length` bytes and an argsz of the same. */
  info(container: Fd, length = 120): { argsz: number; capOffset: number; pageSizes: bigint; bytes: Uint8Array } {
    const bytes = new Uint8Array(Math.max(length, 24));
    type1Info.patch(bytes, 0, { argsz: length, cap_offset: 0xdead });
    this.kernel.ioctl(container, VFIO_IOMMU_GET_INFO, bytes.subarray(0, Math.max(length, 16)));
    const { argsz, cap_offset, iova_pgsizes } = type1Info.decode(bytes);
    return { argsz, capOffset: cap_offset, pageSizes: iova_pgsizes, bytes };
  }

  /** Where mappings may lie, as the kernel reports it. */
  ranges(container: Fd): readonly string[] {
    const { argsz } = this.info(container, 24);
    const { bytes, capOffset } = this.info(container, argsz);
    const capability = findCapability(decodeCapabilities(bytes, capOffset), VFIO_IOMMU_TYPE1_INFO.CAP_IOVA_RANGE);
    return iovaRanges(capability!).map(({ start, end }) => `${start.toString(16)}-${end.toString(16)}`);
  }

  available(container: Fd): number {
    const { argsz } = this.info(container, 24);
    const { bytes, capOffset } = this.info(container, argsz);
    const capability = findCapability(decodeCapabilities(bytes, capOffset), VFIO_IOMMU_TYPE1_INFO.DMA_AVAIL);
    return availableMappings(capability!);
  }

  dirtyPages(container: Fd, flags: number): number {
    return this.kernel.ioctl(container, VFIO_IOMMU_DIRTY_PAGES, dirtyBitmap.encode({ flags }));
  }

  /** DIRTY_PAGES with GET_BITMAP. */
  getDirty(container: Fd, iova: bigint, size: bigint, data: bigint, bitmapSize = 8n, pgsize = BigInt(PAGE)): number {
    const get = dirtyBitmapGet.encode({ iova, size, bitmap: { pgsize, size: bitmapSize, data } });
    const flags = VFIO_IOMMU_DIRTY_PAGES_FLAG.GET_BITMAP;
    return this.kernel.ioctl(container, VFIO_IOMMU_DIRTY_PAGES, dirtyBitmap.encode({ flags }, get));
  }

  /** BAR0 of an edu, which may master the bus from now on. */
  edu(device: Fd): Edu {
    this.kernel.pwrite(device, Uint8Array.of(0x06, 0), (7n << 40n) + 4n);
    const address = this.kernel.mmap({
      length: 2 ** 20,
      prot: PROT_READ | PROT_WRITE,
      flags: MAP_SHARED,
      fd: device,
      offset: 0n,
    });
    return new Edu(this.kernel.mmio(this.kernel.view(address, 2 ** 20)), address);
  }
}

const BUFFER = 0x40000n;

/** A driver of the edu device. */
export class Edu {
  readonly mmio: Mmio;
  readonly address: bigint;

  constructor(mmio: Mmio, address: bigint) {
    this.mmio = mmio;
    this.address = address;
  }

  /** Memory to device. */
  fetch(iova: bigint, count: number): void {
    this.#transfer(iova, BUFFER, count, 1);
  }

  /** Device to memory. */
  store(iova: bigint, count: number): void {
    this.#transfer(BUFFER, iova, count, 3);
  }

  #transfer(source: bigint, destination: bigint, count: number, command: number): void {
    this.start(source, destination, count, command);
    while ((this.mmio.read32(0x98) & 1) !== 0);
  }

  start(source: bigint, destination: bigint, count: number, command: number): void {
    this.mmio.write64(0x80, source);
    this.mmio.write64(0x88, destination);
    this.mmio.write64(0x90, BigInt(count));
    this.mmio.write32(0x98, command);
  }
}
