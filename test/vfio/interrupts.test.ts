import { beforeEach, describe, expect, it } from "vitest";
import { type ErrnoName, errno } from "../../src/abi/errno.js";
import { irqInfo, irqSet, VFIO_IRQ_INFO, VFIO_IRQ_SET } from "../../src/abi/vfio-irq.js";
import type { BusType } from "../../src/machine/machine.js";
import type { Fd } from "../../src/syscalls/syscalls.js";
import { Interrupts } from "../../src/vfio/interrupts.js";
import { errorFrom, errorOf, rejectionOf } from "../support/errors.js";
import { fd, refused, strictSyscalls } from "../support/strict-syscalls.js";

const DEVICE = fd(5);
const OWNER = { device: "0000:02:00.0", iommu: "smmu3.0x9050000" };
const SET_IRQS = "VFIO_DEVICE_SET_IRQS";
const MSI = 1;

/** A device whose every index has four vectors, eventfds, and an event loop that looks at them when told to. */
class Kernel {
  readonly open = new Set<Fd>();
  readonly counters = new Map<Fd, number>();
  readonly watched = new Map<Fd, () => void>();
  /** Calls by name, with what they are refused with from now on. */
  readonly refuse: Record<string, ErrnoName> = {};
  /** Vectors there are; enabling more is answered with this number. */
  available = 32;
  /** SET_IRQS calls that work yet. */
  working = Number.POSITIVE_INFINITY;
  #next = 30;

  readonly syscalls = strictSyscalls({
    ioctl: (device, { name }, argument) => {
      if (device !== DEVICE || !(argument instanceof Uint8Array)) throw new Error(`${name} of ${device}`);
      this.#refuseIfTold(name);
      if (name === SET_IRQS) return this.#setIrqs(argument);
      irqInfo.patch(argument, 0, { flags: VFIO_IRQ_INFO.EVENTFD | VFIO_IRQ_INFO.NORESIZE, count: 4 });
      return 0;
    },
    eventfd: () => {
      this.#refuseIfTold("eventfd2");
      const made = fd(this.#next++);
      this.open.add(made);
      this.counters.set(made, 0);
      return made;
    },
    readEventfd: (eventfd) => {
      const count = this.counters.get(eventfd) ?? 0;
      this.counters.set(eventfd, 0);
      return count;
    },
    writeEventfd: (eventfd, count) => this.counters.set(eventfd, (this.counters.get(eventfd) ?? 0) + count),
    watch: (eventfd, onReadable) => {
      this.#refuseIfTold("epoll_ctl");
      this.watched.set(eventfd, onReadable);
      return () => this.watched.delete(eventfd);
    },
    close: (closed) => {
      this.open.delete(closed);
      this.#refuseIfTold("close");
    },
  });

  /** One turn of the event loop. */
  turn(): void {
    for (const [eventfd, onReadable] of this.watched) if (this.counters.get(eventfd)) onReadable();
  }

  #setIrqs(bytes: Uint8Array): number {
    if (this.working-- <= 0) throw refused(SET_IRQS, "EIO");
    const { start, count, flags } = irqSet.decode(bytes);
    if ((flags & VFIO_IRQ_SET.DATA_EVENTFD) === 0) return 0;
    return start + count > this.available ? this.available : 0;
  }

  #refuseIfTold(call: string): void {
    const name = this.refuse[call];
    if (name !== undefined) throw refused(call, name);
  }
}

let kernel: Kernel;
beforeEach(() => {
  kernel = new Kernel();
});

const interruptsOf = (bus: BusType = "pci", count = 5) =>
  new Interrupts(kernel.syscalls, OWNER.device, bus, DEVICE, count, OWNER.iommu);

