import { describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { Ioas } from "../../src/iommufd/ioas.js";
import { Iommufd } from "../../src/iommufd/iommufd.js";
import { machineOne } from "../../src/sim/linux/machine-one.js";
import { faulty } from "../../src/syscalls/faulty.js";
import { errorFrom, errorOf } from "../support/errors.js";
import { IommufdRig, kernelWithIommufd } from "./rig.js";

const about = { device: "a", iommu: "smmu0" };

describe("opening /dev/iommu", () => {
  it("tells what it takes where there is none", async () => {
    const error = await errorFrom(Iommufd.open(machineOne(), about));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_NO_IOMMUFD", syscall: "openat", errnoName: "ENOENT", ...about });
    expect(error.hint).toMatch(/Linux 6\.6.*CONFIG_IOMMUFD.*mirrored/);
  });

  it.each([
    ["EACCES", "ERR_IOSPAN_NO_PERMISSION", /chown/],
    ["EPERM", "ERR_IOSPAN_NO_PERMISSION", /device cgroup/],
    ["EMFILE", "ERR_IOSPAN_SYSCALL", /ulimit/],
    ["EIO", "ERR_IOSPAN_SYSCALL", /dmesg/],
  ] as const)("explains %s", async (name, code, hint) => {
    const syscalls = faulty(kernelWithIommufd(), { nth: 1, errno: errno[name] });
    expect(await errorFrom(Iommufd.open(syscalls, about))).toMatchObject({
      code,
      errno: errno[name],
      hint: expect.stringMatching(hint),
      ...about,
    });
  });
});

describe("what an iommufd is opened on", () => {
  it("is a machine, or its system calls", async () => {
    const kernel = kernelWithIommufd();
    const syscalls = faulty(kernel);
    for (const each of [syscalls, { syscalls }]) {
      using iommufd = await Iommufd.open(each);
      expect(iommufd.syscalls).toBe(syscalls);
    }
    expect(kernel.openFds).toEqual([]);
  });

  it.each([undefined, null, "/dev/iommu", {}, { syscalls: {} }])("is not %o", async (kernel) => {
    const error = await errorFrom(Reflect.apply(Iommufd.open, Iommufd, [kernel]));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_INVALID_ARGUMENT", hint: "Iommufd.open(linux())" });
  });
});

describe("an iommufd", () => {
  it("closes once, and takes no call after that", async () => {
    const { iommufd, kernel } = await IommufdRig.open();
    iommufd.close();
    iommufd.close();
    iommufd[Symbol.dispose]();
    expect(iommufd.closed).toBe(true);
    expect(kernel.openFds).toEqual([]);
    expect(errorOf(() => Ioas.allocate(iommufd)).code).toBe("ERR_IOSPAN_CLOSED");
  });

  it("says so when it did not close well", async () => {
    const rig = await IommufdRig.open();
    rig.refuse("close", "EIO");
    expect(errorOf(() => rig.iommufd.close())).toMatchObject({ code: "ERR_IOSPAN_SYSCALL", errnoName: "EIO" });
    expect(rig.iommufd.closed).toBe(true);
  });

  it("says so when there is no address space to be had", async () => {
    const rig = await IommufdRig.open();
    rig.refuse("IOMMU_IOAS_ALLOC", "ENOMEM");
    const error = errorOf(() => Ioas.allocate(rig.iommufd, about));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_SYSCALL", syscall: "IOMMU_IOAS_ALLOC", ...about });
    expect(error.hint).toMatch(/memory/);
  });

  it("charges pinned memory to the user or to the process", async () => {
    const rig = await IommufdRig.open();
    const iommufd = await Iommufd.open(rig.syscalls, about);
    expect(iommufd.limitMode()).toBe("user");
    iommufd.setLimitMode("process");
    expect(iommufd.limitMode()).toBe("process");
    iommufd.setLimitMode("user");
    expect(iommufd.limitMode()).toBe("user");
    Ioas.allocate(iommufd);
    expect(errorOf(() => iommufd.setLimitMode("process"))).toMatchObject({
      ...{ code: "ERR_IOSPAN_BUSY", syscall: "IOMMU_OPTION", errnoName: "EBUSY", ...about },
      hint: expect.stringContaining("right after opening"),
    });
    expect(iommufd.limitMode()).toBe("user");
  });

  it.each([
    ["EPERM", "ERR_IOSPAN_NO_PERMISSION", /cap_sys_resource/],
    ["EIO", "ERR_IOSPAN_SYSCALL", /dmesg/],
  ] as const)("explains %s when it cannot change whom it charges", async (answer, code, hint) => {
    const rig = await IommufdRig.open();
    rig.refuse("IOMMU_OPTION", answer);
    const error = errorOf(() => rig.iommufd.setLimitMode("process"));
    expect(error).toMatchObject({ code, errno: errno[answer], hint: expect.stringMatching(hint) });
    rig.refuse("IOMMU_OPTION", answer);
    expect(errorOf(() => rig.iommufd.limitMode())).toMatchObject({ code: "ERR_IOSPAN_SYSCALL", errno: errno[answer] });
  });
});
