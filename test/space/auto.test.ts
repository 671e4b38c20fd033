import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { errorCodes, IospanError } from "../../src/errors.js";
import { type MachineOneOptions, machineOne, machineOneDescription } from "../../src/sim/linux/machine-one.js";
import { IoAddressSpace } from "../../src/space/io-address-space.js";
import { isStrategys } from "../../src/space/space-errors.js";
import { type Fault, faulty } from "../../src/syscalls/faulty.js";
import type { Call } from "../../src/syscalls/intercepted.js";
import { edus, proveDma } from "../conformance/dma-proof.js";
import { EDUS, leftOf, NOTHING, open, planOf, withIommufd } from "../support/edu-spaces.js";
import { errorFrom } from "../support/errors.js";

const ioctl = (name: string) => (call: Call) => call.ioctl?.name === name;
const opening = (path: string) => (call: Call) => call.name === "openat" && call.path?.startsWith(path) === true;
const setContainer = ioctl("VFIO_GROUP_SET_CONTAINER");

/** The lab's machine with interrupts that the devices may raise for others. */
function unsafe(options: MachineOneOptions) {
  const { devices } = machineOneDescription();
  return withIommufd({ devices: devices.map((device) => ({ ...device, msiIsolated: false })), ...options });
}

describe("auto", () => {
  it.each(["6.6.0", "6.12.107", "6.13.0", "6.15.3", "6.16.0", "7.3.4"])(
    "takes an iommufd where there is one, on Linux %s, and tells what it did not try",
    async (release) => {
      const { strategy, plan } = await planOf(withIommufd({ release }));
      expect(strategy).toBe("iommufd");
      expect(plan).toEqual([
        { strategy, chosen: true, reason: expect.stringContaining("pins memory once") },
        { strategy: "shared-container", chosen: false, reason: 'not tried: "iommufd" comes first, and works' },
        { strategy: "mirrored", chosen: false, reason: 'not tried: "iommufd" comes first, and works' },
      ]);
    },
  );

  it.each(["5.10.223", "6.1.176", "6.12.107", "6.13.0", "6.15.3", "6.16.0", "7.3.4"])(
    "takes one container for all on Linux %s without iommufd",
    async (release) => {
      const { strategy, plan } = await planOf(machineOne({ release }));
      expect(strategy).toBe("shared-container");
      expect(plan).toEqual([
        { strategy: "iommufd", chosen: false, reason: expect.stringMatching(/\/dev\/(iommu|vfio\/devices)/) },
        { strategy, chosen: true, reason: expect.stringContaining("pins memory once") },
        { strategy: "mirrored", chosen: false, reason: 'not tried: "shared-container" comes first, and works' },
      ]);
    },
  );

  it.each([["0000:02:00.0"], ["0000:02:00.0", "0000:01:00.0"]])(
    "takes the same for one IOMMU, on every kernel: %s %s",
    async (...devices) => {
      const names = devices.filter((name) => name !== undefined);
      const description = machineOneDescription().devices;
      const bound = description.map((each) => (names.includes(each.name) ? { ...each, driver: "vfio-pci" } : each));
      for (const release of ["6.14.0", "7.3.4"]) {
        await using withIt = await IoAddressSpace.open({ syscalls: withIommufd({ release, devices: bound }) }, names);
        expect(withIt.strategy).toBe("iommufd");
        await using without = await IoAddressSpace.open({ syscalls: machineOne({ release, devices: bound }) }, names);
        expect(without.strategy).toBe("shared-container");
      }
    },
  );

  it("has a plan that can be read", async () => {
    const kernel = machineOne();
    const syscalls = faulty(kernel, { match: setContainer, nth: 2, errno: errno.EINVAL });
    const { plan } = await planOf(syscalls);
    expect(inspect(plan)).toMatch(/strategy: 'iommufd',\n\s+chosen: false,\n\s+reason: '.*\(openat: ENOENT/);
    expect(inspect(plan)).toMatch(/strategy: 'shared-container',\n\s+chosen: false,\n\s+reason: .*EINVAL/);
    expect(inspect(plan)).toMatch(/strategy: 'mirrored',\n\s+chosen: true,\n\s+reason: '.*works on every kernel/);
    for (const { reason } of plan) expect(reason).toMatch(/^[^\n]{10,260}$/);
  });

  it("does not try another strategy when no strategy is to blame", async () => {
    for (const kernel of [machineOne({ eduDriver: "none" }), withIommufd({ eduDriver: "none" })]) {
      const error = await errorFrom(planOf(kernel));
      expect(error.code).toBe("ERR_IOSPAN_WRONG_DRIVER");
      expect(error.message).not.toContain("before");
    }
    const kernel = { syscalls: withIommufd() };
    const noDevice = await errorFrom(IoAddressSpace.open(kernel, ["0000:02:00.0", "0000:ff:00.0"]));
    expect([noDevice.code, noDevice.message.includes("before")]).toEqual(["ERR_IOSPAN_NO_DEVICE", false]);
    const twice = await errorFrom(IoAddressSpace.open(kernel, ["0000:02:00.0", "0000:02:00.0"]));
    expect([twice.code, twice.message.includes("before")]).toEqual(["ERR_IOSPAN_INVALID_ARGUMENT", false]);
    expect(leftOf(kernel.syscalls)).toEqual(NOTHING);
  });

  it.each(["EMFILE", "ENFILE", "ENOMEM"] as const)("ends with %s, which no strategy helps against", async (name) => {
    const kernel = withIommufd();
    const syscalls = faulty(kernel, { match: opening("/dev/iommu"), nth: 1, errno: errno[name] });
    const error = await errorFrom(planOf(syscalls));
    expect([error.errnoName, error.message.includes("before")]).toEqual([name, false]);
    expect(leftOf(kernel)).toEqual(NOTHING);
  });

  it("passes on why the last one was refused, and what it had against the others", async () => {
    const kernel = withIommufd();
    const noIommufd = faulty(kernel, { match: opening("/dev/iommu"), nth: 1, errno: errno.EACCES });
    const refuseFirst = faulty(noIommufd, { match: setContainer, nth: 1, errno: errno.EINVAL });
    const refuseAll = faulty(refuseFirst, { match: setContainer, nth: 1, errno: errno.EINVAL });
    const error = await errorFrom(planOf(refuseAll));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_ATTACH_REFUSED", errno: errno.EINVAL });
    expect(error.message).toMatch(/before, "iommufd" was passed over: .*EACCES/);
    // What "shared-container" was refused for is what the error itself says, once.
    expect(error.message).toMatch(/"shared-container" was passed over for the same$/);
    expect(leftOf(kernel)).toEqual(NOTHING);
  });
});

describe("auto goes on without iommufd, and leaves nothing of the attempt,", () => {
  const fallbacks: readonly [name: string, fault: Fault, reason: RegExp][] = [
    [
      "without /dev/iommu",
      { match: opening("/dev/iommu"), nth: 1, errno: errno.ENOENT },
      /no iommufd \(openat: ENOENT/,
    ],
    [
      "on a kernel whose VFIO was built without device nodes",
      { match: opening("/dev/vfio/devices/"), nth: 1, errno: errno.ENOENT },
      /is not there \(openat: ENOENT/,
    ],
    ["without the permission", { match: opening("/dev/iommu"), nth: 1, errno: errno.EACCES }, /may not .*EACCES/],
    ["in a device cgroup", { match: opening("/dev/iommu"), nth: 1, errno: errno.EPERM }, /may not .*EPERM/],
    [
      "without the permission for the second device's node",
      { match: opening("/dev/vfio/devices/"), nth: 2, errno: errno.EACCES },
      /0000:22:00\.0.* may not .*EACCES/,
    ],
    [
      "where binding takes isolated interrupts",
      { match: ioctl("VFIO_DEVICE_BIND_IOMMUFD"), nth: 2, errno: errno.EPERM },
      /0000:22:00\.0 has no isolated interrupts.*EPERM/,
    ],
    [
      "where binding is not known",
      { match: ioctl("VFIO_DEVICE_BIND_IOMMUFD"), nth: 1, errno: errno.ENOTTY },
      /0000:02:00\.0.*ENOTTY/,
    ],
    [
      "where the kernel has another user of the group",
      { match: ioctl("VFIO_DEVICE_BIND_IOMMUFD"), nth: 2, errno: errno.EBUSY },
      /0000:22:00\.0.* in use.*EBUSY/,
    ],
    [
      "where the second device's IOMMU does not take the mappings",
      { match: ioctl("VFIO_DEVICE_ATTACH_IOMMUFD_PT"), nth: 2, errno: errno.EINVAL },
      /0000:22:00\.0.*EINVAL/,
    ],
    [
      "where an attach ends otherwise",
      { match: ioctl("VFIO_DEVICE_ATTACH_IOMMUFD_PT"), nth: 2, errno: errno.EADDRINUSE },
      /0000:22:00\.0.*EADDRINUSE/,
    ],
    [
      "where no address space can be made",
      { match: ioctl("IOMMU_IOAS_ALLOC"), nth: 1, errno: errno.EOPNOTSUPP },
      /EOPNOTSUPP/,
    ],
  ];

  it.each(fallbacks)("%s", async (_, fault, reason) => {
    const kernel = withIommufd();
    {
      await using space = await open(faulty(kernel, fault));
      expect(space.strategy).toBe("shared-container");
      expect(space.plan).toMatchObject([
        { strategy: "iommufd", chosen: false, reason: expect.stringMatching(reason) },
        { strategy: "shared-container", chosen: true },
        { strategy: "mirrored", chosen: false },
      ]);
      expect(kernel.iommufds).toEqual([]);
      expect(kernel.openFds.filter(({ path }) => /iommu$|devices/.test(path))).toEqual([]);
      await proveDma({ syscalls: kernel }, space, edus(space));
    }
    expect(leftOf(kernel)).toEqual(NOTHING);
  });

  it("where the release has /dev/iommu and no nodes for devices yet", async () => {
    const { strategy, plan } = await planOf(withIommufd({ release: "6.4.0" }));
    expect(strategy).toBe("shared-container");
    expect(plan[0]?.reason).toMatch(/\/dev\/vfio\/devices/);
  });

  it("where only type1 was told not to mind unsafe interrupts: each has a switch of its own", async () => {
    const { strategy, plan } = await planOf(unsafe({ allowUnsafeInterrupts: true }));
    expect(strategy).toBe("shared-container");
    expect(plan[0]?.reason).toMatch(/isolated interrupts.*EPERM/);
    expect((await planOf(unsafe({ iommufdUnsafeInterrupts: true }))).strategy).toBe("iommufd");
    const kernel = unsafe({});
    const error = await errorFrom(planOf(kernel));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_UNSAFE_INTERRUPTS", errno: errno.EPERM });
    expect(error.hint).toContain("vfio_iommu_type1");
    expect(error.message).toContain('"iommufd" was passed over');
    expect(leftOf(kernel)).toEqual(NOTHING);
  });

  it("and mirrors where the kernel refuses the second group, too", async () => {
    const kernel = withIommufd();
    const noIommufd = faulty(kernel, { match: opening("/dev/iommu"), nth: 1, errno: errno.ENOENT });
    const syscalls = faulty(noIommufd, { match: setContainer, nth: 2, errno: errno.EINVAL });
    const { strategy, plan } = await planOf(syscalls, "auto");
    expect(strategy).toBe("mirrored");
    expect(plan).toMatchObject([
      { strategy: "iommufd", chosen: false, reason: expect.stringContaining("ENOENT") },
      { strategy: "shared-container", chosen: false, reason: expect.stringContaining("EINVAL") },
      { strategy: "mirrored", chosen: true },
    ]);
    expect(leftOf(kernel)).toEqual(NOTHING);
  });

  it("and says who holds a group, which is held for every strategy", async () => {
    const kernel = withIommufd();
    const holder = await IoAddressSpace.open({ syscalls: kernel }, [EDUS[1]], { strategy: "mirrored" });
    const busy = await errorFrom(planOf(kernel));
    expect(busy).toMatchObject({ code: "ERR_IOSPAN_GROUP_BUSY", device: EDUS[1] });
    expect(busy.message).toContain("this very process");
    await holder.close();
    expect(leftOf(kernel)).toEqual(NOTHING);
  });
});

describe("an error that auto goes on from", () => {
  const told = (code: (typeof errorCodes)[number], number?: number) =>
    new IospanError(code, "refused", { hint: "another", ...(number !== undefined && { errno: number }) });

  it("is of the kernel's making, and not the caller's", () => {
    const going = errorCodes.filter((code) => isStrategys(told(code)));
    expect([...going].sort()).toEqual([
      "ERR_IOSPAN_ATTACH_REFUSED",
      "ERR_IOSPAN_GROUP_BUSY",
      "ERR_IOSPAN_MALFORMED_ANSWER",
      "ERR_IOSPAN_NO_IOMMUFD",
      "ERR_IOSPAN_NO_PERMISSION",
      "ERR_IOSPAN_NO_VFIO",
      "ERR_IOSPAN_SYSCALL",
      "ERR_IOSPAN_UNSAFE_INTERRUPTS",
      "ERR_IOSPAN_VERIFY_FAILED",
      "ERR_IOSPAN_VF_TOKEN",
    ]);
  });

  it("is no shortage, and no bug of a program", () => {
    for (const number of [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
      expect(isStrategys(told("ERR_IOSPAN_SYSCALL", number))).toBe(false);
    expect(isStrategys(told("ERR_IOSPAN_SYSCALL", errno.EIO))).toBe(true);
    expect(isStrategys(new TypeError("undefined is not a function"))).toBe(false);
  });
});

describe("a strategy by name", () => {
  it("is taken as asked for", async () => {
    const { strategy, plan } = await planOf(withIommufd(), "mirrored");
    expect(strategy).toBe("mirrored");
    expect(plan).toEqual([{ strategy, chosen: true, reason: "asked for" }]);
  });

  it("is refused where it would silently block a second SMMU's DMA, at once or at a hot attach", async () => {
    const kernel = machineOne({ release: "6.14.3" });
    const refusal = { code: "ERR_IOSPAN_ATTACH_REFUSED", device: EDUS[1], hint: expect.stringContaining("mirrored") };
    await expect(planOf(kernel, "shared-container")).rejects.toMatchObject(refusal);
    await using space = await IoAddressSpace.open(kernel, ["0000:02:00.0"], { strategy: "shared-container" });
    using _buffer = space.allocate(4096);
    await expect(space.attach("0000:22:00.0")).rejects.toMatchObject(refusal);
    expect(space.audit()).toMatchObject({ consistent: true, checked: 1 });
  });

  it("has to exist", async () => {
    // @ts-expect-error what a caller without types may pass
    const error = await errorFrom(planOf(machineOne(), "mirror"));
    expect(error.code).toBe("ERR_IOSPAN_INVALID_ARGUMENT");
    for (const name of ["auto", "iommufd", "shared-container", "mirrored", "single-domain"])
      expect(error.hint).toContain(name);
    // @ts-expect-error a name that every object has
    await expect(planOf(machineOne(), "toString")).rejects.toMatchObject({ code: "ERR_IOSPAN_INVALID_ARGUMENT" });
  });
});
