import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { irqInfo, irqSet, VFIO_IRQ_INFO, VFIO_IRQ_SET } from "../../src/abi/vfio-irq.js";
import { faulty } from "../../src/syscalls/faulty.js";
import type { Syscalls } from "../../src/syscalls/syscalls.js";
import { InterruptIndex, readInterruptInfo } from "../../src/vfio/interrupt-index.js";
import { refusalOf, thrownBy } from "../support/errors.js";
import { fd, refused, strictSyscalls } from "../support/strict-syscalls.js";

const DEVICE = fd(5);
const MSI = 1;
const { EVENTFD, NORESIZE, AUTOMASKED, MASKABLE } = VFIO_IRQ_INFO;
const TRIGGER_EVENTFD = VFIO_IRQ_SET.DATA_EVENTFD | VFIO_IRQ_SET.ACTION_TRIGGER;
const TRIGGER_NONE = VFIO_IRQ_SET.DATA_NONE | VFIO_IRQ_SET.ACTION_TRIGGER;
const MASK = VFIO_IRQ_SET.DATA_NONE | VFIO_IRQ_SET.ACTION_MASK;
const UNMASK = VFIO_IRQ_SET.DATA_NONE | VFIO_IRQ_SET.ACTION_UNMASK;

/**
 * The kernel's side of one MSI or MSI-X index (drivers/vfio/pci/vfio_pci_intrs.c, vfio_pci_set_msi_trigger): vectors are
 * enabled with the first call, from 0 to the last one named; more at a time only where they can be resized.
 */
class KernelIndex {
  /** Eventfds by vector; undefined while the index is off. */
  vectors: number[] | undefined;
  readonly calls: string[] = [];
  /** The eventfds that were signalled by the program, in order. */
  readonly woken: number[] = [];
  readonly #count: number;
  readonly #flags: number;
  /** As many as the interrupt controller has; asking for more is answered with this number, as the kernel does. */
  available = Number.POSITIVE_INFINITY;
  /** Calls that work yet; every later one is refused. */
  refuseAfter = Number.POSITIVE_INFINITY;

  constructor(count: number, flags: number) {
    this.#count = count;
    this.#flags = flags;
  }

  get syscalls(): Syscalls {
    return strictSyscalls({
      ioctl: (device, { name }, argument) => {
        if (device !== DEVICE || !(argument instanceof Uint8Array)) throw new Error(`${name} of ${device}`);
        if (name === "VFIO_DEVICE_GET_IRQ_INFO") return this.#getInfo(argument);
        if (name === "VFIO_DEVICE_SET_IRQS") return this.#setIrqs(argument);
        throw new Error(`unexpected ${name}`);
      },
      writeEventfd: (eventfd, count) => {
        if (count !== 1 || !this.vectors?.includes(eventfd)) throw new Error(`unexpected ${count} for ${eventfd}`);
        this.woken.push(eventfd);
      },
    });
  }

  #getInfo(bytes: Uint8Array): number {
    if (irqInfo.decode(bytes).index !== MSI) throw refused("VFIO_DEVICE_GET_IRQ_INFO", "EINVAL");
    irqInfo.patch(bytes, 0, { flags: this.#flags, count: this.#count });
    return 0;
  }

  #setIrqs(bytes: Uint8Array): number {
    const { argsz, flags, index, start, count } = irqSet.decode(bytes);
    if (this.refuseAfter-- <= 0) throw refused("VFIO_DEVICE_SET_IRQS", "EIO");
    const einval = refused("VFIO_DEVICE_SET_IRQS", "EINVAL");
    const wantsData = (flags & VFIO_IRQ_SET.DATA_EVENTFD) !== 0;
    if (index !== MSI || argsz !== bytes.length || start + count > this.#count) throw einval;
    if (bytes.length !== irqSet.size + (wantsData ? 4 * count : 0)) throw einval;
    const eventfds = Array.from(new Int32Array(bytes.slice(irqSet.size).buffer));
    this.calls.push(`${flags.toString(2)} from ${start}: ${wantsData ? eventfds.join(" ") : count}`);
    if ((flags === MASK || flags === UNMASK) && count === 1) return 0;
    if (flags === TRIGGER_NONE && count === 0) {
      this.vectors = undefined;
      return 0;
    }
    if (flags !== TRIGGER_EVENTFD || count === 0) throw einval;
    return this.#trigger(start, eventfds);
  }

  #trigger(start: number, eventfds: readonly number[]): number {
    const end = start + eventfds.length;
    const vectors = this.vectors ?? [];
    if (this.vectors !== undefined && end > vectors.length && this.#flags & NORESIZE) {
      throw refused("VFIO_DEVICE_SET_IRQS", "EINVAL");
    }
    if (end > vectors.length && end > this.available) return this.available;
    while (vectors.length < end) vectors.push(-1);
    for (const [offset, eventfd] of eventfds.entries()) vectors[start + offset] = eventfd;
    this.vectors = vectors;
    return 0;
  }
}

