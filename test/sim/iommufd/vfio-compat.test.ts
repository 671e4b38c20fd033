import { describe, expect, it } from "vitest";
import { decodeCapabilities, findCapability } from "../../../src/abi/capability.js";
import { IOMMU_VFIO_IOAS, IOMMU_VFIO_IOAS_OP, vfioIoas } from "../../../src/abi/iommufd-ioas.js";
import {
  dmaMap,
  dmaUnmap,
  VFIO_CHECK_EXTENSION,
  VFIO_GET_API_VERSION,
  VFIO_IOMMU_DIRTY_PAGES,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_UNMAP_DMA,
} from "../../../src/abi/vfio-container.js";
import {
  availableMappings,
  iovaRanges,
  type1Info,
  VFIO_IOMMU_GET_INFO,
  VFIO_IOMMU_TYPE1_INFO,
} from "../../../src/abi/vfio-container-info.js";
import type { Fd } from "../../../src/syscalls/syscalls.js";
import { outcome, PAGE } from "../program.js";
import { A, type IommufdProgram, machine } from "./iommufd-program.js";

const P = BigInt(PAGE);

function vfioIoasCall(program: IommufdProgram, iommufd: Fd, op: number, ioas_id = 0) {
  const bytes = vfioIoas.encode({ op, ioas_id });
  return outcome(() => {
    program.kernel.ioctl(iommufd, IOMMU_VFIO_IOAS, bytes);
    return vfioIoas.decode(bytes).ioas_id;
  });
}

/** An iommufd whose VFIO calls work on an address space with a device. */
function compatible() {
  const program = machine();
  const { iommufd, ioas } = program.attached(A);
  vfioIoasCall(program, iommufd, IOMMU_VFIO_IOAS_OP.SET, ioas);
  const unmap = (iova: bigint, size: bigint, flags = 0) => {
    const bytes = dmaUnmap.encode({ iova, size, flags });
    const answer = outcome(() => program.kernel.ioctl(iommufd, VFIO_IOMMU_UNMAP_DMA, bytes));
    return [answer, dmaUnmap.decode(bytes).size];
  };
  return { program, iommufd, ioas, unmap };
}

