import { Container, Device, findDevice, Group, IoAddressSpace } from "iospan";
import { describe, expect, it } from "vitest";
import { CallsUnderWay } from "../../src/vfio/calls-under-way.js";
import { ONE, OTHER, pciMachine } from "../sim/linux/pci-machine.js";
import { errorFrom } from "../support/errors.js";
import { aWhile, holding } from "../support/held-calls.js";

const names = (log: readonly string[]) => log.map((line) => line.split(" ")[0]);

describe("calls under way", () => {
  it("are waited for, those that begin meanwhile included, however they end", async () => {
    const calls = new CallsUnderWay();
    const log: string[] = [];
    const second = async () => log.push("second");
    const first = calls.run(async () => {
      await aWhile();
      log.push("first");
      void calls.run(async () => {
        await aWhile();
        await second();
      });
      throw new Error("refused");
    });
    const ended = calls.ended().then(() => log.push("ended"));
    expect(await first.catch(String)).toBe("Error: refused");
    await ended;
    expect(log).toEqual(["first", "second", "ended"]);
  });

  it("put off the last step, which else is taken at once", async () => {
    const calls = new CallsUnderWay();
    const log: string[] = [];
    const step = () => {
      log.push("last");
      throw new Error("told to nobody");
    };
    expect(() => calls.last(step)).toThrow("told to nobody");
    const call = calls.run(aWhile);
    calls.last(step);
    expect(log).toEqual(["last"]);
    await call;
    await aWhile();
    expect(log).toEqual(["last", "last"]);
  });
});

describe.each(["mirrored", "iommufd"] as const)("a reset that waits for its turn, with the strategy %s", (strategy) => {
  it.each(["detach", "close"] as const)("has it before %s() closes the device", async (how) => {
    const kernel = pciMachine();
    const held = holding(kernel, "VFIO_DEVICE_RESET");
    const space = await IoAddressSpace.open({ syscalls: held.syscalls }, [ONE, OTHER], { strategy });
    const device = space.interface(ONE);
    const resetting = device.reset();
    const before = held.log.length;
    const closing = how === "detach" ? space.detach(ONE) : space.close();
    await aWhile();
    expect(names(held.log.slice(before))).toEqual([]);
    expect(await errorFrom(device.reset())).toMatchObject({ code: "ERR_IOSPAN_RELEASED", device: ONE });
    expect(await errorFrom(device.hotReset())).toMatchObject({ code: "ERR_IOSPAN_RELEASED", device: ONE });
    held.release();
    await Promise.all([resetting, closing]);
    expect(names(held.log.slice(before)).slice(0, 2)).toEqual(["VFIO_DEVICE_RESET", "VFIO_DEVICE_RESET"]);
    await space.close();
    expect(kernel.openFds).toEqual([]);
  });

  it("has it before a device without a reset is closed, that is hot reset", async () => {
    const kernel = pciMachine({ [ONE]: { reset: false }, [OTHER]: { reset: false } });
    const held = holding(kernel, "VFIO_DEVICE_PCI_HOT_RESET");
    const space = await IoAddressSpace.open({ syscalls: held.syscalls }, [ONE, OTHER], { strategy });
    const device = space.interface(ONE);
    const resetting = device.hotReset();
    const before = held.log.length;
    const closing = space.close();
    await aWhile();
    expect(held.log.slice(before)).toEqual([]);
    held.release();
    await Promise.all([resetting, closing]);
    expect(names(held.log.slice(before))[0]).toBe("VFIO_DEVICE_PCI_HOT_RESET");
    expect((await errorFrom(device.reset())).code).toBe("ERR_IOSPAN_RELEASED");
    expect(kernel.openFds).toEqual([]);
  });
});

describe("a hot reset that waits for its turn", () => {
  it("has it before a group of another space is closed, which it names", async () => {
    const kernel = pciMachine();
    const held = holding(kernel, "VFIO_DEVICE_PCI_HOT_RESET");
    const machine = { syscalls: held.syscalls };
    await using one = await IoAddressSpace.open(machine, [ONE], { strategy: "mirrored" });
    const other = await IoAddressSpace.open(machine, [OTHER], { strategy: "mirrored" });
    const resetting = one.interface(ONE).hotReset();
    const before = held.log.length;
    const closing = other.close();
    await aWhile();
    expect(held.log.slice(before)).toEqual([]);
    held.release();
    await Promise.all([resetting, closing]);
    expect(names(held.log.slice(before))[0]).toBe("VFIO_DEVICE_PCI_HOT_RESET");
  });

  it("has it before a group that is closed without waiting is closed for the kernel", async () => {
    const kernel = pciMachine();
    const held = holding(kernel, "VFIO_DEVICE_PCI_HOT_RESET");
    const { syscalls } = held;
    const machine = { syscalls };
    await using space = await IoAddressSpace.open(machine, [ONE], { strategy: "mirrored" });
    const { group: id = -1, iommu } = findDevice(machine, OTHER);
    const group = await Group.open(syscalls, { id, iommu: iommu?.name ?? "", device: OTHER });
    const resetting = space.interface(ONE).hotReset();
    const before = held.log.length;
    group.close();
    expect([group.closed, held.log.slice(before)]).toEqual([true, []]);
    held.release();
    await resetting;
    await aWhile();
    expect(names(held.log.slice(before))).toEqual(["VFIO_DEVICE_PCI_HOT_RESET", "close"]);
  });

  it("keeps a device's opening from a group that is closed meanwhile", async () => {
    const kernel = pciMachine();
    const held = holding(kernel, "VFIO_GROUP_GET_DEVICE_FD");
    const { syscalls } = held;
    const { group: id = -1, iommu } = findDevice({ syscalls }, ONE);
    const identity = { name: ONE, bus: "pci", iommu: iommu?.name ?? "" } as const;
    const group = await Group.open(syscalls, { id, iommu: identity.iommu, device: ONE });
    using container = await Container.open(syscalls);
    container.attach(group);
    const opening = Device.open(syscalls, group, identity);
    const before = held.log.length;
    group.close();
    held.release();
    const device = await opening;
    expect(names(held.log.slice(before))[0]).toBe("VFIO_GROUP_GET_DEVICE_FD");
    await device.close();
  });
});
