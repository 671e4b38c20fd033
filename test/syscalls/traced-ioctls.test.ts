import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeArray } from "../../src/abi/codec.js";
import { s32, u8 } from "../../src/abi/fields.js";
import type { Ioctl } from "../../src/abi/ioctl.js";
import { hwInfo, IOMMU_GET_HW_INFO } from "../../src/abi/iommufd-hw-info.js";
import { hwptAlloc, IOMMU_HWPT_ALLOC } from "../../src/abi/iommufd-hwpt.js";
import {
  IOMMU_IOAS_COPY,
  IOMMU_IOAS_MAP,
  IOMMU_IOAS_MAP_FILE,
  ioasCopy,
  ioasMap,
  ioasMapFile,
} from "../../src/abi/iommufd-ioas.js";
import { IOMMU_OPTION, option } from "../../src/abi/iommufd-object.js";
import { bindIommufd, VFIO_DEVICE_BIND_IOMMUFD } from "../../src/abi/vfio-cdev.js";
import {
  bitmap,
  dmaUnmap,
  VFIO_CHECK_EXTENSION,
  VFIO_IOMMU_UNMAP_DMA,
  VFIO_SET_IOMMU,
} from "../../src/abi/vfio-container.js";
import {
  dmaAvailCapability,
  iovaRange,
  iovaRangeCapability,
  migrationCapability,
  type1Info,
  VFIO_IOMMU_GET_INFO,
} from "../../src/abi/vfio-container-info.js";
import { atomicCapability, deviceInfo, VFIO_DEVICE_GET_INFO } from "../../src/abi/vfio-device.js";
import { busMaster, deviceFeature, VFIO_DEVICE_FEATURE } from "../../src/abi/vfio-feature.js";
import { containerFd, VFIO_GROUP_SET_CONTAINER } from "../../src/abi/vfio-group.js";
import { irqSet, VFIO_DEVICE_SET_IRQS, VFIO_IRQ_SET } from "../../src/abi/vfio-irq.js";
import {
  dependentDevice,
  dependentDeviceById,
  hotReset,
  hotResetInfo,
  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
  VFIO_DEVICE_PCI_HOT_RESET,
} from "../../src/abi/vfio-pci-reset.js";
import {
  regionInfo,
  regionTypeCapability,
  sparseMmapArea,
  sparseMmapCapability,
  VFIO_DEVICE_GET_REGION_INFO,
} from "../../src/abi/vfio-region.js";
import { traced } from "../../src/syscalls/traced.js";
import { loadTables } from "../abi/tables.js";
import { fd, strictSyscalls } from "../support/strict-syscalls.js";

/** The argument's part of the line about an ioctl on descriptor 5, with a container at 4 and an eventfd at 9. */
function shown(ioctl: Ioctl, argument: Uint8Array | number, answer: (argument: Uint8Array) => void = () => {}): string {
  const lines: string[] = [];
  const inner = strictSyscalls({
    open: () => fd(4),
    eventfd: () => fd(9),
    ioctl: () => {
      if (argument instanceof Uint8Array) answer(argument);
      return 0;
    },
  });
  const syscalls = traced(inner, (line) => lines.push(line));
  syscalls.open("/dev/vfio/vfio", 2);
  syscalls.eventfd();
  syscalls.ioctl(fd(5), ioctl, argument);
  expect(lines).toHaveLength(3);
  const [, text] = /^ioctl\(5, \w+, (.*)\) = 0$/.exec(lines[2] ?? "") ?? [];
  return text ?? "";
}

/** An answer with a chain of capabilities behind a struct of `size` bytes. */
function chained(size: number, ...capabilities: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const answer = new Uint8Array(size + capabilities.reduce((sum, { length }) => sum + length, 0));
  let at = size;
  for (const [index, capability] of capabilities.entries()) {
    answer.set(capability, at);
    const next = index === capabilities.length - 1 ? 0 : at + capability.length;
    new DataView(answer.buffer).setUint32(at + 4, next, true);
    at += capability.length;
  }
  return answer;
}

const header = (id: number, version = 1) => ({ header: { id, version } });

describe("an integer", () => {
  it("has its name", () => {
    expect(shown(VFIO_SET_IOMMU, 3)).toBe("VFIO_TYPE1v2_IOMMU");
    expect(shown(VFIO_CHECK_EXTENSION, 9)).toBe("VFIO_UNMAP_ALL");
    expect(shown(VFIO_CHECK_EXTENSION, 99)).toBe("99");
  });
});

