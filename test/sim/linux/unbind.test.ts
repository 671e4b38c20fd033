import { describe, expect, it } from "vitest";
import { irqSet, VFIO_DEVICE_SET_IRQS, VFIO_IRQ_SET, VFIO_PCI_IRQ_INDEX } from "../../../src/abi/vfio-irq.js";
import { O_RDWR } from "../../../src/syscalls/mmap-flags.js";
import type { Fd } from "../../../src/syscalls/syscalls.js";
import { outcome, Program } from "../program.js";
import { ONE, PF, pciMachine } from "./pci-machine.js";

/** The kernel signals its wish on this eventfd. */
function listen(program: Program, device: Fd): Fd {
  const eventfd = program.kernel.eventfd();
  const flags = VFIO_IRQ_SET.DATA_EVENTFD | VFIO_IRQ_SET.ACTION_TRIGGER;
  const data = new Uint8Array(Int32Array.of(eventfd).buffer);
  const request = irqSet.encode({ flags, index: VFIO_PCI_IRQ_INDEX.REQ, start: 0, count: 1 }, data);
  program.kernel.ioctl(device, VFIO_DEVICE_SET_IRQS, request);
  return eventfd;
}

const isSettled = async (promise: Promise<unknown>) => {
  const pending = Symbol("pending");
  const soon = new Promise((resolve) => setTimeout(resolve, 0, pending));
  return (await Promise.race([promise, soon])) !== pending;
};

describe("unbinding by another process", () => {
  it("asks who has the device open, and waits", async () => {
    const program = new Program(pciMachine());
    const { devices, groups } = program.open(ONE);
    const [device] = devices as [Fd];
    const eventfd = listen(program, device);
    const unbound = program.kernel.unbind(ONE);
    expect(await isSettled(unbound)).toBe(false);
    expect(program.kernel.readEventfd(eventfd)).toBe(1);
    expect(program.kernel.log).toContain(`vfio-pci ${ONE}: Relaying device request to user (#0)`);
    // Nobody finds it any more, and its driver has it still.
    expect(outcome(() => program.device(groups[0] as Fd, ONE))).toBe("ENODEV");
    expect(outcome(() => program.kernel.readDirectory(`/sys/bus/pci/devices/${ONE}/vfio-dev`))).toBe("ENOENT");
    expect(program.kernel.readLink(`/sys/bus/pci/devices/${ONE}/driver`)).toContain("vfio-pci");
    program.kernel.close(device);
    await unbound;
    expect(outcome(() => program.kernel.readLink(`/sys/bus/pci/devices/${ONE}/driver`))).toBe("ENOENT");
    expect(outcome(() => program.status(groups[0] as Fd))).toBe("ENODEV");
  });

  it("waits for a mapping of the registers, too", async () => {
    const program = new Program(pciMachine());
    const [device] = program.open(ONE).devices as [Fd];
    const { address } = program.edu(device);
    const unbound = program.kernel.unbind(ONE);
    program.kernel.close(device);
    expect(await isSettled(unbound)).toBe(false);
    program.kernel.munmap(address, 2 ** 20);
    await unbound;
  });

  it("is told to who begins to listen later, after ten seconds", async () => {
    const program = new Program(pciMachine());
    const [device] = program.open(ONE).devices as [Fd];
    const unbound = program.kernel.unbind(ONE);
    expect(program.kernel.log).toContain(
      `vfio-pci ${ONE}: No device request channel registered, blocked until released by user`,
    );
    const before = program.kernel.clock.now;
    const eventfd = listen(program, device);
    const asked = new Promise<void>((resolve) => {
      const stop = program.kernel.watch(eventfd, () => {
        stop();
        resolve();
      });
    });
    await asked;
    expect(program.kernel.clock.now - before).toBe(10_000);
    program.kernel.close(device);
    await unbound;
  });

  it("waits for a character device that is merely open", async () => {
    const program = new Program(pciMachine());
    const [node] = program.kernel.readDirectory(`/sys/bus/pci/devices/${ONE}/vfio-dev`);
    const path = `/dev/vfio/devices/${node}`;
    const cdev = program.kernel.open(path, O_RDWR);
    const unbound = program.kernel.unbind(ONE);
    expect(await isSettled(unbound)).toBe(false);
    expect(outcome(() => program.kernel.open(path, O_RDWR))).toBe("ENOENT");
    program.kernel.close(cdev);
    await unbound;
  });

  it("waits with everybody who wants to, and is done by the first", async () => {
    const program = new Program(pciMachine());
    const [device] = program.open(ONE).devices as [Fd];
    const outcomes = Promise.allSettled([program.kernel.unbind(ONE), program.kernel.unbind(ONE)]);
    program.kernel.close(device);
    expect((await outcomes).map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
    expect(outcome(() => program.kernel.writeFile("/sys/bus/pci/drivers/vfio-pci/unbind", PF))).toBe("ENOSYS");
  });

  it("is at once where nobody has it open, and refused where there is nothing to unbind", async () => {
    const { kernel } = new Program(pciMachine());
    await kernel.unbind(ONE);
    await expect(kernel.unbind(ONE)).rejects.toMatchObject({ syscall: "write", errno: 19 });
    await expect(kernel.unbind("0000:99:00.0")).rejects.toMatchObject({ errno: 19 });
    await expect(kernel.unbind(PF)).rejects.toThrow("ENOSYS");
    kernel.writeFile("/sys/bus/pci/drivers/vfio-pci/bind", ONE);
    expect(kernel.readDirectory(`/sys/bus/pci/devices/${ONE}/vfio-dev`)).toHaveLength(1);
  });
});
