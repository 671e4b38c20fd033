import { describe, expect, it } from "vitest";
import { type ErrnoName, errno } from "../../src/abi/errno.js";
import { IospanError } from "../../src/errors.js";
import { armRefused, interruptsLost, listenedToAlready, noInterrupt } from "../../src/vfio/interrupt-refusals.js";
import type { InterruptKind } from "../../src/vfio/interrupts.js";
import { refused } from "../support/strict-syscalls.js";

const OWNER = { device: "0000:02:00.0", iommu: "smmu3.0x9050000" };
const SET_IRQS = "VFIO_DEVICE_SET_IRQS";

function explained(syscall: string, name: ErrnoName, kind: InterruptKind = "msi"): IospanError {
  const error = armRefused(refused(syscall, name), OWNER, kind, `${kind} 3 of ${OWNER.device}`, 3);
  expect(error).toMatchObject({ ...OWNER, code: "ERR_IOSPAN_INTERRUPT_REFUSED", syscall, errno: errno[name] });
  if (!(error instanceof IospanError)) throw error;
  expect(error.message).toMatch(/^\S+ 3 of 0000:02:00\.0 cannot be armed/);
  return error;
}

describe("noInterrupt", () => {
  it("says how many there are, if any", () => {
    const error = noInterrupt(OWNER, "msi", 4, 4);
    expect(error).toMatchObject({ ...OWNER, code: "ERR_IOSPAN_NOT_SUPPORTED" });
    expect(error.message).toBe("0000:02:00.0 has no msi 4 (there are 4, from 0)");
    expect(noInterrupt({ device: "d" }, "intx", 0, 0).message).toBe("d has no intx 0");
  });
});

describe("listenedToAlready", () => {
  it("says which", () => {
    expect(listenedToAlready(OWNER, "msi", "msi 0 of d")).toMatchObject({ ...OWNER, code: "ERR_IOSPAN_BUSY" });
  });
});

describe("armRefused", () => {
  it.each([
    ["eventfd2", "EMFILE", "ulimit -n"],
    ["eventfd2", "ENFILE", "fs.file-max"],
    ["eventfd2", "ENOMEM", "free memory"],
    [SET_IRQS, "ENOMEM", "free memory"],
    [SET_IRQS, "ENOSPC", "use fewer"],
    [SET_IRQS, "EINVAL", "one kind at a time"],
    [SET_IRQS, "EBUSY", "dmesg"],
    ["epoll_ctl", "ENOSPC", "dmesg"],
    ["epoll_ctl", "EINVAL", "dmesg"],
  ] as const)("has a hint for %s: %s", (syscall, name, hint) => {
    expect(explained(syscall, name).hint).toContain(hint);
  });

  it("says how many vectors it would take", () => {
    expect(explained(SET_IRQS, "ENOSPC").message).toContain("fewer vectors left than the 4 up to this one");
  });

  it.each(["intx", "msi", "msix"] as const)("knows that %s excludes the other kinds", (kind) => {
    expect(explained(SET_IRQS, "EINVAL", kind).hint).toContain("one kind at a time");
  });

  it.each(["err", "req", "irq"] as const)("knows that %s goes with every other kind", (kind) => {
    expect(explained(SET_IRQS, "EINVAL", kind).hint).toContain("dmesg");
    expect(explained(SET_IRQS, "ENOSPC", kind).hint).toContain("dmesg");
  });

  it("leaves alone what is no refusal", () => {
    const bug = new TypeError("bug");
    expect(armRefused(bug, OWNER, "msi", "", 0)).toBe(bug);
  });
});

describe("interruptsLost", () => {
  it("says both reasons, and keeps them", () => {
    const both = new AggregateError([refused(SET_IRQS, "ENOSPC"), refused(SET_IRQS, "EIO")]);
    const error = interruptsLost(both, OWNER, "msi 3 of d");
    expect(error).toMatchObject({ ...OWNER, code: "ERR_IOSPAN_INTERRUPT_REFUSED", errno: errno.ENOSPC, cause: both });
    expect(error.message).toContain("VFIO_DEVICE_SET_IRQS: ENOSPC; VFIO_DEVICE_SET_IRQS: EIO");
    expect(error.hint).toContain("listen to them anew");
  });
});
