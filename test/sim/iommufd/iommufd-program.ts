import { decodeArray, encodeArray } from "../../../src/abi/codec.js";
import { hwptAlloc, IOMMU_HWPT_ALLOC } from "../../../src/abi/iommufd-hwpt.js";
import {
  IOMMU_IOAS_ALLOC,
  IOMMU_IOAS_ALLOW_IOVAS,
  IOMMU_IOAS_COPY,
  IOMMU_IOAS_IOVA_RANGES,
  IOMMU_IOAS_MAP,
  IOMMU_IOAS_MAP_FILE,
  IOMMU_IOAS_MAP_FLAG,
  IOMMU_IOAS_UNMAP,
  ioasAlloc,
  ioasAllowIovas,
  ioasCopy,
  ioasIovaRange,
  ioasIovaRanges,
  ioasMap,
  ioasMapFile,
  ioasUnmap,
} from "../../../src/abi/iommufd-ioas.js";
import { destroy, IOMMU_DESTROY } from "../../../src/abi/iommufd-object.js";
import {
  attachIommufdPt,
  bindIommufd,
  detachIommufdPt,
  VFIO_DEVICE_ATTACH_IOMMUFD_PT,
  VFIO_DEVICE_BIND_IOMMUFD,
  VFIO_DEVICE_DETACH_IOMMUFD_PT,
} from "../../../src/abi/vfio-cdev.js";
import type { DeviceDescription } from "../../../src/sim/linux/description.js";
import { type MachineOneOptions, machineOne, machineOneDescription } from "../../../src/sim/linux/machine-one.js";
import { O_RDWR } from "../../../src/syscalls/mmap-flags.js";
import type { Fd } from "../../../src/syscalls/syscalls.js";
import { PAGE, Program } from "../program.js";

export const { FIXED_IOVA, READABLE, WRITEABLE } = IOMMU_IOAS_MAP_FLAG;

/** The edu devices of the laboratory's first machine, and a neighbour of the first, which the tests put on vfio-pci. */
export const [A, B, A2] = ["0000:02:00.0", "0000:22:00.0", "0000:01:00.0"] as const;

/** The second SMMU's devices, too, on vfio-pci, and a kernel with iommufd. */
export function machine(options: MachineOneOptions = {}): IommufdProgram {
  const { devices } = machineOneDescription();
  const all = devices.map((device) => (device.name === A2 ? { ...device, driver: "vfio-pci" } : device));
  return new IommufdProgram(machineOne({ iommufd: true, devices: all, ...options }));
}

/** The devices of {@link machine} with some that are different. */
export function devicesWith(name: string, changes: Partial<DeviceDescription>): readonly DeviceDescription[] {
  return machineOneDescription().devices.map((device) =>
    device.name === name ? ({ ...device, ...changes } as DeviceDescription) : device,
  );
}

/** Bare calls of iommufd and of VFIO's character devices. */
export class IommufdProgram extends Program {
  iommufd(): Fd {
    return this.kernel.open("/dev/iommu", O_RDWR);
  }

  ioas(iommufd: Fd): number {
    const bytes = ioasAlloc.encode();
    this.kernel.ioctl(iommufd, IOMMU_IOAS_ALLOC, bytes);
    return ioasAlloc.decode(bytes).out_ioas_id;
  }

  /** Where mappings may lie, as `0-7ffffff`. */
  iovas(iommufd: Fd, ioas: number): readonly string[] {
    const room = this.memory(PAGE);
    const bytes = ioasIovaRanges.encode({ ioas_id: ioas, num_iovas: PAGE / ioasIovaRange.size, allowed_iovas: room });
    this.kernel.ioctl(iommufd, IOMMU_IOAS_IOVA_RANGES, bytes);
    const spans = decodeArray(ioasIovaRange, this.bytes(room, PAGE), 0, ioasIovaRanges.decode(bytes).num_iovas);
    const texts = spans.map(({ start, last }) => `${start.toString(16)}-${last.toString(16)}`);
    this.kernel.munmap(room, PAGE);
    return texts;
  }

  allow(iommufd: Fd, ioas: number, spans: readonly (readonly [start: bigint, last: bigint])[]): number {
    const room = this.memory(PAGE);
    const list = spans.map(([start, last]) => ({ start, last }));
    this.bytes(room, PAGE).set(encodeArray(ioasIovaRange, list));
    const bytes = ioasAllowIovas.encode({ ioas_id: ioas, num_iovas: spans.length, allowed_iovas: room });
    return this.kernel.ioctl(iommufd, IOMMU_IOAS_ALLOW_IOVAS, bytes);
  }

