import { beforeEach, describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { Group, type GroupIdentity } from "../../src/vfio/group.js";
import { errorFrom, errorOf } from "../support/errors.js";
import { strictSyscalls } from "../support/strict-syscalls.js";
import { Type1Kernel } from "../support/type1-kernel.js";

const identity: GroupIdentity = { id: 7, iommu: "smmu3.0x9050000", device: "0000:02:00.0" };

let kernel: Type1Kernel;
beforeEach(() => {
  kernel = new Type1Kernel();
});

const open = () => Group.open(kernel.syscalls, identity);

describe("opening a group", () => {
  it("asks whether it is viable, and keeps it open", async () => {
    const group = await open();
    expect(group).toMatchObject({ ...identity, closed: false });
    expect(kernel.log).toEqual([`VFIO_GROUP_GET_STATUS ${kernel.group}`]);
  });

  it("gives it back when another driver still drives one of its devices", async () => {
    kernel.viable = false;
    const error = await errorFrom(open());
    expect(error).toMatchObject({
      code: "ERR_IOSPAN_GROUP_NOT_VIABLE",
      device: identity.device,
      iommu: identity.iommu,
    });
    expect(error.hint).toContain("/sys/kernel/iommu_groups/7/devices");
    expect(kernel.log.at(-1)).toBe(`close ${kernel.group}`);
  });

  it.each([
    ["ENOENT", "ERR_IOSPAN_WRONG_DRIVER", "bind the device"],
    ["ENODEV", "ERR_IOSPAN_WRONG_DRIVER", "bind the device"],
    ["EACCES", "ERR_IOSPAN_NO_PERMISSION", "chown $USER /dev/vfio/7"],
    ["EPERM", "ERR_IOSPAN_NO_PERMISSION", "/dev/vfio/7"],
    ["EBUSY", "ERR_IOSPAN_GROUP_BUSY", "fuser -v /dev/vfio/7"],
    ["EMFILE", "ERR_IOSPAN_SYSCALL", "dmesg"],
  ] as const)("explains %s as %s", async (name, code, hint) => {
    kernel.refuse["/dev/vfio/7"] = name;
    const error = await errorFrom(open());
    expect(error).toMatchObject({ code, errno: errno[name], device: identity.device, iommu: identity.iommu });
    expect(error.message).toContain(identity.device);
    expect(error.hint).toContain(hint);
    expect(kernel.log).toEqual([]);
  });

  it("gives it back, and explains it, when the kernel does not tell its status", async () => {
    kernel.refuse["VFIO_GROUP_GET_STATUS"] = "EFAULT";
    expect(await errorFrom(open())).toMatchObject({ errno: errno.EFAULT, device: identity.device });
    expect(kernel.log.at(-1)).toBe(`close ${kernel.group}`);
  });
});

describe("an open group", () => {
  it("opens a device by its name, NUL-terminated", async () => {
    const names: string[] = [];
    const { openAsync, ioctl, ioctlAsync } = kernel.syscalls;
    const syscalls = strictSyscalls({
      openAsync,
      ioctl,
      ioctlAsync: (target, call, argument) => {
        if (argument instanceof Uint8Array) names.push(new TextDecoder().decode(argument));
        return ioctlAsync(target, call, argument);
      },
    });
    const group = await Group.open(syscalls, identity);
    expect(await group.deviceFd("9030000.dma-port")).toBe(22);
    expect(names).toEqual(["9030000.dma-port\0"]);
  });

  it("says which device it has not", async () => {
    const group = await open();
    kernel.refuse["VFIO_GROUP_GET_DEVICE_FD"] = "ENODEV";
    const error = await errorFrom(group.deviceFd("0000:09:00.0"));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_WRONG_DRIVER", device: "0000:09:00.0", errno: errno.ENODEV });
  });

  it.each([
    ["EINVAL", "ERR_IOSPAN_ATTACH_REFUSED", "reserved_regions"],
    ["EPERM", "ERR_IOSPAN_UNSAFE_INTERRUPTS", "allow_unsafe_interrupts"],
    ["EBUSY", "ERR_IOSPAN_GROUP_BUSY", "unbind"],
    ["ENOMEM", "ERR_IOSPAN_ATTACH_REFUSED", "dmesg"],
  ] as const)("explains %s to joining a container as %s", async (name, code, hint) => {
    const group = await open();
    kernel.refuse["VFIO_GROUP_SET_CONTAINER"] = name;
    const error = errorOf(() => group.setContainer(kernel.container));
    expect(error).toMatchObject({ code, errno: errno[name], device: identity.device, iommu: identity.iommu });
    expect(error.hint).toContain(hint);
  });

  it("explains that it cannot leave a container whose devices are open", async () => {
    const group = await open();
    kernel.refuse["VFIO_GROUP_UNSET_CONTAINER"] = "EBUSY";
    expect(errorOf(() => group.unsetContainer())).toMatchObject({ code: "ERR_IOSPAN_BUSY", errno: errno.EBUSY });
  });

  it("is closed once, and then does nothing more", async () => {
    const group = await open();
    group.close();
    group.close();
    expect(kernel.log.filter((line) => line === `close ${kernel.group}`)).toHaveLength(1);
    expect(group.closed).toBe(true);
    for (const use of [() => group.setContainer(kernel.container), () => group.unsetContainer()]) {
      expect(errorOf(use)).toMatchObject({ code: "ERR_IOSPAN_CLOSED", device: identity.device });
    }
    expect((await errorFrom(group.deviceFd("x"))).code).toBe("ERR_IOSPAN_CLOSED");
  });

  it("counts as closed even if close reports an error: its number may be another file's by then", async () => {
    const group = await open();
    kernel.refuse[`close ${kernel.group}`] = "EIO";
    expect(() => group.close()).toThrow("EIO");
    expect(group.closed).toBe(true);
    group.close();
  });
});