describe("descriptors in structs", () => {
  it("are named", () => {
    expect(shown(VFIO_GROUP_SET_CONTAINER, containerFd.encode({ fd: 4 }))).toBe("{fd=4</dev/vfio/vfio>}");
    expect(
      shown(VFIO_DEVICE_BIND_IOMMUFD, bindIommufd.encode({ iommufd: 4 }), (argument) => {
        bindIommufd.patch(argument, 0, { out_devid: 1 });
      }),
    ).toBe("{argsz=24, flags=0, iommufd=4</dev/vfio/vfio>, out_devid=0, token_uuid_ptr=0x0} => {out_devid=1}");
  });
});

describe("what follows a struct", () => {
  const { DATA_EVENTFD, DATA_BOOL, DATA_NONE, ACTION_TRIGGER, ACTION_MASK } = VFIO_IRQ_SET;

  it("is shown as what the struct says that it is", () => {
    const eventfds = encodeArray(s32, [9, -1]);
    expect(
      shown(
        VFIO_DEVICE_SET_IRQS,
        irqSet.encode({ flags: DATA_EVENTFD | ACTION_TRIGGER, index: 1, count: 2 }, eventfds),
      ),
    ).toBe("{argsz=28, flags=DATA_EVENTFD|ACTION_TRIGGER, index=1, start=0, count=2, data=[9<eventfd>, -1]}");
    const masks = encodeArray(u8, [1, 0]);
    expect(shown(VFIO_DEVICE_SET_IRQS, irqSet.encode({ flags: DATA_BOOL | ACTION_MASK, count: 2 }, masks))).toBe(
      "{argsz=22, flags=DATA_BOOL|ACTION_MASK, index=0, start=0, count=2, data=[1, 0]}",
    );
    expect(shown(VFIO_DEVICE_SET_IRQS, irqSet.encode({ flags: DATA_NONE | ACTION_TRIGGER }))).toBe(
      "{argsz=20, flags=DATA_NONE|ACTION_TRIGGER, index=0, start=0, count=0}",
    );
  });

  it("may be another struct", () => {
    const pages = bitmap.encode({ pgsize: 0x1000, size: 8, data: 0x7000 });
    expect(shown(VFIO_IOMMU_UNMAP_DMA, dmaUnmap.encode({ flags: 1, size: 0x1000 }, pages))).toBe(
      "{argsz=48, flags=GET_DIRTY_BITMAP, iova=0x0, size=0x1000, data={pgsize=0x1000, size=0x8, data=0x7000}}",
    );
    const set = deviceFeature.encode({ flags: (1 << 17) | 10 }, busMaster.encode({ op: 1 }));
    expect(shown(VFIO_DEVICE_FEATURE, set)).toBe("{argsz=12, flags=SET|BUS_MASTER, data={op=SET_MASTER}}");
    const probe = deviceFeature.encode({ flags: (1 << 18) | (1 << 17) | 10 });
    expect(shown(VFIO_DEVICE_FEATURE, probe)).toBe("{argsz=8, flags=SET|PROBE|BUS_MASTER}");
  });

  it("may be devices by group or by id, and groups", () => {
    const byGroup = encodeArray(dependentDevice, [{ group_id: 6, bus: 2 }]);
    expect(shown(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, hotResetInfo.encode({ count: 1 }, byGroup))).toBe(
      "{argsz=20, flags=0, count=1, devices=[{group_id=6, segment=0, bus=2, devfn=0}]}",
    );
    const byId = encodeArray(dependentDeviceById, [{ devid: -1, bus: 2 }]);
    expect(shown(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, hotResetInfo.encode({ flags: 3, count: 1 }, byId))).toBe(
      "{argsz=20, flags=DEV_ID|DEV_ID_OWNED, count=1, devices=[{devid=-1, segment=0, bus=2, devfn=0}]}",
    );
    expect(shown(VFIO_DEVICE_PCI_HOT_RESET, hotReset.encode({ count: 1 }, encodeArray(s32, [4])))).toBe(
      "{argsz=16, flags=0, count=1, group_fds=[4</dev/vfio/vfio>]}",
    );
  });

  it("is as much as there is, and of much the beginning", () => {
    const none = irqSet.encode({ flags: DATA_EVENTFD, count: 0xffff_ffff });
    expect(shown(VFIO_DEVICE_SET_IRQS, none)).toMatch(/data=\[… 4294967295 in all\]}$/);
    const many = irqSet.encode({ flags: DATA_BOOL, count: 40 }, new Uint8Array(40));
    expect(shown(VFIO_DEVICE_SET_IRQS, many)).toMatch(/data=\[(0, ){32}… 40 in all\]}$/);
    const cut = deviceFeature.encode({ flags: (1 << 17) | 10 }, Uint8Array.of(1, 0));
    expect(shown(VFIO_DEVICE_FEATURE, cut)).toBe("{argsz=10, flags=SET|BUS_MASTER, data=[01 00]}");
  });
});