function fresh(flags: number = EVENTFD | NORESIZE, count = 8, options: { staysMasked?: boolean } = {}) {
  const kernel = new KernelIndex(count, flags);
  const syscalls = faulty(kernel.syscalls);
  const index = new InterruptIndex(syscalls, DEVICE, readInterruptInfo(syscalls, DEVICE, MSI), options);
  return { kernel, syscalls, index };
}

/** The vectors that signal somebody, with whom. */
function signalled({ vectors }: KernelIndex): Record<number, number> {
  return Object.fromEntries((vectors ?? []).flatMap((eventfd, vector) => (eventfd < 0 ? [] : [[vector, eventfd]])));
}

describe("readInterruptInfo", () => {
  it("gives what the kernel says", () => {
    const { kernel, index } = fresh(EVENTFD | MASKABLE, 16);
    expect(index.info).toMatchObject({ index: MSI, count: 16, flags: EVENTFD | MASKABLE });
    expect(refusalOf(() => readInterruptInfo(kernel.syscalls, DEVICE, 7)).errno).toBe(errno.EINVAL);
  });
});

describe("arming", () => {
  it("wires a vector to its eventfd", () => {
    const { kernel, index } = fresh();
    expect([index.inUse, index.isArmed(0)]).toEqual([false, false]);
    index.arm(0, fd(30));
    expect(kernel.calls).toEqual([`${TRIGGER_EVENTFD.toString(2)} from 0: 30`]);
    expect([index.inUse, index.isArmed(0), index.isArmed(1)]).toEqual([true, true, false]);
  });

  it("enables all vectors up to the first that is asked for", () => {
    const { kernel, index } = fresh();
    index.arm(3, fd(33));
    index.arm(1, fd(31));
    expect(signalled(kernel)).toEqual({ 1: 31, 3: 33 });
    expect(kernel.calls).toHaveLength(2);
  });

  it("switches off and on to get more vectors, and keeps those in use", () => {
    const { kernel, index } = fresh();
    index.arm(0, fd(30));
    index.arm(2, fd(32));
    expect(signalled(kernel)).toEqual({ 0: 30, 2: 32 });
    expect(kernel.calls.slice(1)).toEqual([
      `${TRIGGER_NONE.toString(2)} from 0: 0`,
      `${TRIGGER_EVENTFD.toString(2)} from 0: 30 -1 32`,
    ]);
  });

  it("wakes those in use once they are on again, as they may have fired while they were off", () => {
    const { kernel, index } = fresh();
    index.arm(0, fd(30));
    index.arm(2, fd(32));
    expect(kernel.woken).toEqual([30]);
    index.arm(1, fd(31)); // needs no more vectors
    expect(kernel.woken).toEqual([30]);
    index.arm(5, fd(35));
    expect(kernel.woken.slice(1).sort()).toEqual([30, 31, 32]);
  });

  it("wakes them also when the further one was refused", () => {
    const { kernel, syscalls, index } = fresh();
    index.arm(1, fd(31));
    index.arm(0, fd(30));
    syscalls.fault = { nth: 2, errno: errno.ENOSPC };
    refusalOf(() => index.arm(4, fd(34)));
    expect(kernel.woken.sort()).toEqual([30, 31]);
  });

  it("wakes nobody when switching off was refused: nothing was off", () => {
    const { kernel, syscalls, index } = fresh();
    index.arm(0, fd(30));
    syscalls.fault = { nth: 1, errno: errno.EIO };
    refusalOf(() => index.arm(4, fd(34)));
    expect(kernel.woken).toEqual([]);
  });

  it("wakes the others when the counter of one is full", () => {
    const { kernel, syscalls, index } = fresh();
    for (const vector of [2, 1, 0]) index.arm(vector, fd(30 + vector));
    syscalls.fault = { match: ({ name }) => name === "write", nth: 1, errno: errno.EAGAIN };
    index.arm(4, fd(34));
    expect(kernel.woken).toHaveLength(2);
    expect(signalled(kernel)).toEqual({ 0: 30, 1: 31, 2: 32, 4: 34 });
  });

  describe("that is refused, and then those in use cannot be switched on again", () => {
    it("says both, and knows that nothing is enabled", () => {
      const { kernel, index } = fresh();
      index.arm(1, fd(31));
      index.arm(0, fd(30));
      kernel.refuseAfter = 1; // off still works
      const error = thrownBy(() => index.arm(4, fd(34)));
      expect(error).toBeInstanceOf(AggregateError);
      expect((error as AggregateError).errors).toMatchObject([{ errno: errno.EIO }, { errno: errno.EIO }]);
      expect([index.inUse, index.isArmed(0), index.isArmed(1), index.isArmed(4)]).toEqual([false, false, false, false]);
      expect(kernel.woken).toEqual([]);
      expect(kernel.vectors).toBeUndefined();

      // From here on as if it were new.
      kernel.refuseAfter = Number.POSITIVE_INFINITY;
      kernel.calls.length = 0;
      index.disarm(0);
      expect(kernel.calls).toEqual([]);
      index.arm(3, fd(33));
      expect(kernel.calls).toEqual([`${TRIGGER_EVENTFD.toString(2)} from 3: 33`]);
      expect(signalled(kernel)).toEqual({ 3: 33 });
    });
  });

  it("knows that nothing is enabled also when nobody was listening any more", () => {
    const { kernel, syscalls, index } = fresh();
    index.arm(1, fd(31));
    syscalls.fault = { nth: 1, errno: errno.EIO };
    refusalOf(() => index.disarm(1)); // the kernel still has two
    syscalls.fault = { nth: 2, errno: errno.ENOSPC };
    refusalOf(() => index.arm(4, fd(34)));
    syscalls.fault = undefined;
    index.arm(6, fd(36));
    expect(signalled(kernel)).toEqual({ 6: 36 });
    expect(kernel.calls.at(-1)).toBe(`${TRIGGER_EVENTFD.toString(2)} from 6: 36`);
  });

  it("does not switch off where the kernel can resize", () => {
    const { kernel, index } = fresh(EVENTFD);
    index.arm(0, fd(30));
    index.arm(2, fd(32));
    expect(signalled(kernel)).toEqual({ 0: 30, 2: 32 });
    expect(kernel.calls).toEqual([
      `${TRIGGER_EVENTFD.toString(2)} from 0: 30`,
      `${TRIGGER_EVENTFD.toString(2)} from 2: 32`,
    ]);
  });

  it("that is refused leaves the vector as it was", () => {
    const { kernel, syscalls, index } = fresh();
    syscalls.fault = { nth: 1, errno: errno.EINVAL };
    expect(refusalOf(() => index.arm(0, fd(30))).errno).toBe(errno.EINVAL);
    expect([index.inUse, index.isArmed(0)]).toEqual([false, false]);
    expect(signalled(kernel)).toEqual({});
  });

  it("more than there are vectors for gives those in use back what they had", () => {
    const { kernel, syscalls, index } = fresh();
    index.arm(0, fd(30));
    index.arm(1, fd(31));
    syscalls.fault = { nth: 2, errno: errno.ENOSPC }; // off, then all of them
    expect(refusalOf(() => index.arm(4, fd(34))).errno).toBe(errno.ENOSPC);
    expect(index.isArmed(4)).toBe(false);
    expect(signalled(kernel)).toEqual({ 0: 30, 1: 31 });
    syscalls.fault = undefined;
    index.arm(4, fd(34));
    expect(signalled(kernel)).toEqual({ 0: 30, 1: 31, 4: 34 });
  });

  it.each([
    ["the first vector", 3, {}],
    ["a further one", 0, { 0: 30 }],
  ])("is not done when the kernel answers with the number of vectors there are: %s", (_, first, before) => {
    // vfio_msi_enable(): "return the number of supported vectors if we can't get all"; nothing is enabled then.
    const { kernel, index } = fresh();
    kernel.available = 2;
    if (first === 0) index.arm(0, fd(30));
    expect(refusalOf(() => index.arm(3, fd(33)))).toMatchObject({
      errno: errno.ENOSPC,
      message: "VFIO_DEVICE_SET_IRQS: ENOSPC (only 2 of 4 vectors can be had)",
    });
    expect(index.isArmed(3)).toBe(false);
    expect(signalled(kernel)).toEqual(before);
  });

  it("keeps every vector in use when switching off was refused", () => {
    const { kernel, syscalls, index } = fresh();
    index.arm(3, fd(33));
    syscalls.fault = { nth: 1, errno: errno.EIO };
    expect(refusalOf(() => index.arm(5, fd(35))).errno).toBe(errno.EIO);
    syscalls.fault = undefined;
    index.arm(1, fd(31));
    expect(signalled(kernel)).toEqual({ 1: 31, 3: 33 });
  });
});

