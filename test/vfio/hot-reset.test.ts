import { type Device, faulty, IoAddressSpace, SyscallError, type Syscalls } from "iospan";
import { describe, expect, it } from "vitest";
import { inert } from "../../src/sim/hw/device-model.js";
import { intercepted } from "../../src/syscalls/intercepted.js";
import { ONE, OTHER, PF, pciMachine, VF } from "../sim/linux/pci-machine.js";
import { errorFrom } from "../support/errors.js";

async function withSpace(
  kernel: ReturnType<typeof pciMachine>,
  names: readonly string[],
  use: (space: IoAddressSpace, ...devices: readonly Device[]) => Promise<void>,
  strategy: "mirrored" | "iommufd" = "mirrored",
) {
  await using space = await IoAddressSpace.open({ syscalls: kernel }, names, { strategy });
  await use(space, ...names.map((name) => space.interface(name)));
}

describe.each(["mirrored", "iommufd"] as const)("a hot reset with the strategy %s", (strategy) => {
  it("names what is missing before it is tried, and does not try", () =>
    withSpace(
      pciMachine(),
      [ONE],
      async (space, device) => {
        const scope = device?.hotResetScope();
        expect(scope).toMatchObject({ possible: false, reason: expect.stringContaining(OTHER) });
        expect(scope?.devices.map(({ name, owned }) => [name, owned])).toEqual([
          [ONE, true],
          [OTHER, false],
        ]);
        const error = await errorFrom(device?.hotReset() ?? Promise.resolve());
        expect(error).toMatchObject({ code: "ERR_IOSPAN_RESET_REFUSED", device: ONE });
        expect(error.hint).toContain(OTHER);
        await space.attach(OTHER);
        expect(device?.hotResetScope().possible).toBe(true);
        await device?.hotReset();
      },
      strategy,
    ));

  it("says which function another driver has", () =>
    withSpace(
      pciMachine({ [OTHER]: { driver: "nvme" } }),
      [ONE],
      async (_, device) => {
        expect(device?.hotResetScope().reason).toContain(`${OTHER} is bound to nvme`);
      },
      strategy,
    ));

  it("lets devices master the bus again that did, and those alone", () =>
    withSpace(
      pciMachine(),
      [ONE, OTHER],
      async (_, one, other) => {
        other?.pciConfig?.setBusMaster(false);
        await one?.hotReset();
        expect([one?.pciConfig?.busMaster, other?.pciConfig?.busMaster]).toEqual([true, false]);
      },
      strategy,
    ));
});

const TOKEN = "bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3";

/** The kernel with a sysfs that can be taken away, as container runtimes do. */
function maskable(kernel: Syscalls, answer: number) {
  const mask = { on: false };
  const syscalls = intercepted(kernel, (call, proceed) => {
    if (!mask.on || call.path?.startsWith("/sys/") !== true) return proceed();
    throw new SyscallError(call.name, answer, "", call.path);
  });
  return { mask, syscalls };
}

describe.each(["mirrored", "iommufd"] as const)("what stands in the way for good, with the strategy %s", (strategy) => {
  it.each([PF, VF])("is a virtual function on the bus, though the space has it: asked of %s", async (asked) => {
    const machine = { syscalls: pciMachine() };
    const both = [PF, VF].map((device) => ({ device, vfToken: TOKEN }));
    await using space = await IoAddressSpace.open(machine, both, { strategy });
    const device = space.interface(asked);
    const { devices, possible, reason, hint } = device.hotResetScope();
    expect([possible, reason]).toEqual([
      false,
      `${VF} is a virtual function, which VFIO does not reset together with others`,
    ]);
    expect(hint).toContain("sriov_numvfs");
    expect(devices.find(({ name }) => name === VF)?.owned).toBe(false);
    const error = await errorFrom(device.hotReset());
    expect(error).toMatchObject({ code: "ERR_IOSPAN_RESET_REFUSED", errno: undefined, hint });
  });

  it("is a bridge, which nobody is told to bind", async () => {
    const identity = { vendor: 0x1b36, device: 0x000c, classCode: 0x060400, bridge: true };
    const kernel = pciMachine({ [OTHER]: { driver: "pcieport", model: inert(identity) } });
    await using space = await IoAddressSpace.open({ syscalls: kernel }, [ONE], { strategy });
    const scope = space.interface(ONE).hotResetScope();
    expect(scope).toMatchObject({ possible: false, hint: "reset the device alone: device.reset()" });
    expect(scope.reason).toContain(`${OTHER} is a bridge`);
    expect((await errorFrom(space.interface(ONE).hotReset())).hint).not.toContain("bind");
  });
});

