import { beforeEach, describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { Group, type GroupIdentity } from "../../src/vfio/group.js";
import { errorFrom, errorOf } from "../support/errors.js";
import { refused, strictSyscalls } from "../support/strict-syscalls.js";
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
    ["EPERM", "ERR_IOSPAN_NO_PERMISSION", "--device /dev/vfio/7"],
    ["EPERM", "ERR_IOSPAN_NO_PERMISSION", "DeviceAllow=/dev/vfio/7"],
    ["EPERM", "ERR_IOSPAN_NO_PERMISSION", "CAP_SYS_RAWIO"],
    ["EBUSY", "ERR_IOSPAN_GROUP_BUSY", "fuser -v /dev/vfio/7"],
    ["EMFILE", "ERR_IOSPAN_SYSCALL", "ulimit -n"],
    ["EIO", "ERR_IOSPAN_SYSCALL", "dmesg"],
  ] as const)("explains %s as %s", async (name, code, hint) => {
    kernel.refuse["/dev/vfio/7"] = name;
    const error = await errorFrom(open());
    expect(error).toMatchObject({ code, errno: errno[name], device: identity.device, iommu: identity.iommu });
    expect(error.message).toContain(identity.device);
    expect(error.hint).toContain(hint);
    expect(kernel.log).toEqual([]);
  });

  describe("that is taken", () => {
    /** A machine where processes have the group open; `self` is what `/proc/self` points to. */
    function taken(pids: readonly string[], self: string | undefined) {
      kernel.refuse["/dev/vfio/7"] = "EBUSY";
      return strictSyscalls({
        openAsync: kernel.syscalls.openAsync,
        readDirectory: (path) => {
          if (path === "/proc") return [...pids, "self", "sys"];
          if (/^\/proc\/\d+\/fd$/.test(path)) return ["3"];
          throw refused("read-directory", "ENOENT");
        },
        readLink: (path) => {
          if (path.startsWith("/proc/") && path.endsWith("/fd/3")) return "/dev/vfio/7";
          if (path === "/proc/self" && self !== undefined) return self;
          throw refused("readlinkat", "ENOENT");
        },
        readFile: () => "node\n",
      });
    }
    const busy = async (pids: readonly string[], self: string | undefined) => {
      const error = await errorFrom(Group.open(taken(pids, self), identity));
      expect(error).toMatchObject({ code: "ERR_IOSPAN_GROUP_BUSY", errno: errno.EBUSY });
      return error;
    };

    it("by another process: names it, and how to end it", async () => {
      const { message, hint } = await busy(["4711"], "42");
      expect(message).toContain("is in use by process 4711 (node)");
      expect(hint).toBe("end it: kill 4711");
    });

    it("by this process: says so, and does not advise to kill it", async () => {
      const { message, hint } = await busy(["42"], "42");
      expect(message).toContain("is in use by this very process");
      expect(hint).toBe("this process has it open already: close the other space or device object first");
    });

    it("by this process and others: says both", async () => {
      const { message, hint } = await busy(["42", "4711"], "42");
      expect(message).toContain("in use by this very process and process 4711 (node)");
      expect(hint).toContain("this process has it open already");
      expect(hint).toContain("kill 4711");
    });

    it.each([undefined, "not a number"])("by a process, where /proc/self is %s", async (self) => {
      expect((await busy(["42"], self)).hint).toBe("end it: kill 42");
    });
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

  it("is out of its container when its last device was taken from VFIO, and only then", async () => {
    const group = await open();
    kernel.refuse["VFIO_GROUP_UNSET_CONTAINER"] = "EINVAL";
    expect(errorOf(() => group.unsetContainer())).toMatchObject({ errno: errno.EINVAL });
    kernel.refuse["VFIO_GROUP_GET_STATUS"] = "EIO";
    expect(errorOf(() => group.unsetContainer())).toMatchObject({ errno: errno.EINVAL });
    kernel.refuse["VFIO_GROUP_GET_STATUS"] = "ENODEV";
    group.unsetContainer();
    kernel.refuse["VFIO_GROUP_UNSET_CONTAINER"] = "EBUSY";
    expect(errorOf(() => group.unsetContainer())).toMatchObject({ code: "ERR_IOSPAN_BUSY" });
  });

  it("says that the process has too many files open when a device cannot be opened for that", async () => {
    const group = await open();
    kernel.refuse["VFIO_GROUP_GET_DEVICE_FD"] = "EMFILE";
    const error = await errorFrom(group.deviceFd(identity.device));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_SYSCALL", errno: errno.EMFILE });
    expect(error.hint).toContain("ulimit -n");
  });

  it("is closed by the end of a using block", async () => {
    const group = await open();
    group[Symbol.dispose]();
    expect(group.closed).toBe(true);
    expect(kernel.log.at(-1)).toBe(`close ${kernel.group}`);
    const disposable: Disposable = group;
    disposable[Symbol.dispose]();
    expect(kernel.log.filter((line) => line.startsWith("close"))).toHaveLength(1);
  });

  it("is closed once, and then does nothing more", async () => {
    const group = await open();
    group.close();
    group.close();
    expect(kernel.log.filter((line) => line === `close ${kernel.group}`)).toHaveLength(1);
    expect(group.closed).toBe(true);
    for (const use of [() => group.setContainer(kernel.container), () => group.unsetContainer()]) {
      expect(errorOf(use)).toMatchObject({
        code: "ERR_IOSPAN_CLOSED",
        device: identity.device,
        iommu: identity.iommu,
      });
    }
    expect((await errorFrom(group.deviceFd("x"))).code).toBe("ERR_IOSPAN_CLOSED");
  });

  it("counts as closed even if close reports an error: its number may be another file's by then", async () => {
    const group = await open();
    kernel.refuse[`close ${kernel.group}`] = "EIO";
    expect(errorOf(() => group.close())).toMatchObject({
      code: "ERR_IOSPAN_SYSCALL",
      errno: errno.EIO,
      device: identity.device,
      iommu: identity.iommu,
    });
    expect(group.closed).toBe(true);
    group.close();
  });
});