  /** Fixed, readable and writeable where the flags say nothing else. @returns the address that the kernel wrote back */
  ioasMap(
    iommufd: Fd,
    ioas: number,
    wish: { iova?: bigint | number; length?: bigint | number; va: bigint; flags?: number },
  ): bigint {
    const { iova = 0, length = PAGE, va, flags = FIXED_IOVA | READABLE | WRITEABLE } = wish;
    const bytes = ioasMap.encode({ ioas_id: ioas, flags, iova, length, user_va: va });
    this.kernel.ioctl(iommufd, IOMMU_IOAS_MAP, bytes);
    return ioasMap.decode(bytes).iova;
  }

  /** Fixed, readable and writeable where the flags say nothing else. @returns the address that the kernel wrote back */
  ioasMapFile(
    iommufd: Fd,
    ioas: number,
    wish: { iova?: bigint | number; start?: bigint | number; length?: bigint | number; fd: number; flags?: number },
  ): bigint {
    const { iova = 0, start = 0, length = PAGE, fd, flags = FIXED_IOVA | READABLE | WRITEABLE } = wish;
    const bytes = ioasMapFile.encode({ ioas_id: ioas, flags, iova, start, length, fd });
    this.kernel.ioctl(iommufd, IOMMU_IOAS_MAP_FILE, bytes);
    return ioasMapFile.decode(bytes).iova;
  }

  /** @returns the bytes that the kernel wrote back */
  ioasUnmap(iommufd: Fd, ioas: number, iova: bigint | number, length: bigint | number): bigint {
    const bytes = ioasUnmap.encode({ ioas_id: ioas, iova, length });
    this.kernel.ioctl(iommufd, IOMMU_IOAS_UNMAP, bytes);
    return ioasUnmap.decode(bytes).length;
  }

  copy(
    iommufd: Fd,
    to: { ioas: number; iova?: bigint; flags?: number },
    from: { ioas: number; iova?: bigint; length?: bigint },
  ): bigint {
    const { flags = FIXED_IOVA | READABLE | WRITEABLE } = to;
    const bytes = ioasCopy.encode({
      flags,
      dst_ioas_id: to.ioas,
      src_ioas_id: from.ioas,
      length: from.length ?? BigInt(PAGE),
      dst_iova: to.iova ?? 0n,
      src_iova: from.iova ?? 0n,
    });
    this.kernel.ioctl(iommufd, IOMMU_IOAS_COPY, bytes);
    return ioasCopy.decode(bytes).dst_iova;
  }

  hwpt(iommufd: Fd, device: number, parent: number, flags = 0): number {
    const bytes = hwptAlloc.encode({ dev_id: device, pt_id: parent, flags });
    this.kernel.ioctl(iommufd, IOMMU_HWPT_ALLOC, bytes);
    return hwptAlloc.decode(bytes).out_hwpt_id;
  }

  destroy(iommufd: Fd, id: number): number {
    return this.kernel.ioctl(iommufd, IOMMU_DESTROY, destroy.encode({ id }));
  }

  /** A device's own node, by the number that sysfs gives it. */
  cdev(device: string): Fd {
    const bus = device.includes(":") ? "pci" : "platform";
    const [name] = this.kernel.readDirectory(`/sys/bus/${bus}/devices/${device}/vfio-dev`);
    return this.kernel.open(`/dev/vfio/devices/${name}`, O_RDWR);
  }

  /** @returns the device's id */
  bind(cdev: Fd, iommufd: number): number {
    const bytes = bindIommufd.encode({ argsz: 16, iommufd });
    this.kernel.ioctl(cdev, VFIO_DEVICE_BIND_IOMMUFD, bytes);
    return bindIommufd.decode(bytes).out_devid;
  }

  /** @returns the page table's id */
  attach(cdev: Fd, id: number): number {
    const bytes = attachIommufdPt.encode({ argsz: 12, pt_id: id });
    this.kernel.ioctl(cdev, VFIO_DEVICE_ATTACH_IOMMUFD_PT, bytes);
    return attachIommufdPt.decode(bytes).pt_id;
  }

  detach(cdev: Fd): number {
    return this.kernel.ioctl(cdev, VFIO_DEVICE_DETACH_IOMMUFD_PT, detachIommufdPt.encode({ argsz: 8 }));
  }

  /** A device, open and bound. */
  bound(device: string, iommufd: Fd): { readonly cdev: Fd; readonly id: number } {
    const cdev = this.cdev(device);
    return { cdev, id: this.bind(cdev, iommufd) };
  }

  /** An iommufd with an IOAS, and devices attached to that. */
  attached(...devices: readonly string[]) {
    const iommufd = this.iommufd();
    const ioas = this.ioas(iommufd);
    const open = devices.map((name) => this.bound(name, iommufd));
    const tables = open.map(({ cdev }) => this.attach(cdev, ioas));
    return { iommufd, ioas, devices: open, tables };
  }

  /** A line of /proc/self/status in kB. */
  kilobytes(line: "VmLck" | "VmPin"): number {
    const text = this.kernel.readFile("/proc/self/status");
    return Number(new RegExp(`^${line}:\\s+(\\d+) kB$`, "m").exec(text)?.[1]);
  }
}
