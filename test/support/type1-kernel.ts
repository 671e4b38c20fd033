import { type ErrnoName, errno, errnoName } from "../../src/abi/errno.js";
import type { Ioctl } from "../../src/abi/ioctl.js";
import { dmaMap, dmaUnmap } from "../../src/abi/vfio-container.js";
import {
  dmaAvailCapability,
  iovaRange,
  iovaRangeCapability,
  type1Info,
  VFIO_IOMMU_TYPE1_INFO,
} from "../../src/abi/vfio-container-info.js";
import { groupStatus, VFIO_GROUP_FLAGS } from "../../src/abi/vfio-group.js";
import { type Fd, type IoctlArgument, SyscallError, type Syscalls } from "../../src/syscalls/syscalls.js";
import { fd, strictSyscalls } from "./strict-syscalls.js";

/**
 * One VFIO container and one group, with the checks of vfio_iommu_type1.c in its order. Everything it is asked is in
 * {@link log}; anything it does not know throws.
 */
export class Type1Kernel {
  readonly container: Fd = fd(20);
  readonly group: Fd = fd(21);
  readonly log: string[] = [];
  readonly entries = new Map<bigint, { readonly size: bigint; readonly vaddr: bigint; readonly flags: number }>();
  /** Bytes of the IOMMU's smallest page. */
  granule = 4096n;
  pageSizes = 0x40201000n;
  capacity = 65535;
  ranges: readonly { readonly start: bigint; readonly end: bigint }[] = [{ start: 0n, end: 2n ** 48n - 1n }];
  version = 0;
  hasType1 = true;
  viable = true;
  /** Answers to calls that are to be refused, by the call's name. */
  readonly refuse: Record<string, ErrnoName> = {};
  /** Capabilities that the answer to GET_INFO leaves out, as older kernels do. */
  readonly leaveOut = new Set<"ranges" | "available">();
  #inaccessible: { readonly start: bigint; readonly end: bigint }[] = [];
  #nextAddress = 0x7f00_0000_1000n;

  get syscalls(): Syscalls {
    const ioctl = (target: Fd, call: Ioctl, argument: IoctlArgument) => {
      this.log.push(`${call.name} ${target}`);
      this.#refuseIfTold(call.name);
      return this.#ioctl(target, call.name, argument);
    };
    return strictSyscalls({
      openAsync: async (path) => {
        this.#refuseIfTold(path);
        if (path === "/dev/vfio/vfio") return this.container;
        if (path === "/dev/vfio/7") return this.group;
        throw new SyscallError("openat", errno.ENOENT, "ENOENT", path);
      },
      close: (closed) => {
        this.log.push(`close ${closed}`);
        this.#refuseIfTold(`close ${closed}`);
      },
      ioctl,
      ioctlAsync: async (target, call, argument) => ioctl(target, call, argument),
      mmap: ({ length, prot, address }) => {
        this.#refuseIfTold("mmap");
        const at = address ?? this.#nextAddress;
        if (address === undefined) this.#nextAddress += BigInt(length);
        if (prot === 0) this.#inaccessible.push({ start: at, end: at + BigInt(length) });
        this.log.push("mmap");
        return at;
      },
      munmap: () => this.log.push("munmap"),
      memlockLimit: () => ({ soft: 65536, hard: 65536 }),
      readFile: (path) => {
        throw new SyscallError("openat", errno.ENOENT, "ENOENT", path);
      },
      readDirectory: (path) => {
        throw new SyscallError("openat", errno.ENOENT, "ENOENT", path);
      },
    });
  }