describe("disarming", () => {
  it("takes a vector's eventfd away and leaves the others", () => {
    const { kernel, index } = fresh();
    index.arm(1, fd(31));
    index.arm(0, fd(30));
    index.disarm(1);
    expect(signalled(kernel)).toEqual({ 0: 30 });
    expect([index.isArmed(1), index.inUse]).toEqual([false, true]);
  });

  it("the last one switches the index off, so that the device can use another kind", () => {
    const { kernel, index } = fresh();
    index.arm(1, fd(31));
    index.disarm(1);
    expect(kernel.vectors).toBeUndefined();
    expect(index.inUse).toBe(false);
    index.arm(3, fd(33));
    expect(signalled(kernel)).toEqual({ 3: 33 });
  });

  it("what is not armed asks nothing of the kernel", () => {
    const { kernel, index } = fresh();
    index.disarm(0);
    expect(kernel.calls).toEqual([]);
  });

  it("passes on a refusal, and does not keep the vector taken", () => {
    const { syscalls, index } = fresh();
    index.arm(0, fd(30));
    syscalls.fault = { nth: 1, errno: errno.EIO };
    expect(refusalOf(() => index.disarm(0)).errno).toBe(errno.EIO);
    expect(index.isArmed(0)).toBe(false);
  });
});

