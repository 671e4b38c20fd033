import { readFileSync } from "node:fs";
import {
  Container,
  Device,
  findDevice,
  Group,
  IoAddressSpace,
  type OpenOptions,
  type Syscalls,
  simulate,
} from "iospan";
import { describe, expect, it } from "vitest";
import { Removals } from "../../src/space/removals.js";
import { intercepted } from "../../src/syscalls/intercepted.js";
import { ONE, OTHER, pciMachine } from "../sim/linux/pci-machine.js";
import { children } from "../support/child.js";
import { errorFrom } from "../support/errors.js";

const open = (kernel: ReturnType<typeof pciMachine>, onRemoval?: (device: Device) => void | Promise<void>) =>
  IoAddressSpace.open({ syscalls: kernel }, [ONE, OTHER], { strategy: "mirrored", onRemoval });

describe("a device that the kernel asks for", () => {
  it("is refused to who opens the space while it goes", async () => {
    const kernel = pciMachine();
    const before = kernel.openFds;
    let unbound: Promise<void> | undefined;
    const opening = IoAddressSpace.open({ syscalls: kernel }, [ONE, OTHER], {
      strategy: "mirrored",
      verify: async (space) => {
        unbound = kernel.unbind(OTHER);
        await new Promise((resolve) => setTimeout(resolve, 1));
        expect(space.interface(ONE).removal.aborted).toBe(false);
      },
    });
    expect(await errorFrom(opening)).toMatchObject({ code: "ERR_IOSPAN_DEVICE_REMOVED", device: OTHER });
    await unbound;
    expect(kernel.openFds).toEqual(before);
  });

  it("goes with a space that closes at the same time", async () => {
    const kernel = pciMachine();
    const space = await open(kernel);
    const unbound = kernel.unbind(ONE);
    await Promise.all([space.close(), unbound]);
    expect(kernel.openFds).toEqual([]);
  });

  it("goes from a space with nothing else in it, which keeps its mappings for the next", async () => {
    const kernel = pciMachine();
    await using space = await IoAddressSpace.open({ syscalls: kernel }, [ONE], { strategy: "mirrored" });
    const buffer = space.allocate(4096);
    await kernel.unbind(ONE);
    expect([space.interfaces, buffer.mapped]).toEqual([[], true]);
    await space.attach(OTHER);
    expect(space.audit().consistent).toBe(true);
  });

  it("is told by its interrupt to who opened it without a space", async () => {
    const kernel = pciMachine();
    const { group: id = -1, iommu } = findDevice({ syscalls: kernel }, ONE);
    using group = await Group.open(kernel, { id, iommu: iommu?.name ?? "", device: ONE });
    using container = await Container.open(kernel);
    container.attach(group);
    const device = await Device.open(kernel, group, { name: ONE, bus: "pci", iommu: iommu?.name ?? "" });
    const asked = device.interrupt("req").next();
    const unbound = kernel.unbind(ONE);
    expect(await asked).toEqual({ done: false, value: { count: 1 } });
    expect(device.removal.aborted).toBe(false);
    await device.close();
    await unbound;
  });

  it("is none where the device is on the chip's own bus", async () => {
    const machine = simulate(readFileSync("chips/dual-smmu.dts"), { drivers: "vfio", resetRequired: false });
    const { name } = machine.interfaces.find(({ bus }) => bus === "platform") ?? { name: "" };
    await using space = await IoAddressSpace.open(machine, [name]);
    expect(space.interface(name).removal.aborted).toBe(false);
    expect(machine.openFds.filter(({ path }) => path.includes("eventfd"))).toEqual([]);
  });
});

describe("waiting for it", () => {
  const child = children();

  it("is no reason for a process to stay", () => {
    const { status, stdout } = child.run(`
      import { linuxSyscalls } from "src/syscalls/linux.js";
      const syscalls = linuxSyscalls();
      syscalls.watch(syscalls.eventfd(), () => {}, { keepAlive: false });
      console.log("waiting");
    `);
    expect([status, stdout]).toEqual([0, "waiting\n"]);
  });

  it("ends no process when a device was out already, and keeps what went wrong", () => {
    const { status, stdout, stderr } = child.run(`
      import { IoAddressSpace } from "src/space/io-address-space.js";
      import { machineOne } from "src/sim/linux/machine-one.js";
      const kernel = machineOne();
      const space = await IoAddressSpace.open({ syscalls: kernel }, ["0000:02:00.0"], {
        strategy: "mirrored",
        onRemoval: async () => { await space.close(); throw new Error("too late"); },
      });
      await kernel.unbind("0000:02:00.0");
      await new Promise((resolve) => setTimeout(resolve, 5));
      console.log(space.lateFailures.map(String).join());
    `);
    expect([status, stdout, stderr]).toEqual([0, "Error: too late\n", ""]);
  });
});

describe("what goes wrong with a removal", () => {
  it("can be read while the space is open, and is told again when it is closed", async () => {
    const kernel = pciMachine();
    const doubt = new Error("not now");
    const space = await open(kernel, () => Promise.reject(doubt));
    expect(space.lateFailures).toEqual([]);
    await kernel.unbind(ONE);
    expect([space.lateFailures, space.interfaces]).toEqual([[doubt], [OTHER]]);
    const error = await errorFrom(space.close());
    expect(error.code).toBe("ERR_IOSPAN_CLOSE_INCOMPLETE");
    expect((error.cause as AggregateError).errors).toEqual([doubt]);
    expect(space.lateFailures).toEqual([doubt]);
  });

  it("is kept when the host itself fails", async () => {
    const kept: unknown[] = [];
    const fault = new Error("a bug");
    const host = {
      takeOut: () => Promise.reject(fault),
      keep: (failures: readonly unknown[]) => kept.push(...failures),
    };
    await new Removals(host, undefined).requested({ name: ONE } as Device);
    expect(kept).toEqual([fault]);
  });
});

describe("a device that goes while its space is opened", () => {
  const opening = (kernel: ReturnType<typeof pciMachine>, syscalls: Syscalls, options: OpenOptions) =>
    IoAddressSpace.open({ syscalls }, [ONE, OTHER], { strategy: "mirrored", ...options }).finally(() => {
      expect(kernel.openFds).toEqual([]);
    });

  it("keeps the caller's proof from being asked for, and says what to do", async () => {
    const kernel = pciMachine();
    let unbound: Promise<void> | undefined;
    const verified: IoAddressSpace[] = [];
    const syscalls = intercepted(kernel, (call, proceed) => {
      const isSecondGroup = call.ioctl?.name === "VFIO_GROUP_GET_DEVICE_FD" && kernel.openFds.some(isDevice);
      if (isSecondGroup) unbound ??= kernel.unbind(ONE);
      return proceed();
    });
    const isDevice = ({ path }: { readonly path: string }) => path.includes("vfio-device");
    const error = await errorFrom(opening(kernel, syscalls, { verify: (space) => void verified.push(space) }));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_DEVICE_REMOVED", device: ONE });
    expect(error.hint).toContain("open the space again");
    expect([verified, error.hint.includes("attach(")]).toEqual([[], false]);
    await unbound;
  });

  it("is what is told where the proof fails for it", async () => {
    const kernel = pciMachine();
    let unbound: Promise<void> | undefined;
    const verify = async () => {
      unbound = kernel.unbind(OTHER);
      await new Promise((resolve) => setTimeout(resolve, 1));
      throw new Error("no DMA");
    };
    const error = await errorFrom(opening(kernel, kernel, { verify }));
    expect(error).toMatchObject({ code: "ERR_IOSPAN_DEVICE_REMOVED", device: OTHER });
    await unbound;
  });
});