  #refuseIfTold(call: string): void {
    const name = this.refuse[call];
    if (name !== undefined) throw this.#error(call, name);
  }

  #error(call: string, name: ErrnoName): SyscallError {
    return new SyscallError(call, errno[name], errnoName(errno[name]));
  }

  #ioctl(target: Fd, name: string, argument: IoctlArgument): number {
    if (target === this.group && argument instanceof Uint8Array && name === "VFIO_GROUP_GET_STATUS") {
      groupStatus.patch(argument, 0, { flags: this.viable ? VFIO_GROUP_FLAGS.VIABLE : 0 });
      return 0;
    }
    if (target === this.group && name === "VFIO_GROUP_GET_DEVICE_FD") return 22;
    if (target === this.group && name.startsWith("VFIO_GROUP_")) return 0;
    if (target !== this.container) throw new Error(`the test did not expect ${name} of ${target}`);
    if (name === "VFIO_GET_API_VERSION") return this.version;
    if (name === "VFIO_CHECK_EXTENSION") return argument === 3 && this.hasType1 ? 1 : 0;
    if (name === "VFIO_SET_IOMMU") return 0;
    if (argument instanceof Uint8Array && name === "VFIO_IOMMU_GET_INFO") return this.#info(argument);
    if (argument instanceof Uint8Array && name === "VFIO_IOMMU_MAP_DMA") return this.#map(argument);
    if (argument instanceof Uint8Array && name === "VFIO_IOMMU_UNMAP_DMA") return this.#unmap(argument);
    throw new Error(`the test did not expect ${name}`);
  }

  #info(bytes: Uint8Array): number {
    const chain = this.#capabilities();
    const needed = type1Info.size + chain.length;
    const fits = bytes.length >= needed;
    if (fits) bytes.set(chain, type1Info.size);
    const capOffset = fits && chain.length > 0 ? type1Info.size : 0;
    type1Info.patch(bytes, 0, { argsz: needed, flags: 3, iova_pgsizes: this.pageSizes, cap_offset: capOffset });
    return 0;
  }

  #capabilities(): Uint8Array {
    const bytes: number[] = [];
    const ranges = this.ranges.flatMap((range) => [...iovaRange.encode(range)]);
    const withRanges = !this.leaveOut.has("ranges");
    const withAvailable = !this.leaveOut.has("available");
    if (withRanges) {
      const next = withAvailable ? type1Info.size + iovaRangeCapability.size + ranges.length : 0;
      const header = { id: VFIO_IOMMU_TYPE1_INFO.CAP_IOVA_RANGE, version: 1, next };
      bytes.push(...iovaRangeCapability.encode({ header, nr_iovas: this.ranges.length }), ...ranges);
    }
    if (withAvailable) {
      const header = { id: VFIO_IOMMU_TYPE1_INFO.DMA_AVAIL, version: 1, next: 0 };
      bytes.push(...dmaAvailCapability.encode({ header, avail: this.capacity - this.entries.size }));
    }
    return Uint8Array.from(bytes);
  }

  #map(bytes: Uint8Array): number {
    const { vaddr, iova, size, flags } = dmaMap.decode(bytes);
    const refuse = (name: ErrnoName) => this.#error("VFIO_IOMMU_MAP_DMA", name);
    if (size === 0n || (size | iova | vaddr) % this.granule !== 0n) throw refuse("EINVAL");
    if (iova + size > 2n ** 64n || vaddr + size > 2n ** 64n) throw refuse("EOVERFLOW");
    if (this.#overlapping(iova, size).length > 0) throw refuse("EEXIST");
    if (this.entries.size >= this.capacity) throw refuse("ENOSPC");
    if (!this.ranges.some(({ start, end }) => start <= iova && iova + size - 1n <= end)) throw refuse("EINVAL");
    if (this.#inaccessible.some(({ start, end }) => start <= vaddr && vaddr < end)) throw refuse("EFAULT");
    this.entries.set(iova, { size, vaddr, flags });
    return 0;
  }

  #unmap(bytes: Uint8Array): number {
    const { iova, size } = dmaUnmap.decode(bytes);
    const found = this.#overlapping(iova, size);
    const cut = found.some(([start, entry]) => start < iova || start + entry.size > iova + size);
    if (cut) throw this.#error("VFIO_IOMMU_UNMAP_DMA", "EINVAL");
    for (const [start] of found) this.entries.delete(start);
    dmaUnmap.patch(bytes, 0, { size: found.reduce((sum, [, entry]) => sum + entry.size, 0n) });
    return 0;
  }

  #overlapping(iova: bigint, size: bigint) {
    return [...this.entries].filter(([start, entry]) => start < iova + size && start + entry.size > iova);
  }
}