describe("capabilities", () => {
  it("of a container: IOVA ranges, dirty bitmaps, mappings left", () => {
    const ranges = encodeArray(iovaRange, [
      { start: 0, end: 0x7ff_ffff },
      { start: 0x810_0000, end: 2n ** 48n - 1n },
    ]);
    const answer = chained(
      type1Info.size,
      migrationCapability.encode({ ...header(2), pgsize_bitmap: 0x1000, max_dirty_bitmap_size: 0x1000_0000 }),
      dmaAvailCapability.encode({ ...header(3), avail: 65535 }),
      new Uint8Array(4),
      iovaRangeCapability.encode({ ...header(1), nr_iovas: 2 }, ranges),
    );
    // The kernel puts a __u64 on 8 bytes: dma_avail's 12 bytes are followed by 4 that belong to nobody.
    const view = new DataView(answer.buffer);
    view.setUint32(type1Info.size + migrationCapability.size + 4, 72, true);
    const before = new Uint8Array(answer.length);
    type1Info.patch(before, 0, { argsz: before.length });
    const text = shown(VFIO_IOMMU_GET_INFO, before, (argument) => {
      argument.set(answer);
      type1Info.patch(argument, 0, { argsz: 120, flags: 3, iova_pgsizes: 0x4020_1000, cap_offset: 24 });
    });
    expect(answer.length).toBe(120);
    expect(text).toBe(
      "{argsz=120, flags=0, iova_pgsizes=0x0, cap_offset=0} => " +
        "{flags=PGSIZES|CAPS, iova_pgsizes=0x40201000, cap_offset=24, caps=[" +
        "CAP_MIGRATION {flags=0, pgsize_bitmap=0x1000, max_dirty_bitmap_size=0x10000000}, DMA_AVAIL {avail=65535}, " +
        "CAP_IOVA_RANGE {nr_iovas=2, iova_ranges=[{start=0x0, end=0x7ffffff}, {start=0x8100000, end=0xffffffffffff}]}]}",
    );
  });

  it("of a region: what may be mapped, what it is", () => {
    const areas = encodeArray(sparseMmapArea, [{ offset: 0x1000, size: 0x3000 }]);
    const answer = chained(
      regionInfo.size,
      sparseMmapCapability.encode({ ...header(1), nr_areas: 1 }, areas),
      regionTypeCapability.encode({ ...header(2), type: 1, subtype: 2 }),
      new Uint8Array([3, 0, 1, 0, 0, 0, 0, 0]),
    );
    regionInfo.patch(answer, 0, { argsz: answer.length, flags: 15, cap_offset: 32 });
    expect(shown(VFIO_DEVICE_GET_REGION_INFO, answer)).toBe(
      "{argsz=88, flags=READ|WRITE|MMAP|CAPS, index=0, cap_offset=32, size=0x0, offset=0x0, caps=[" +
        "SPARSE_MMAP {nr_areas=1, areas=[{offset=0x1000, size=0x3000}]}, TYPE {type=1, subtype=2}, MSIX_MAPPABLE]}",
    );
  });

  it("of a device: atomic operations", () => {
    const answer = chained(deviceInfo.size, atomicCapability.encode({ ...header(5), flags: 3 }));
    deviceInfo.patch(answer, 0, { argsz: answer.length, flags: 0x82, cap_offset: 24 });
    expect(shown(VFIO_DEVICE_GET_INFO, answer)).toMatch(/caps=\[PCI_ATOMIC_COMP {flags=COMP32\|COMP64}\]}$/);
  });

  it("of other versions, cut off or malformed are shown as what they are", () => {
    const info = (...capabilities: readonly Uint8Array[]) => {
      const answer = chained(type1Info.size, ...capabilities);
      type1Info.patch(answer, 0, { argsz: answer.length, cap_offset: 24 });
      return shown(VFIO_IOMMU_GET_INFO, answer);
    };
    expect(info(dmaAvailCapability.encode({ ...header(3, 2), avail: 1 }))).toMatch(
      /caps=\[DMA_AVAIL version 2 \[03 00 02 00 00 00 00 00 01 00 00 00]]}$/,
    );
    expect(info(Uint8Array.of(3, 0, 1, 0, 0, 0, 0, 0))).toMatch(
      /caps=\[DMA_AVAIL version 1 \[03 00 01 00 00 00 00 00]]}$/,
    );
    expect(info(Uint8Array.of(99, 0, 1, 0, 0, 0, 0, 0))).toMatch(/caps=\[99]}$/);
    const loop = chained(type1Info.size, new Uint8Array(8));
    type1Info.patch(loop, 0, { argsz: loop.length, cap_offset: 400 });
    expect(shown(VFIO_IOMMU_GET_INFO, loop)).toMatch(/caps=\(the kernel's capability at offset 400 leaves .*\)}$/);
  });
});