describe("errors of a device's interrupts carry the device and its IOMMU:", () => {
  it.each([
    ["no such kind", "irq", 0],
    ["no such vector", "msi", 4],
    ["no whole number", "msi", 0.5],
  ] as const)("%s", (_, kind, vector) => {
    const error = errorOf(() => interruptsOf().listen(kind, vector, {}));
    expect(error).toMatchObject({ ...OWNER, code: "ERR_IOSPAN_NOT_SUPPORTED" });
  });

  it("one that is listened to already", () => {
    const interrupts = interruptsOf();
    interrupts.listen("msi", 0, {});
    expect(errorOf(() => interrupts.listen("msi", 0, {}))).toMatchObject({ ...OWNER, code: "ERR_IOSPAN_BUSY" });
  });

  it("more interrupts than there can be", () => {
    const error = errorOf(() => interruptsOf("platform", 5000));
    expect(error).toMatchObject({ ...OWNER, code: "ERR_IOSPAN_MALFORMED_ANSWER" });
  });

  it.each([
    ["eventfd2", "EMFILE", "ulimit -n"],
    [SET_IRQS, "EINVAL", "one kind at a time"],
    ["epoll_ctl", "ENOSPC", "dmesg"],
  ] as const)("%s refused with %s, and nothing stays", (call, name, hint) => {
    const interrupts = interruptsOf();
    kernel.refuse[call] = name;
    const error = errorOf(() => interrupts.listen("msi", 0, {}));
    expect(error).toMatchObject({ ...OWNER, code: "ERR_IOSPAN_INTERRUPT_REFUSED", errno: errno[name], syscall: call });
    expect(error.hint).toContain(hint);
    expect(kernel.open.size).toBe(0);
    delete kernel.refuse[call];
    interrupts.listen("msi", 0, {}).close();
  });

  it("a refusal stays the error when giving up the eventfd reports another", () => {
    kernel.refuse[SET_IRQS] = "EINVAL";
    const interrupts = interruptsOf();
    kernel.refuse["close"] = "EIO";
    expect(errorOf(() => interrupts.listen("msi", 0, {}))).toMatchObject({ ...OWNER, syscall: SET_IRQS });
  });

  it("fewer vectors than asked for, and how many", () => {
    kernel.available = 2;
    const error = errorOf(() => interruptsOf().listen("msi", 3, {}));
    expect(error).toMatchObject({ ...OWNER, code: "ERR_IOSPAN_INTERRUPT_REFUSED", errno: errno.ENOSPC });
    expect(error.message).toContain("only 2 of 4 vectors can be had");
  });

  it("closing", () => {
    const interrupts = interruptsOf();
    const [first, second] = [interrupts.listen("msi", 1, {}), interrupts.listen("msi", 0, {})];
    kernel.refuse[SET_IRQS] = "EIO";
    expect(errorOf(() => first.close())).toMatchObject({ ...OWNER, code: "ERR_IOSPAN_SYSCALL", syscall: SET_IRQS });
    expect(interrupts.closeAll()).toMatchObject([{ ...OWNER, code: "ERR_IOSPAN_SYSCALL", syscall: SET_IRQS }]);
    expect(kernel.open.size).toBe(0);
    second.close();
  });
});

describe("listening to a further vector where the kernel cannot resize", () => {
  it("wakes who waits for the others, as they may have fired while they were off", async () => {
    const interrupts = interruptsOf();
    const waiting = interrupts.listen("msi", 0, {}).next();
    const further = interrupts.listen("msi", 2, {});
    kernel.turn();
    expect(await waiting).toEqual({ done: false, value: { count: 1 } });
    expect(kernel.counters.get(fd(31))).toBe(0);
    further.close();
  });

  it("fails those that the kernel then does not switch on again, and lets them be listened to anew", async () => {
    const interrupts = interruptsOf();
    const first = interrupts.listen("msi", 0, {});
    const other = interrupts.listen("msix", 0, {});
    const waiting = first.next();
    kernel.working = 1; // switching off
    const error = await errorFrom(Promise.resolve().then(() => interrupts.listen("msi", 2, {})));
    expect(error).toMatchObject({ ...OWNER, code: "ERR_IOSPAN_INTERRUPT_REFUSED", errno: errno.EIO });
    expect((error.cause as AggregateError).errors).toHaveLength(2);
    expect(await rejectionOf(waiting)).toBe(error);
    expect(await rejectionOf(first.next())).toBe(error);
    kernel.working = Number.POSITIVE_INFINITY;
    expect(kernel.open).toEqual(new Set([fd(31)])); // the other kind's
    const again = interrupts.listen("msi", 0, {});
    first.close();
    kernel.counters.set(fd(33), 1);
    kernel.turn();
    expect(await again.next()).toEqual({ done: false, value: { count: 1 } });
    expect([interrupts.closeAll(), kernel.open.size]).toEqual([[], 0]);
    other.close();
  });
});

it("asks about each index once", () => {
  expect(interruptsOf("pci", MSI + 1).available).toEqual([
    { kind: "intx", count: 4 },
    { kind: "msi", count: 4 },
  ]);
});
