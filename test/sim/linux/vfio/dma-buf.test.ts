import { describe, expect, it } from "vitest";
import { IOMMU_IOAS_CHANGE_PROCESS, ioasChangeProcess } from "../../../../src/abi/iommufd-ioas.js";
import {
  deviceFeature,
  dmaBuf,
  regionDmaRange,
  VFIO_DEVICE_FEATURE,
  VFIO_DEVICE_FEATURE_INDEX,
  VFIO_DEVICE_FEATURE_OPERATION,
} from "../../../../src/abi/vfio-feature.js";
import { iova } from "../../../../src/iova.js";
import type { Fd } from "../../../../src/syscalls/syscalls.js";
import { Device } from "../../../../src/vfio/device.js";
import { IommufdRig, identityOf, SECOND } from "../../../iommufd/rig.js";
import { errorOf } from "../../../support/errors.js";
import { outcome, PAGE } from "../../program.js";

const { GET, SET, PROBE } = VFIO_DEVICE_FEATURE_OPERATION;
const BAR_SIZE = 2 ** 20;

interface Wish {
  readonly region?: number;
  readonly flags?: number;
  readonly ranges?: readonly (readonly [offset: number, length: number])[];
}

async function openSecond(release = "7.3.4") {
  const rig = await IommufdRig.open({ release });
  const bound = await rig.attached(SECOND);
  const device = await Device.open(rig.syscalls, bound, identityOf(rig.kernel, SECOND));
  const { fd } = device.region("bar0").handle;
  const feature = (operation: number, data: Uint8Array = new Uint8Array()) => {
    const flags = operation | VFIO_DEVICE_FEATURE_INDEX.DMA_BUF;
    return outcome(() => rig.kernel.ioctl(fd, VFIO_DEVICE_FEATURE, deviceFeature.encode({ flags }, data)));
  };
  const exported = (wish: Wish = {}) => feature(GET, request(wish));
  return { rig, bound, device, feature, exported };
}

function request({ region = 0, flags = 0, ranges = [[0, PAGE]] }: Wish): Uint8Array {
  const encoded = ranges.map(([offset, length]) => regionDmaRange.encode({ offset, length }));
  const bytes = new Uint8Array(encoded.length * regionDmaRange.size);
  for (const [index, range] of encoded.entries()) bytes.set(range, index * regionDmaRange.size);
  return dmaBuf.encode({ region_index: region, flags, nr_ranges: ranges.length }, bytes);
}

describe("VFIO_DEVICE_FEATURE_DMA_BUF", () => {
  it("is probed, got, and not set", async () => {
    const { rig, feature, exported } = await openSecond();
    expect([feature(PROBE), feature(PROBE | GET), feature(PROBE | SET), feature(SET)]).toEqual([
      0,
      0,
      "EINVAL",
      "EINVAL",
    ]);
    const fd = exported();
    expect(fd).toBeTypeOf("number");
    expect(rig.kernel.openFds.find((open) => open.fd === fd)?.path).toBe("/dmabuf:");
  });

  it("refuses what is no part of a BAR", async () => {
    const { feature, exported } = await openSecond();
    expect(feature(GET, new Uint8Array(8))).toBe("EINVAL");
    expect(exported({ ranges: [] })).toBe("EINVAL");
    expect(exported({ flags: 1 })).toBe("EINVAL");
    expect([exported({ region: 1 }), exported({ region: 6 }), exported({ region: 7 })]).toEqual([
      "ENODEV",
      "ENODEV",
      "ENODEV",
    ]);
    expect(exported({ ranges: [[0, 0]] })).toBe("EINVAL");
    expect(exported({ ranges: [[8, PAGE]] })).toBe("EINVAL");
    expect(exported({ ranges: [[0, 8]] })).toBe("EINVAL");
    expect(exported({ ranges: [[BAR_SIZE, PAGE]] })).toBe("EINVAL");
    // More ranges than bytes were given for.
    const torn = request({ ranges: [[0, PAGE]] });
    new DataView(torn.buffer).setUint32(12, 2, true);
    expect(feature(GET, torn)).toBe("EFAULT");
  });

  it("is unknown before Linux 6.19", async () => {
    const { feature } = await openSecond("6.18.1");
    expect([feature(PROBE), feature(GET)]).toEqual(["ENOTTY", "ENOTTY"]);
  });
});

describe("IOMMU_IOAS_MAP_FILE of a dma-buf of registers", () => {
  const at = (fd: unknown, offset: number, size: number) => {
    return { fd: fd as Fd, offset, iova: iova(0x10_0000), size, access: "read-write" } as const;
  };

  it("maps parts of it, and nothing beyond its end", async () => {
    const { rig, exported } = await openSecond();
    const fd = exported({ ranges: [[PAGE, 4 * PAGE]] });
    rig.ioas.mapFile(at(fd, PAGE, 3 * PAGE));
    expect(rig.ioas.unmap(iova(0x10_0000), 3 * PAGE)).toBe(3 * PAGE);
    expect(errorOf(() => rig.ioas.mapFile(at(fd, PAGE, 4 * PAGE)))).toMatchObject({ errnoName: "EINVAL" });
    expect(rig.kernel.lockedBytes).toBe(0);
  });

  it("maps one of several ranges only", async () => {
    const { rig, exported } = await openSecond();
    const fd = exported({
      ranges: [
        [0, PAGE],
        [2 * PAGE, PAGE],
      ],
    });
    expect(errorOf(() => rig.ioas.mapFile(at(fd, 0, PAGE)))).toMatchObject({ errnoName: "EOPNOTSUPP" });
  });

  it("is refused from when the device is closed on, though it was exported before", async () => {
    const { rig, device, exported } = await openSecond();
    const fd = exported();
    device.release();
    expect(errorOf(() => rig.ioas.mapFile(at(fd, 0, PAGE)))).toMatchObject({ errnoName: "ENODEV" });
  });

  it("counts as no file's when mappings are handed to another process", async () => {
    const { rig, exported } = await openSecond();
    rig.ioas.mapFile(at(exported(), 0, PAGE));
    const change = () => rig.kernel.ioctl(rig.iommufd.fd, IOMMU_IOAS_CHANGE_PROCESS, ioasChangeProcess.encode());
    expect(outcome(change)).toBe("EINVAL");
  });

  it("is known from Linux 6.19 on, as is exporting it", async () => {
    const { rig, exported } = await openSecond("6.19.3");
    expect(rig.ioas.takesDmaBuf(exported() as Fd, PAGE)).toBe("taken");
  });

  it("is not mistaken for that of a memfd", async () => {
    const { rig } = await openSecond();
    const fd = rig.kernel.memfd("memory", 0, PAGE);
    expect(rig.ioas.takesDmaBuf(fd, PAGE)).toBe("unknown");
  });
});