describe.each(["mirrored", "iommufd"] as const)("where sysfs is masked, with the strategy %s", (strategy) => {
  it.each([2, 13])("the kernel decides (errno %i)", async (answer) => {
    const { mask, syscalls } = maskable(pciMachine(), answer);
    await using space = await IoAddressSpace.open({ syscalls }, [ONE], { strategy });
    mask.on = true;
    const device = space.interface(ONE);
    expect(device.hotResetScope()).toMatchObject({ possible: false });
    expect(device.hotResetScope().reason).toMatch(/is not in the space, or not on vfio-pci$/);
    mask.on = false;
    await space.attach(OTHER);
    mask.on = true;
    expect(device.hotResetScope()).toMatchObject({ possible: true });
    await device.hotReset();
    mask.on = false;
  });
});

describe("a hot reset", () => {
  it("is none on a root bus, nor on another bus than PCI's", () =>
    withSpace(pciMachine({ [ONE]: { behind: [] } }), [ONE], async (_, device) => {
      expect(device?.hotResetScope()).toMatchObject({ devices: [], possible: false });
      const error = await errorFrom(device?.hotReset() ?? Promise.resolve());
      expect(error.code).toBe("ERR_IOSPAN_NOT_SUPPORTED");
    }));

  it("asks again for more functions than there is room for at first", () =>
    withSpace(pciMachine({}, {}, 8), [ONE], async (_, device) => {
      expect(device?.hotResetScope().devices).toHaveLength(10);
    }));

  it("lets the bus be mastered again when it is refused", async () => {
    const kernel = pciMachine();
    const syscalls = faulty(kernel);
    await using space = await IoAddressSpace.open({ syscalls }, [ONE, OTHER], { strategy: "mirrored" });
    const device = space.interface(ONE);
    for (const errno of [11, 16, 22, 5]) {
      syscalls.fault = { match: (call) => call.ioctl?.name === "VFIO_DEVICE_PCI_HOT_RESET", nth: 1, errno };
      expect(await errorFrom(device.hotReset())).toMatchObject({ code: "ERR_IOSPAN_RESET_REFUSED", errno });
      expect([ONE, OTHER].map((name) => space.interface(name).pciConfig?.busMaster)).toEqual([true, true]);
    }
    syscalls.fault = { match: (call) => call.ioctl?.name === "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", nth: 1, errno: 5 };
    expect(await errorFrom(device.hotReset())).toMatchObject({ code: "ERR_IOSPAN_SYSCALL", errno: 5 });
    syscalls.fault = undefined;
    await device.hotReset();
  });

  it("leaves a device silent that is being closed meanwhile", async () => {
    const kernel = pciMachine();
    const space = await IoAddressSpace.open({ syscalls: kernel }, [ONE, OTHER], { strategy: "mirrored" });
    const resetting = space.interface(ONE).hotReset();
    await Promise.allSettled([resetting, space.close()]);
    expect(kernel.openFds).toEqual([]);
  });

  it("knows the groups that are open in other spaces of the process", async () => {
    const machine = { syscalls: pciMachine() };
    await using one = await IoAddressSpace.open(machine, [ONE], { strategy: "mirrored" });
    await using _other = await IoAddressSpace.open(machine, [OTHER], { strategy: "mirrored" });
    expect(one.interface(ONE).hotResetScope().possible).toBe(true);
    await one.interface(ONE).hotReset();
  });

  it("does not go with virtual functions of its own", () =>
    withSpace(pciMachine({ [VF]: { driver: "none" } }), [PF], async (_, device) => {
      expect(device?.hotResetScope()).toMatchObject({ possible: false, reason: expect.stringContaining(VF) });
    }));
});