describe("VFIO's container calls on an iommufd", () => {
  it("have no address space until they are given one", () => {
    const program = machine();
    const iommufd = program.iommufd();
    const { kernel } = program;
    expect(kernel.ioctl(iommufd, VFIO_GET_API_VERSION, 0)).toBe(0);
    const extensions = [1, 3, 9, 2, 6, 10].map((each) => kernel.ioctl(iommufd, VFIO_CHECK_EXTENSION, each));
    expect(extensions).toEqual([1, 1, 1, 0, 0, 0]);
    expect(kernel.ioctl(iommufd, VFIO_CHECK_EXTENSION, 8)).toBe(1);
    expect(outcome(() => kernel.ioctl(iommufd, VFIO_CHECK_EXTENSION, 4))).toBe("ENODEV");
    expect(outcome(() => program.setIommu(iommufd))).toBe("ENODEV");
    expect(outcome(() => program.setIommu(iommufd, 99))).toBe("EINVAL");
    expect(outcome(() => program.map(iommufd, 0n, P, 0n))).toBe("ENODEV");
    expect(outcome(() => program.info(iommufd))).toBe("ENODEV");
    expect(outcome(() => kernel.ioctl(iommufd, VFIO_IOMMU_DIRTY_PAGES, new Uint8Array(8)))).toBe("ENOTTY");
    const { GET, SET, CLEAR } = IOMMU_VFIO_IOAS_OP;
    expect(vfioIoasCall(program, iommufd, GET)).toBe("ENODEV");
    expect(vfioIoasCall(program, iommufd, SET, 9)).toBe("ENOENT");
    expect(vfioIoasCall(program, iommufd, 7)).toBe("EOPNOTSUPP");
    const ioas = program.ioas(iommufd);
    vfioIoasCall(program, iommufd, SET, ioas);
    expect(vfioIoasCall(program, iommufd, GET)).toBe(ioas);
    expect(kernel.ioctl(iommufd, VFIO_CHECK_EXTENSION, 4)).toBe(1);
    vfioIoasCall(program, iommufd, CLEAR);
    expect(vfioIoasCall(program, iommufd, GET)).toBe("ENODEV");
    vfioIoasCall(program, iommufd, SET, ioas);
    program.destroy(iommufd, ioas);
    expect(vfioIoasCall(program, iommufd, GET)).toBe("ENODEV");
  });

  it("tell page sizes and ranges", () => {
    const { program, iommufd } = compatible();
    expect(program.kernel.ioctl(iommufd, VFIO_CHECK_EXTENSION, 4)).toBe(0);
    const short = program.info(iommufd, 24);
    expect([short.argsz, short.capOffset, short.pageSizes]).toEqual([88, 0, 0x40201000n]);
    const { bytes, capOffset } = program.info(iommufd, 88);
    expect(capOffset).toBe(24);
    const chain = decodeCapabilities(bytes, capOffset);
    expect(chain.map(({ id, offset }) => [id, offset])).toEqual([
      [VFIO_IOMMU_TYPE1_INFO.DMA_AVAIL, 24],
      [VFIO_IOMMU_TYPE1_INFO.CAP_IOVA_RANGE, 40],
    ]);
    expect(availableMappings(findCapability(chain, VFIO_IOMMU_TYPE1_INFO.DMA_AVAIL)!)).toBe(0xffff_ffff);
    expect(iovaRanges(findCapability(chain, VFIO_IOMMU_TYPE1_INFO.CAP_IOVA_RANGE)!)).toHaveLength(2);
    const tooShort = type1Info.encode({ argsz: 15 });
    expect(outcome(() => program.kernel.ioctl(iommufd, VFIO_IOMMU_GET_INFO, tooShort))).toBe("EINVAL");
  });

  it("map and unmap with iommufd's rules", () => {
    const { program, iommufd, unmap } = compatible();
    const va = program.memory(4 * PAGE);
    const map = (iova: bigint, flags = 3) => outcome(() => program.map(iommufd, iova, 4n * P, va, flags));
    expect(map(0x10000n, 0)).toBe("EINVAL");
    expect(map(0x10000n, 7)).toBe("EINVAL");
    expect(map(0x10000n)).toBe(0);
    expect(map(0x7fff000n)).toBe("EINVAL");
    expect(unmap(0x20000n, P)).toEqual([0, 0n]);
    expect(unmap(0x11000n, P)).toEqual(["ENOENT", 0n]);
    expect(unmap(0x10000n, 0x4001n)).toEqual([0, 0x4000n]);
    expect(map(0x10000n)).toBe(0);
    expect(unmap(0n, 0n, 2)).toEqual([0, 0x4000n]);
    expect(unmap(0n, 0n, 2)).toEqual([0, 0n]);
    expect(unmap(0n, P, 2)[0]).toBe("EINVAL");
    expect(unmap(0n, P, 4)[0]).toBe("EINVAL");
    const short = dmaMap.encode({ argsz: 31 });
    expect(outcome(() => program.kernel.ioctl(iommufd, VFIO_IOMMU_MAP_DMA, short))).toBe("EINVAL");
  });

  it("refuse mappings that nobody may use where there is a page table, and after other reasons", () => {
    const { program, iommufd } = compatible();
    const va = program.memory(4 * PAGE);
    const map = (iova: bigint, flags: number) => outcome(() => program.map(iommufd, iova, P, va, flags));
    expect(map(0x10000n, 3)).toBe(0);
    expect(map(0x10000n, 0)).toBe("EEXIST");
    expect(map(0x11000n, 0)).toBe("EINVAL");
    expect(program.kernel.pinnedPages).toBe(1);
  });

  it("take mappings that nobody may use where there is no page table, which no device can then get", () => {
    const program = machine();
    const iommufd = program.iommufd();
    const ioas = program.ioas(iommufd);
    vfioIoasCall(program, iommufd, IOMMU_VFIO_IOAS_OP.SET, ioas);
    expect(outcome(() => program.map(iommufd, 0x10000n, P, program.memory(PAGE), 0))).toBe(0);
    const { cdev } = program.bound(A, iommufd);
    expect(outcome(() => program.attach(cdev, ioas))).toBe("EINVAL");
    expect(program.kernel.pinnedPages).toBe(0);
  });

  it("in version 1 really unmap a part of a mapping", () => {
    const { program, iommufd, unmap } = compatible();
    expect(program.setIommu(iommufd, 1)).toBe(0);
    const va = program.memory(4 * PAGE);
    program.map(iommufd, 0x10000n, 4n * P, va);
    expect(unmap(0x11000n, P)).toEqual([0, P]);
    expect(program.kernel.iommufds[0]?.ioases[0]?.areas.map(({ iova, size }) => [iova, size])).toEqual([
      [0x10000, 0x1000],
      [0x12000, 0x2000],
    ]);
    expect(program.kernel.pinnedPages).toBe(3);
    expect(unmap(0x10800n, P)[0]).toBe("EINVAL");
    expect(unmap(0n, 0n, 2)).toEqual([0, 3n * P]);
    expect(program.kernel.pinnedPages).toBe(0);
    program.map(iommufd, 0x10000n, 4n * P, va);
    expect(program.setIommu(iommufd, 1)).toBe(0);
    expect(program.setIommu(iommufd, 3)).toBe(0);
  });

  it("cut mappings in version 1 before they look whether the range makes sense, as far as it goes", () => {
    const { program, iommufd, unmap } = compatible();
    program.setIommu(iommufd, 1);
    program.map(iommufd, 0x10000n, 4n * P, program.memory(4 * PAGE));
    const areas = () => program.kernel.iommufds[0]?.ioases[0]?.areas.map(({ iova, size }) => [iova, size]);
    expect(unmap(0x11000n, 0n)).toEqual(["EINVAL", 0n]);
    expect(areas()).toEqual([
      [0x10000, 0x1000],
      [0x11000, 0x3000],
    ]);
    // Its last byte is no page's: nothing is unmapped, and the size is left alone.
    expect(unmap(0x11000n, 0x800n)).toEqual(["EINVAL", 0x800n]);
  });

  it("tell that nothing was unmapped also where the range makes no sense", () => {
    const { program, iommufd, unmap } = compatible();
    expect(unmap(0x10000n, 0n)).toEqual(["EINVAL", 0n]);
    expect(unmap(2n ** 64n - P, 2n * P)).toEqual(["EOVERFLOW", 0n]);
    program.map(iommufd, 0x10000n, P, program.memory(PAGE));
    program.map(iommufd, 0x11000n, 2n * P, program.memory(2 * PAGE));
    expect(unmap(0x10000n, 2n * P)).toEqual(["ENOENT", P]);
    expect(program.kernel.iommufds[0]?.ioases[0]?.areas.map(({ iova }) => iova)).toEqual([0x11000]);
    expect(unmap(0n, P, 2)).toEqual(["EINVAL", P]);
  });

  it("write capabilities as far as there is room", () => {
    const { program, iommufd } = compatible();
    const told = (argsz: number) => {
      const bytes = new Uint8Array(88).fill(0xee);
      type1Info.patch(bytes, 0, { argsz });
      program.kernel.ioctl(iommufd, VFIO_IOMMU_GET_INFO, bytes);
      const written = Array.from(bytes, (byte) => byte !== 0xee);
      const first = new DataView(bytes.buffer).getUint32(28, true);
      return { written: [16, 24, 40, 56, 72].map((at) => written[at]), first, argsz: type1Info.decode(bytes).argsz };
    };
    const NONE = 0xeeee_eeee;
    expect(told(16)).toEqual({ written: [false, false, false, false, false], first: NONE, argsz: 88 });
    expect(told(24)).toEqual({ written: [true, false, false, false, false], first: NONE, argsz: 88 });
    expect(told(36)).toEqual({ written: [true, true, false, false, false], first: 0, argsz: 88 });
    expect(told(40)).toEqual({ written: [true, true, false, false, false], first: 40, argsz: 88 });
    // One of two ranges fits: it is there, and nothing in front of it says so.
    expect(told(72)).toEqual({ written: [true, true, false, true, false], first: 40, argsz: 88 });
    expect(told(88)).toEqual({ written: [true, true, true, true, true], first: 40, argsz: 88 });
  });

  it("tell of an address space without page tables that everything goes", () => {
    const program = machine();
    const iommufd = program.iommufd();
    program.setContainer(program.group(A), iommufd);
    expect(program.ranges(iommufd)).toEqual(["0-ffffffffffffffff"]);
    expect(program.info(iommufd, 24).pageSizes).toBe(0xffff_ffff_ffff_f000n);
  });
});
