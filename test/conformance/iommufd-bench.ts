import assert from "node:assert/strict";
import { DmaMemory, type Fd, findDevice, type Ioctl, type Machine, SyscallError } from "iospan";
import { errnoName } from "../../src/abi/errno.js";
import { hwptAlloc, IOMMU_HWPT_ALLOC } from "../../src/abi/iommufd-hwpt.js";
import {
  IOMMU_IOAS_ALLOC,
  IOMMU_IOAS_ALLOW_IOVAS,
  IOMMU_IOAS_COPY,
  IOMMU_IOAS_IOVA_RANGES,
  IOMMU_IOAS_MAP,
  IOMMU_IOAS_MAP_FILE,
  IOMMU_IOAS_UNMAP,
  ioasAlloc,
  ioasAllowIovas,
  ioasCopy,
  ioasIovaRange,
  ioasIovaRanges,
  ioasMap,
  ioasMapFile,
  ioasUnmap,
} from "../../src/abi/iommufd-ioas.js";
import { destroy, IOMMU_DESTROY } from "../../src/abi/iommufd-object.js";
import {
  attachIommufdPt,
  bindIommufd,
  detachIommufdPt,
  VFIO_DEVICE_ATTACH_IOMMUFD_PT,
  VFIO_DEVICE_BIND_IOMMUFD,
  VFIO_DEVICE_DETACH_IOMMUFD_PT,
} from "../../src/abi/vfio-cdev.js";
import { O_RDWR } from "../../src/syscalls/mmap-flags.js";
import type { Rig } from "./rig.js";

export const FIXED = 1;
export const WRITEABLE = 2;
export const READABLE = 4;
/** Where mappings go that have to go somewhere. */
export const AT = 0x40_0000n;
const PAGES = 64;
/** Room for ranges of IOVAs that a call takes or gives. */
const MOST_RANGES = 16;

/** What a call that gives an object's number answers: the number, or the name of the refusal. */
export type Answer = number | string;

/** A range of IOVAs, with its last. */
export type Range = readonly [start: bigint, last: bigint];

/** Bare hands on one iommufd: calls with what the kernel answers to each, `ok` or the name of the errno. */
export class IommufdBench implements Disposable {
  readonly machine: Machine;
  readonly fd: Fd;
  readonly memory: DmaMemory;
  readonly page: bigint;
  readonly #ranges: DmaMemory;
  readonly #devices = new Set<Fd>();

  constructor({ machine }: Rig) {
    this.machine = machine;
    this.page = BigInt(machine.syscalls.pageSize);
    this.memory = DmaMemory.allocate(machine, PAGES * Number(this.page), { hugePages: "no" });
    this.#ranges = DmaMemory.allocate(machine, MOST_RANGES * ioasIovaRange.size);
    this.fd = machine.syscalls.open("/dev/iommu", O_RDWR);
  }

