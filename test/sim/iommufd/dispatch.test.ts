import { describe, expect, it } from "vitest";
import { ioctl } from "../../../src/abi/ioctl.js";
import { hwptAlloc, IOMMU_HWPT_ALLOC } from "../../../src/abi/iommufd-hwpt.js";
import { IOMMU_IOAS_ALLOC, IOMMU_IOAS_UNMAP } from "../../../src/abi/iommufd-ioas.js";
import { IOMMU_DESTROY } from "../../../src/abi/iommufd-object.js";
import { IOMMU_VIOMMU_ALLOC, viommuAlloc } from "../../../src/abi/iommufd-viommu.js";
import { outcome } from "../program.js";
import { A, machine } from "./iommufd-program.js";

/** A struct of `size` bytes that says it has `claims`. */
const bytes = (size: number, claims = size, fill = 0) => {
  const buffer = new Uint8Array(size).fill(fill);
  if (size >= 4) new DataView(buffer.buffer).setUint32(0, claims, true);
  return buffer;
};

describe("the calls of /dev/iommu", () => {
  it.each([
    ["no room for the size", IOMMU_IOAS_ALLOC, bytes(3), "EFAULT"],
    ["less than the call needs", IOMMU_IOAS_ALLOC, bytes(12, 11), "EINVAL"],
    ["less memory than it says", IOMMU_IOAS_ALLOC, bytes(12, 13), "EFAULT"],
    ["more than the kernel knows, zeros", IOMMU_IOAS_ALLOC, bytes(64), 0],
    ["more than the kernel knows, and it means something", IOMMU_IOAS_ALLOC, bytes(64, 64, 1), "E2BIG"],
    ["the number with another type", { ...IOMMU_IOAS_ALLOC, request: 0x4481 }, bytes(64), "ENOTTY"],
    ["the number with a direction", { ...IOMMU_IOAS_ALLOC, request: 0xc00c3b81 }, bytes(64), "ENOTTY"],
    ["a number above all", ioctl("IOMMU_NEXT", 0x96, "none"), bytes(64), "ENOTTY"],
    ["a number below all", ioctl("IOMMU_BEFORE", 0x7f, "none"), bytes(64), "ENOTTY"],
    ["a reserved flag", IOMMU_IOAS_ALLOC, new Uint8Array([12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]), "EOPNOTSUPP"],
    ["an id that is none", IOMMU_DESTROY, new Uint8Array([8, 0, 0, 0, 7, 0, 0, 0]), "ENOENT"],
    ["an address space that is none", IOMMU_IOAS_UNMAP, bytes(24), "ENOENT"],
    ["a number as the argument", IOMMU_IOAS_ALLOC, 4096, "EFAULT"],
    ["what is not simulated", IOMMU_VIOMMU_ALLOC, viommuAlloc.encode(), "EOPNOTSUPP"],
  ])("%s", (_, call, argument, expected) => {
    const program = machine();
    expect(outcome(() => program.kernel.ioctl(program.iommufd(), call, argument))).toBe(expected);
  });

  it("fills up a struct that ends early, and writes no further than it reaches", () => {
    const program = machine();
    const iommufd = program.iommufd();
    const ioas = program.ioas(iommufd);
    const { id } = program.bound(A, iommufd);
    const room = new Uint8Array(hwptAlloc.size).fill(0xee);
    room.set(hwptAlloc.encode({ size: 24, dev_id: id, pt_id: ioas }).subarray(0, 24));
    program.kernel.ioctl(iommufd, IOMMU_HWPT_ALLOC, room);
    expect(hwptAlloc.decode(room).out_hwpt_id).toBe(3);
    expect(room.subarray(24).every((byte) => byte === 0xee)).toBe(true);
  });

  it.each([
    ["6.1.0", "ENOENT", undefined],
    ["6.2.0", 3, "ENOTTY"],
    ["6.5.0", 3, "ENOTTY"],
    ["6.6.0", 3, "ENOENT"],
    ["7.3.4", 3, "ENOENT"],
  ])("on Linux %s", (release, open, allocating) => {
    const program = machine({ release });
    expect(outcome(() => program.iommufd())).toBe(open);
    if (allocating !== undefined) {
      expect(outcome(() => program.hwpt(program.kernel.openFds[0]!.fd, 1, 1))).toBe(allocating);
    }
    const hasCdev = open === 3 && allocating === "ENOENT";
    expect(program.kernel.readDirectory("/dev/vfio").includes("devices")).toBe(hasCdev);
  });

  it("is left out where the kernel is built without", () => {
    const program = machine({ iommufd: false });
    expect(outcome(() => program.iommufd())).toBe("ENOENT");
    expect(program.kernel.readDirectory("/dev/vfio")).not.toContain("devices");
    expect(program.kernel.readDirectory("/sys/module")).not.toContain("iommufd");
  });
});