describe("unmasking", () => {
  it("opens a vector that the kernel masks when it fires", () => {
    const { kernel, index } = fresh(EVENTFD | AUTOMASKED | MASKABLE, 1);
    index.arm(0, fd(30));
    index.unmask(0);
    expect(kernel.calls.at(-1)).toBe(`${UNMASK.toString(2)} from 0: 1`);
  });

  it("does nothing to one that it does not mask", () => {
    const { kernel, index } = fresh(EVENTFD | MASKABLE);
    index.unmask(0);
    expect(kernel.calls).toEqual([]);
  });
});

describe("a line that stays masked when it is disarmed", () => {
  const AUTOMASK = EVENTFD | AUTOMASKED | MASKABLE;
  const [mask, trigger, unmask, off] = [MASK, TRIGGER_EVENTFD, UNMASK, TRIGGER_NONE].map((flags) => flags.toString(2));

  it("is unmasked when it is armed again, after it has somewhere to signal", () => {
    const { kernel, index } = fresh(AUTOMASK, 1, { staysMasked: true });
    index.arm(0, fd(30));
    expect(kernel.calls).toEqual([`${trigger} from 0: 30`]);
    index.disarm(0);
    kernel.calls.length = 0;
    index.arm(0, fd(31));
    expect(kernel.calls).toEqual([`${mask} from 0: 1`, `${trigger} from 0: 31`, `${unmask} from 0: 1`]);
  });

  it.each([
    ["that is an edge's", EVENTFD, { staysMasked: true }],
    ["that vfio-pci starts afresh", AUTOMASK, {}],
  ])("is none %s", (_, flags, options) => {
    const { kernel, index } = fresh(flags, 1, options);
    for (const eventfd of [fd(30), fd(31)]) {
      index.arm(0, eventfd);
      index.disarm(0);
    }
    expect(kernel.calls).toEqual([
      `${trigger} from 0: 30`,
      `${off} from 0: 0`,
      `${trigger} from 0: 31`,
      `${off} from 0: 0`,
    ]);
  });

  it.each([1, 2, 3])("is not armed when call %i is refused, and can be armed after that", (nth) => {
    const { kernel, syscalls, index } = fresh(AUTOMASK, 1, { staysMasked: true });
    index.arm(0, fd(30));
    index.disarm(0);
    syscalls.fault = { nth, errno: errno.EIO };
    expect(refusalOf(() => index.arm(0, fd(31))).errno).toBe(errno.EIO);
    expect([index.isArmed(0), kernel.vectors]).toEqual([false, undefined]);
    syscalls.fault = undefined;
    index.arm(0, fd(32));
    expect([index.isArmed(0), kernel.vectors, kernel.calls.at(-1)]).toEqual([true, [32], `${unmask} from 0: 1`]);
  });

  it("reports why it could not be unmasked also when it then cannot be disarmed", () => {
    const { kernel, syscalls, index } = fresh(AUTOMASK, 1, { staysMasked: true });
    index.arm(0, fd(30));
    index.disarm(0);
    syscalls.fault = { nth: 3, errno: errno.EBADF };
    kernel.refuseAfter = 2;
    expect(refusalOf(() => index.arm(0, fd(31))).errno).toBe(errno.EBADF);
    expect(index.isArmed(0)).toBe(false);
  });
});