  [Symbol.dispose](): void {
    for (const fd of this.#devices) this.machine.syscalls.close(fd);
    this.machine.syscalls.close(this.fd);
    this.#ranges.release();
    this.memory.release();
  }

  /** `ok`, or the name of what the kernel refuses with. */
  answer(call: Ioctl, argument: Uint8Array | number, fd = this.fd): string {
    try {
      this.machine.syscalls.ioctl(fd, call, argument);
      return "ok";
    } catch (error) {
      if (error instanceof SyscallError) return errnoName(error.errno);
      throw error;
    }
  }

  ioas(): number {
    const bytes = ioasAlloc.encode();
    assert.equal(this.answer(IOMMU_IOAS_ALLOC, bytes), "ok");
    return ioasAlloc.decode(bytes).out_ioas_id;
  }

  destroy(id: number): string {
    return this.answer(IOMMU_DESTROY, destroy.encode({ id }));
  }

  map(ioas: number, fields: Parameters<typeof ioasMap.encode>[0] = {}): string {
    return this.#map(ioas, fields)[0];
  }

  /** Where the kernel puts it. */
  mapAnywhere(ioas: number, fields: Parameters<typeof ioasMap.encode>[0]): bigint {
    const [answer, iova] = this.#map(ioas, { flags: READABLE | WRITEABLE, iova: 0n, ...fields });
    assert.equal(answer, "ok");
    return iova;
  }

  unmap(ioas: number, iova: bigint, length: bigint): readonly [string, bigint] {
    const bytes = ioasUnmap.encode({ ioas_id: ioas, iova, length });
    return [this.answer(IOMMU_IOAS_UNMAP, bytes), ioasUnmap.decode(bytes).length];
  }

  copy(fields: Parameters<typeof ioasCopy.encode>[0]): string {
    const flags = FIXED | READABLE | WRITEABLE;
    return this.answer(IOMMU_IOAS_COPY, ioasCopy.encode({ flags, length: this.page, ...fields }));
  }

  mapFile(ioas: number, fields: Parameters<typeof ioasMapFile.encode>[0]): string {
    const whole = { flags: FIXED | READABLE | WRITEABLE, start: 0n, length: this.page, iova: AT };
    return this.answer(IOMMU_IOAS_MAP_FILE, ioasMapFile.encode({ ioas_id: ioas, ...whole, ...fields }));
  }

  /** The answer, the number of ranges the kernel says there are, those that had room, and the alignment. */
  ranges(ioas: number, room = MOST_RANGES): readonly [string, number, readonly Range[], bigint] {
    const fields = { ioas_id: ioas, num_iovas: room, allowed_iovas: this.#ranges.address };
    const bytes = ioasIovaRanges.encode(fields);
    const answer = this.answer(IOMMU_IOAS_IOVA_RANGES, bytes);
    const { num_iovas: count, out_iova_alignment: alignment } = ioasIovaRanges.decode(bytes);
    const ranges = Array.from({ length: Math.min(count, room) }, (_, index): Range => {
      const { start, last } = ioasIovaRange.decode(this.#ranges.bytes, index * ioasIovaRange.size);
      return [start, last];
    });
    return [answer, count, ranges, alignment];
  }

  allow(ioas: number, ranges: readonly Range[]): string {
    for (const [index, [start, last]] of ranges.entries()) {
      ioasIovaRange.write(this.#ranges.bytes, index * ioasIovaRange.size, { start, last });
    }
    const fields = { ioas_id: ioas, num_iovas: ranges.length, allowed_iovas: this.#ranges.address };
    return this.answer(IOMMU_IOAS_ALLOW_IOVAS, ioasAllowIovas.encode(fields));
  }

  /** Opens a device's own node. */
  device(name: string): Fd {
    const node = findDevice(this.machine, name).vfioDevice;
    assert.ok(node !== undefined, `${name} has no node of its own`);
    const fd = this.machine.syscalls.open(`/dev/vfio/devices/${node}`, O_RDWR);
    this.#devices.add(fd);
    return fd;
  }

  closeDevice(fd: Fd): void {
    this.#devices.delete(fd);
    this.machine.syscalls.close(fd);
  }

  bind(device: Fd, fields: Parameters<typeof bindIommufd.encode>[0] = {}): Answer {
    const argsz = bindIommufd.endOf("out_devid");
    const bytes = bindIommufd.encode({ argsz, iommufd: this.fd, ...fields });
    const answer = this.answer(VFIO_DEVICE_BIND_IOMMUFD, bytes, device);
    return answer === "ok" ? bindIommufd.decode(bytes).out_devid : answer;
  }

  /** The number of the page table that the device is attached to. */
  attach(device: Fd, id: number, fields: Parameters<typeof attachIommufdPt.encode>[0] = {}): Answer {
    const bytes = attachIommufdPt.encode({ argsz: attachIommufdPt.endOf("pt_id"), pt_id: id, ...fields });
    const answer = this.answer(VFIO_DEVICE_ATTACH_IOMMUFD_PT, bytes, device);
    return answer === "ok" ? attachIommufdPt.decode(bytes).pt_id : answer;
  }

  detach(device: Fd): string {
    const bytes = detachIommufdPt.encode({ argsz: detachIommufdPt.endOf("flags") });
    return this.answer(VFIO_DEVICE_DETACH_IOMMUFD_PT, bytes, device);
  }

  table(fields: Parameters<typeof hwptAlloc.encode>[0]): Answer {
    const bytes = hwptAlloc.encode(fields);
    const answer = this.answer(IOMMU_HWPT_ALLOC, bytes);
    return answer === "ok" ? hwptAlloc.decode(bytes).out_hwpt_id : answer;
  }

  #map(ioas: number, fields: Parameters<typeof ioasMap.encode>[0]): readonly [string, bigint] {
    const whole = { flags: FIXED | READABLE | WRITEABLE, user_va: this.memory.address, length: this.page, iova: AT };
    const bytes = ioasMap.encode({ ioas_id: ioas, ...whole, ...fields });
    return [this.answer(IOMMU_IOAS_MAP, bytes), ioasMap.decode(bytes).iova];
  }
}
