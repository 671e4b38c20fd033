import { describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { ioasIovaRanges } from "../../src/abi/iommufd-ioas.js";
import { type MachineOneOptions, machineOne, machineOneDescription } from "../../src/sim/linux/machine-one.js";
import { IoAddressSpace } from "../../src/space/io-address-space.js";
import type { StrategyName } from "../../src/space/strategies/strategy.js";
import { faulty } from "../../src/syscalls/faulty.js";
import { intercepted } from "../../src/syscalls/intercepted.js";
import { SyscallError } from "../../src/syscalls/syscalls.js";
import { errorFrom } from "../support/errors.js";

const [FIRST, SECOND] = ["0000:02:00.0", "0000:22:00.0"] as const;
const SMMU0 = "smmu3.0x000000000c000000";
const SMMU1 = "smmu3.0x000000000c020000";

const withIommufd = (options: MachineOneOptions = {}) => machineOne({ iommufd: true, ...options });

/** All devices behind the first SMMU. */
function behindOne() {
  const { devices } = machineOneDescription();
  return withIommufd({ devices: devices.map((device) => ({ ...device, iommu: SMMU0 })) });
}

const open = (kernel: ReturnType<typeof machineOne>, strategy: StrategyName, devices: string[] = [FIRST, SECOND]) =>
  IoAddressSpace.open(kernel, devices, { strategy });

describe("one domain for all devices", () => {
  it("is refused across two SMMUs, and the error says why and what else there is", async () => {
    const kernel = withIommufd();
    const error = await errorFrom(open(kernel, "single-domain"));
    expect(error).toMatchObject({
      code: "ERR_IOSPAN_ATTACH_REFUSED",
      syscall: "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
      errno: errno.EINVAL,
      device: SECOND,
      iommu: SMMU1,
    });
    for (const part of [SECOND, SMMU1, FIRST, SMMU0, "EINVAL"]) expect(error.message).toContain(part);
    expect(error.hint).toMatch(/mirrored.*shared-container/);
    expect([kernel.openFds, kernel.iommufds, kernel.pinnedPages]).toEqual([[], [], 0]);
  });

  it("is refused to a device that comes later, and the space stays as it was", async () => {
    const kernel = withIommufd();
    await using space = await open(kernel, "single-domain", [FIRST]);
    using _buffer = space.allocate(4096);
    await expect(space.attach(SECOND)).rejects.toMatchObject({
      code: "ERR_IOSPAN_ATTACH_REFUSED",
      errno: errno.EINVAL,
    });
    expect(space.interfaces).toEqual([FIRST]);
    expect(space.audit()).toMatchObject({ consistent: true, checked: 1 });
    await expect(open(kernel, "mirrored", [SECOND])).resolves.toBeDefined();
  });

  it("is one page table behind one SMMU, which stays when the device it was made for goes", async () => {
    const kernel = behindOne();
    await using space = await open(kernel, "single-domain");
    expect(space.strategy).toBe("single-domain");
    expect(space.plan).toEqual([{ strategy: "single-domain", chosen: true, reason: "asked for" }]);
    using _buffer = space.allocate(8192);
    const hwpts = () => kernel.iommufds[0]?.ioases[0]?.hwpts ?? [];
    expect(hwpts()).toMatchObject([{ iommu: SMMU0, automatic: false, mappings: [{ size: 8192 }] }]);
    expect(kernel.pinnedPages).toBe(2);
    await space.detach(FIRST);
    expect(kernel.iommufds[0]?.devices.map(({ name }) => name)).toEqual([SECOND]);
    expect(hwpts()).toHaveLength(1);
    await space.attach(FIRST);
    expect(hwpts()).toHaveLength(1);
    expect(space.audit()).toMatchObject({ consistent: true, checked: 1 });
  });

  it("says who ruled out which addresses and page sizes", async () => {
    await using space = await open(behindOne(), "single-domain");
    expect(space.pageSizes.bitmap).toBe(0x40201000n);
    expect(space.granule).toBe(4096);
    expect(space.iovaRanges.removed[0]).toEqual({ start: 0x8000000n, end: 0x80fffffn, by: [SMMU0] });
  });

  it("gives large buffers large pages", async () => {
    const kernel = behindOne();
    await using space = await open(kernel, "single-domain");
    using buffer = space.allocate(4 * 2 ** 20);
    expect(buffer.iova % 0x200000n).toBe(buffer.memory.address % 0x200000n);
  });

  it("is not what auto takes, even where it works", async () => {
    const kernel = behindOne();
    await using space = await IoAddressSpace.open(kernel, [FIRST, SECOND]);
    expect(space.strategy).toBe("iommufd");
  });

  it.each(["single-domain", "iommufd"] as const)("takes a kernel with iommufd: %s", async (strategy) => {
    const stock = machineOne();
    const error = await errorFrom(open(stock, strategy));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_NO_IOMMUFD", device: FIRST, iommu: SMMU0, errnoName: "ENOENT" });
    expect(error.hint).toMatch(/Linux 6\.6.*CONFIG_IOMMUFD/);
    expect(stock.openFds).toEqual([]);
    // It has /dev/iommu, and no nodes for devices yet.
    const older = withIommufd({ release: "6.4.0" });
    await expect(open(older, strategy)).rejects.toMatchObject({ code: "ERR_IOSPAN_NO_IOMMUFD", device: FIRST });
    expect(older.openFds).toEqual([]);
    const oldest = withIommufd({ release: "5.10.0" });
    await expect(open(oldest, strategy)).rejects.toMatchObject({ code: "ERR_IOSPAN_NO_IOMMUFD", device: FIRST });
  });

  it.each(["single-domain", "iommufd"] as const)(
    "is refused on a kernel that attaches without effect: %s",
    async (strategy) => {
      const kernel = withIommufd({ release: "6.14.3" });
      const error = await errorFrom(open(kernel, strategy));
      expect(error).toMatchObject({ code: "ERR_IOSPAN_ATTACH_REFUSED", device: SECOND, iommu: SMMU1 });
      expect(error.hint).toContain("mirrored");
      // There the one domain for both is refused aloud.
      expect(error.hint.includes("Linux 6.15.3")).toBe(strategy === "iommufd");
      expect(kernel.openFds).toEqual([]);
    },
  );

  it("names what works when no table can be made for larger pages than the processor's", async () => {
    const { iommus } = machineOneDescription();
    const kernel = withIommufd({ iommus: [{ ...iommus[0]!, pageSizes: 0x20010000n }, iommus[1]!] });
    const error = await errorFrom(open(kernel, "single-domain", [FIRST]));
    expect(error).toMatchObject({ syscall: "IOMMU_HWPT_ALLOC", errno: errno.EINVAL, device: FIRST, iommu: SMMU0 });
    expect(error.hint).toMatch(/mirrored.*shared-container/);
    expect(kernel.openFds).toEqual([]);
  });

  it("is refused where the table leaves no address, as before Linux 6.11", async () => {
    const kernel = behindOne();
    const syscalls = intercepted(kernel, (call, proceed) => {
      const result = proceed();
      if (call.ioctl?.name === "IOMMU_IOAS_IOVA_RANGES" && call.argument instanceof Uint8Array) {
        // Byte 0 alone, as behind an aperture that ends at 0.
        const { allowed_iovas } = ioasIovaRanges.decode(call.argument);
        new BigUint64Array(kernel.view(allowed_iovas, 4096)).fill(0n, 0, 2);
        ioasIovaRanges.patch(call.argument, 0, { num_iovas: 1 });
      }
      return result;
    });
    const error = await errorFrom(IoAddressSpace.open({ syscalls }, [FIRST], { strategy: "single-domain" }));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_ATTACH_REFUSED", device: FIRST, iommu: SMMU0 });
    expect(error.hint).toMatch(/Linux 6\.11.*mirrored/);
    expect(kernel.openFds).toEqual([]);
  });

  it.each([
    ["single-domain", "VFIO_DEVICE_ATTACH_IOMMUFD_PT"],
    ["iommufd", "VFIO_DEVICE_BIND_IOMMUFD"],
    ["iommufd", "IOMMU_IOAS_ALLOC"],
    ["shared-container", "VFIO_GROUP_SET_CONTAINER"],
    ["mirrored", "VFIO_GET_API_VERSION"],
    ["mirrored", "VFIO_GROUP_GET_STATUS"],
    ["mirrored", "VFIO_DEVICE_GET_INFO"],
  ] as const)("says why even where closing fails, too: %s, %s", async (strategy, refused) => {
    const kernel = behindOne();
    const first = faulty(kernel, { match: (call) => call.ioctl?.name === refused, nth: 1, errno: errno.EINVAL });
    let seen = false;
    const syscalls = intercepted(first, (call, proceed) => {
      seen ||= call.ioctl?.name === refused;
      const result = proceed();
      if (seen && call.name === "close") throw new SyscallError("close", errno.EIO, "EIO");
      return result;
    });
    const error = await errorFrom(IoAddressSpace.open({ syscalls }, [FIRST], { strategy }));
    const why = error.code === "ERR_IOSPAN_INCONSISTENT" ? (error.cause as AggregateError).errors[0] : error;
    expect(why).toMatchObject({ syscall: refused, errno: errno.EINVAL, device: FIRST });
    expect(why.cause.errors.some((each: Error) => each.message.includes("EIO"))).toBe(true);
  });

  it("gives up the iommufd when its first device cannot be brought in", async () => {
    const kernel = behindOne();
    for (const name of ["IOMMU_IOAS_ALLOC", "IOMMU_HWPT_ALLOC", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "IOMMU_VFIO_IOAS"]) {
      const syscalls = faulty(kernel, { match: (call) => call.ioctl?.name === name, nth: 1, errno: errno.ENOMEM });
      await expect(IoAddressSpace.open({ syscalls }, [FIRST], { strategy: "single-domain" })).rejects.toMatchObject({
        errno: errno.ENOMEM,
        device: FIRST,
        iommu: SMMU0,
      });
      expect([name, kernel.openFds]).toEqual([name, []]);
    }
  });
});

describe("one address space of an iommufd", () => {
  it("is not for an SMMU with larger pages than the processor's, and the error says what is", async () => {
    const { iommus } = machineOneDescription();
    const kernel = withIommufd({ iommus: [iommus[0]!, { ...iommus[1]!, pageSizes: 0x20010000n }] });
    const error = await errorFrom(open(kernel, "iommufd"));
    expect(error).toMatchObject({
      code: "ERR_IOSPAN_ATTACH_REFUSED",
      errno: errno.EINVAL,
      device: SECOND,
      iommu: SMMU1,
    });
    expect(error.hint).toContain("mirrored");
    expect(kernel.openFds).toEqual([]);
  });

  it("has a page table for each SMMU, and pins memory once", async () => {
    const kernel = withIommufd();
    await using space = await open(kernel, "iommufd");
    using _buffer = space.allocate(4096);
    const [ioas] = kernel.iommufds[0]?.ioases ?? [];
    expect(ioas?.hwpts.map(({ iommu, automatic }) => [iommu, automatic])).toEqual([
      [SMMU0, true],
      [SMMU1, true],
    ]);
    expect(kernel.pinnedPages).toBe(1);
    await space.detach(FIRST);
    expect(kernel.iommufds[0]?.ioases[0]?.hwpts.map(({ iommu }) => iommu)).toEqual([SMMU1]);
    await space.attach(FIRST);
    expect(space.audit()).toMatchObject({ consistent: true });
  });
});