describe("iommufd's structs", () => {
  it.each([
    [
      IOMMU_IOAS_MAP,
      ioasMap.encode({ flags: 7, ioas_id: 1, user_va: 0x7f00_0000, length: 0x2000, iova: 0x1000 }),
      "{size=40, flags=FIXED_IOVA|WRITEABLE|READABLE, ioas_id=1, user_va=0x7f000000, length=0x2000, iova=0x1000}",
    ],
    [
      IOMMU_IOAS_MAP_FILE,
      ioasMapFile.encode({ flags: 4, ioas_id: 1, fd: 4, length: 0x2000 }),
      "{size=40, flags=READABLE, ioas_id=1, fd=4</dev/vfio/vfio>, start=0x0, length=0x2000, iova=0x0}",
    ],
    [
      IOMMU_IOAS_COPY,
      ioasCopy.encode({ flags: 1, dst_ioas_id: 2, src_ioas_id: 1, length: 0x1000 }),
      "{size=40, flags=FIXED_IOVA, dst_ioas_id=2, src_ioas_id=1, length=0x1000, dst_iova=0x0, src_iova=0x0}",
    ],
    [
      IOMMU_HWPT_ALLOC,
      hwptAlloc.encode({ flags: 1, dev_id: 1, pt_id: 2, data_type: 2 }),
      "{size=48, flags=ALLOC_NEST_PARENT, dev_id=1, pt_id=2, out_hwpt_id=0, data_type=ARM_SMMUV3, data_len=0, " +
        "data_uptr=0x0, fault_id=0}",
    ],
    [
      IOMMU_OPTION,
      option.encode({ option_id: 1, op: 1, object_id: 3 }),
      "{size=24, option_id=HUGE_PAGES, op=GET, object_id=3, val64=0x0}",
    ],
    [
      IOMMU_GET_HW_INFO,
      hwInfo.encode({ dev_id: 1, out_data_type: 2, out_capabilities: 1 }),
      "{size=40, flags=0, dev_id=1, data_len=0, data_uptr=0x0, out_data_type=ARM_SMMUV3, out_max_pasid_log2=0, " +
        "out_capabilities=DIRTY_TRACKING}",
    ],
  ])("are shown by the same tables: $name", (ioctl, argument, text) => {
    expect(shown(ioctl, argument)).toBe(text);
  });
});

describe("any bytes", () => {
  it("make one line, for every ioctl there is", async () => {
    const { ioctls } = await loadTables();
    const argument = fc.uint8Array({ maxLength: 200 });
    const pointing = argument.map((bytes) => {
      // Most random offsets lead nowhere; 32 is where a capability can be.
      if (bytes.length >= 24) new DataView(bytes.buffer, bytes.byteOffset).setUint32(16, 32, true);
      return bytes;
    });
    fc.assert(
      fc.property(
        fc.constantFrom(...ioctls),
        fc.oneof(argument, pointing, fc.nat()),
        argument,
        (ioctl, bytes, answer) => {
          const lines: string[] = [];
          const inner = strictSyscalls({
            ioctl: () => {
              if (bytes instanceof Uint8Array) bytes.set(answer.subarray(0, bytes.length));
              return 0;
            },
          });
          traced(inner, (line) => lines.push(line)).ioctl(fd(5), ioctl, bytes);
          expect(lines).toHaveLength(1);
          expect(lines[0]).toMatch(/^ioctl\(5, \w+.*\) = 0$/);
        },
      ),
      { numRuns: 2000 },
    );
  });
});