describe("whatever is armed and disarmed,", () => {
  const steps = fc.array(fc.record({ arm: fc.boolean(), vector: fc.integer({ min: 0, max: 7 }) }), { maxLength: 20 });
  const kinds = fc.constantFrom(EVENTFD, EVENTFD | NORESIZE);

  it("the kernel signals exactly those that are armed", () => {
    fc.assert(
      fc.property(kinds, steps, (flags, list) => {
        const { kernel, index } = fresh(flags);
        const model = new Map<number, number>();
        for (const [turn, { arm, vector }] of list.entries()) {
          if (arm) index.arm(vector, fd(100 + turn));
          else index.disarm(vector);
          if (arm) model.set(vector, 100 + turn);
          else model.delete(vector);
          expect(signalled(kernel)).toEqual(Object.fromEntries(model));
          expect(kernel.vectors === undefined).toBe(model.size === 0);
        }
      }),
    );
  });

  it("and whichever call is refused, none that is armed goes dead", () => {
    fc.assert(
      fc.property(kinds, steps, fc.integer({ min: 1, max: 30 }), (flags, list, nth) => {
        const { kernel, syscalls, index } = fresh(flags);
        const model = new Map<number, number>();
        syscalls.fault = { nth, errno: errno.EIO };
        for (const [turn, { arm, vector }] of list.entries()) {
          try {
            if (!arm) model.delete(vector);
            if (arm) index.arm(vector, fd(100 + turn));
            else index.disarm(vector);
            if (arm) model.set(vector, 100 + turn);
          } catch (error) {
            expect(error).toMatchObject({ errno: errno.EIO });
          }
          expect(signalled(kernel)).toMatchObject(Object.fromEntries(model));
          for (const armed of model.keys()) expect(index.isArmed(armed)).toBe(true);
        }
      }),
      { numRuns: 1000 },
    );
  });
});
