import { describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { IospanError } from "../../src/errors.js";
import type { Syscalls } from "../../src/syscalls/syscalls.js";
import { Interrupt } from "../../src/vfio/interrupt.js";
import { children } from "../support/child.js";
import { errorFrom, errorOf, rejectionOf, thrownBy } from "../support/errors.js";
import { needsLinux } from "../support/linux-only.js";
import { fd, refused, strictSyscalls } from "../support/strict-syscalls.js";

const EVENTFD = fd(9);
const ABOUT = { device: "0000:02:00.0", iommu: "smmu3.0x9050000" };

/** An armed line of a device, to be fired by the test. */
function armed(
  options: { signal?: AbortSignal; calls?: Partial<Syscalls>; unmask?: () => void; disarm?: () => void } = {},
) {
  const log: string[] = [];
  let counter = 0;
  let watching: (() => void) | undefined;
  const syscalls = strictSyscalls({
    watch: (_, onReadable) => {
      watching = onReadable;
      return () => {
        watching = undefined;
        log.push("unwatch");
      };
    },
    readEventfd: () => {
      const count = counter;
      counter = 0;
      return count;
    },
    close: (closed) => log.push(`close ${closed}`),
    ...options.calls,
  });
  const line = {
    label: "MSI 0 of 0000:02:00.0",
    about: ABOUT,
    unmask: () => {
      log.push("unmask");
      options.unmask?.();
    },
    disarm: () => {
      log.push("disarm");
      options.disarm?.();
    },
  };
  const interrupt = Interrupt.listen(syscalls, line, EVENTFD, options.signal);
  /** The device signals `times` times, and the event loop sees it. */
  const fire = (times = 1) => {
    counter += times;
    watching?.();
  };
  return { interrupt, fire, log, watched: () => watching !== undefined };
}

const event = (count: number) => ({ done: false, value: { count } });
const DONE = { done: true, value: undefined };

/** Whether the promise settles without anything more happening. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol();
  await new Promise((resolve) => setImmediate(resolve));
  return (await Promise.race([promise, Promise.resolve(pending)])) !== pending;
}

describe("waiting for an interrupt", () => {
  it("gets at once what fired before, counted", async () => {
    const { interrupt, fire } = armed();
    fire(2);
    fire(1);
    expect(await interrupt.next()).toEqual(event(3));
  });

  it("waits for it, and starts counting anew after each turn", async () => {
    const { interrupt, fire } = armed();
    const waiting = interrupt.next();
    expect(await isSettled(waiting)).toBe(false);
    fire(1);
    expect(await waiting).toEqual(event(1));
    const again = interrupt.next();
    expect(await isSettled(again)).toBe(false);
    fire(5);
    expect(await again).toEqual(event(5));
  });

  it("does not wake for nothing", async () => {
    const { interrupt, fire } = armed();
    const waiting = interrupt.next();
    fire(0);
    expect(await isSettled(waiting)).toBe(false);
    fire(1);
    expect(await waiting).toEqual(event(1));
  });

  it("serves those who wait in their order, one interrupt each", async () => {
    const { interrupt, fire } = armed();
    const [first, second] = [interrupt.next(), interrupt.next()];
    fire(3);
    expect(await first).toEqual(event(3));
    expect(await isSettled(second)).toBe(false);
    fire(1);
    expect(await second).toEqual(event(1));
  });

  it("is a loop that ends with the device's last interrupt", async () => {
    const { interrupt, fire, log } = armed();
    fire(1);
    const counts: number[] = [];
    for await (const { count } of interrupt) {
      counts.push(count);
      if (counts.length < 3) fire(count + 1);
      else interrupt.close();
    }
    expect(counts).toEqual([1, 2, 3]);
    expect(log.filter((line) => line === "disarm")).toHaveLength(1);
  });
});

describe("a line that the kernel masks", () => {
  it("is opened again when the next is asked for, not before", async () => {
    const { interrupt, fire, log } = armed();
    const first = interrupt.next();
    expect(log).toEqual([]); // it is open from the start
    fire(1);
    await first;
    expect(log).toEqual([]);
    const second = interrupt.next();
    expect(log).toEqual(["unmask"]);
    fire(1);
    await second;
    void interrupt.next();
    expect(log).toEqual(["unmask", "unmask"]);
  });

  it("is not opened while one that fired has not been taken", async () => {
    const { interrupt, fire, log } = armed();
    fire(1);
    await interrupt.next();
    expect(log).toEqual([]);
  });

  it("rejects the wait when it cannot be opened, and tries again at the next", async () => {
    let refusals = 1;
    const { interrupt, fire, log } = armed({
      unmask: () => {
        if (refusals-- > 0) throw refused("VFIO_DEVICE_SET_IRQS", "EINTR");
      },
    });
    fire(1);
    await interrupt.next();
    const error = await errorFrom(interrupt.next());
    expect(error).toMatchObject({ ...ABOUT, code: "ERR_IOSPAN_SYSCALL", syscall: "VFIO_DEVICE_SET_IRQS" });
    expect(error.message).toContain("unmasking MSI 0 of 0000:02:00.0");
    const next = interrupt.next();
    expect(log.filter((line) => line === "unmask")).toHaveLength(2);
    fire(1);
    expect(await next).toEqual(event(1));
  });
});

describe("closing an interrupt", () => {
  it("stops watching, disarms, and then closes the eventfd; once", () => {
    const { interrupt, log, watched } = armed();
    interrupt.close();
    interrupt.close();
    interrupt[Symbol.dispose]();
    expect(log).toEqual(["unwatch", "disarm", "close 9"]);
    expect(watched()).toBe(false);
  });

  it("ends every loop that waits", async () => {
    const { interrupt } = armed();
    const waiting = [interrupt.next(), interrupt.next()];
    interrupt.close();
    expect(await Promise.all(waiting)).toEqual([DONE, DONE]);
    expect(await interrupt.next()).toEqual(DONE);
  });

  it("ends the loop even if something fired that nobody took", async () => {
    const { interrupt, fire } = armed();
    fire(1);
    interrupt.close();
    expect(await interrupt.next()).toEqual(DONE);
  });

  it("happens when a loop is left, by break or by an error", async () => {
    for (const leave of ["break", "throw"]) {
      const { interrupt, fire, log } = armed();
      fire(1);
      try {
        for await (const _ of interrupt) {
          if (leave === "break") break;
          throw new Error("from the body");
        }
      } catch (error) {
        expect(String(error)).toContain("from the body");
      }
      expect(log).toEqual(["unwatch", "disarm", "close 9"]);
    }
  });

  it("closes the eventfd also when the line cannot be disarmed, and passes that on", () => {
    const failure = refused("VFIO_DEVICE_SET_IRQS", "EIO");
    const { interrupt, log } = armed({
      disarm: () => {
        throw failure;
      },
    });
    const error = errorOf(() => interrupt.close());
    expect(error).toMatchObject({ ...ABOUT, code: "ERR_IOSPAN_SYSCALL", errno: errno.EIO, cause: failure });
    expect(error.message).toContain("closing MSI 0 of 0000:02:00.0");
    expect(log.at(-1)).toBe("close 9");
    interrupt.close();
    expect(log.filter((line) => line === "close 9")).toHaveLength(1);
  });

  it.each([
    ["close", async (interrupt: Interrupt) => interrupt.close()],
    ["return", async (interrupt: Interrupt) => interrupt.return()],
    ["a using block", async (interrupt: Interrupt) => interrupt[Symbol.dispose]()],
    ["an await using block", async (interrupt: Interrupt) => interrupt[Symbol.asyncDispose]()],
  ])("explains, by %s, that the eventfd's close reported an error", async (_, end) => {
    const { interrupt } = armed({
      calls: {
        close: () => {
          throw refused("close", "EIO");
        },
      },
    });
    expect(await errorFrom(end(interrupt))).toMatchObject({ ...ABOUT, code: "ERR_IOSPAN_SYSCALL", syscall: "close" });
  });

  it("passes on the first of several failures", () => {
    const { interrupt } = armed({
      disarm: () => {
        throw refused("VFIO_DEVICE_SET_IRQS", "EIO");
      },
      calls: {
        close: () => {
          throw refused("close", "EIO");
        },
      },
    });
    expect(errorOf(() => interrupt.close()).syscall).toBe("VFIO_DEVICE_SET_IRQS");
  });

  it("disarms the line and closes the eventfd also when the watch cannot be stopped", () => {
    const failure = new Error("uv_poll_stop");
    const { interrupt, log } = armed({
      calls: {
        watch: () => () => {
          throw failure;
        },
      },
    });
    expect(thrownBy(() => interrupt.close())).toBe(failure);
    expect(log).toEqual(["disarm", "close 9"]);
  });
});

describe("a signal", () => {
  it("ends the wait with its reason, and disarms", async () => {
    const controller = new AbortController();
    const { interrupt, log } = armed({ signal: controller.signal });
    const waiting = [interrupt.next(), interrupt.next()];
    const reason = new Error("enough");
    controller.abort(reason);
    expect(await Promise.all(waiting.map(rejectionOf))).toEqual([reason, reason]);
    expect(await rejectionOf(interrupt.next())).toBe(reason);
    expect(log).toEqual(["unwatch", "disarm", "close 9"]);
  });

  it("that was given before ends the loop, even if something fired", async () => {
    const { interrupt, fire, log } = armed({ signal: AbortSignal.abort("too late") });
    fire(1);
    expect(await rejectionOf(interrupt.next())).toBe("too late");
    expect(log).toEqual(["unwatch", "disarm", "close 9"]);
  });

  it("has no effect once the interrupt is closed", async () => {
    const controller = new AbortController();
    const { interrupt, log } = armed({ signal: controller.signal });
    interrupt.close();
    const before = log.length;
    controller.abort();
    expect(log).toHaveLength(before);
  });

  describe("in a process of its own", () => {
    needsLinux();
    const { run } = children();

    it("does not end the process when the line cannot be disarmed: the loop is told", () => {
      // What an event listener throws is an uncaught exception.
      const { status, stdout, stderr } = run(`
        import { Interrupt } from "src/vfio/interrupt.js";
        const syscalls = { watch: () => () => {}, close: () => {} };
        const line = { label: "", unmask() {}, disarm() { throw new Error("the device is gone"); } };
        const controller = new AbortController();
        const interrupt = Interrupt.listen(syscalls, line, 9, controller.signal);
        const waiting = interrupt.next().catch((reason) => console.log("told", reason.message));
        controller.abort(new Error("enough"));
        await waiting;
        await new Promise((resolve) => setTimeout(resolve, 1));
        console.log("alive");
      `);
      expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: "told enough\nalive\n", stderr: "" });
    });
  });
});

describe("an eventfd that cannot be read", () => {
  it("ends the wait with the reason", async () => {
    const failure = refused("read", "EIO");
    const { interrupt, fire } = armed({
      calls: {
        readEventfd: () => {
          throw failure;
        },
      },
    });
    const waiting = [interrupt.next(), interrupt.next()];
    fire(1);
    for (const reason of await Promise.all(waiting.map(errorFrom))) {
      expect(reason).toMatchObject({ ...ABOUT, code: "ERR_IOSPAN_SYSCALL", errno: errno.EIO, cause: failure });
      expect(reason.message).toContain("MSI 0 of 0000:02:00.0");
    }
  });

  it("is not read after the interrupt is closed, when its number may be another file's", () => {
    let late = () => {};
    const { interrupt } = armed({
      calls: {
        watch: (_, onReadable) => {
          late = onReadable;
          return () => {};
        },
        readEventfd: () => expect.unreachable(),
      },
    });
    interrupt.close();
    late();
  });
});

describe("an interrupt that the kernel took away", () => {
  const reason = new IospanError("ERR_IOSPAN_INTERRUPT_REFUSED", "gone", { hint: "listen anew" });

  it("ends every wait with the reason, those to come too, and is closed", async () => {
    const { interrupt, fire, log } = armed();
    const waiting = [interrupt.next(), interrupt.next()];
    interrupt.fail(reason);
    fire(1);
    expect(await Promise.all([...waiting, interrupt.next()].map(rejectionOf))).toEqual([reason, reason, reason]);
    expect(log).toEqual(["unwatch", "disarm", "close 9"]);
  });

  it("means nothing to one that was closed before", async () => {
    const { interrupt } = armed();
    interrupt.close();
    interrupt.fail(reason);
    expect(await interrupt.next()).toEqual(DONE);
  });
});
