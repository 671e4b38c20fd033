import { errno } from "../abi/errno.js";
import { VFIO_DEVICE_SET_IRQS } from "../abi/vfio-irq.js";
import { IospanError } from "../errors.js";
import { factsOf, SyscallError } from "../syscalls/syscalls.js";
import type { InterruptKind } from "./interrupts.js";
import { type About, type Meaning, refusal, shortages } from "./refusal.js";

/** The device an interrupt belongs to, for messages. */
export interface InterruptOwner extends About {
  readonly device: string;
}

/** An index that the device does not have. */
export function noInterrupt(owner: InterruptOwner, kind: string, vector: number, count: number): IospanError {
  const message = `${owner.device} has no ${kind} ${vector}${count === 0 ? "" : ` (there are ${count}, from 0)`}`;
  return new IospanError("ERR_IOSPAN_NOT_SUPPORTED", message, {
    ...owner,
    hint: "device.interrupts lists what there is",
  });
}

/** A vector can signal one eventfd. */
export function listenedToAlready(owner: InterruptOwner, kind: InterruptKind, label: string): IospanError {
  const bySpace = "a device of a space is listened to by it: device.removal, and options.onRemoval of its open(), tell";
  return new IospanError("ERR_IOSPAN_BUSY", `${label} is listened to already`, {
    ...owner,
    hint: kind === "req" ? bySpace : "close the other interrupt object first",
  });
}

/**
 * Why an interrupt could not be armed (fs/eventfd.c, do_eventfd; drivers/vfio/pci/vfio_pci_intrs.c,
 * vfio_pci_set_msi_trigger and vfio_pci_set_intx_trigger).
 */
export function armRefused(
  error: unknown,
  owner: InterruptOwner,
  kind: InterruptKind,
  label: string,
  vector: number,
): unknown {
  const refused = { code: "ERR_IOSPAN_INTERRUPT_REFUSED", message: `${label} cannot be armed` } as const;
  const otherwise = { ...refused, hint: "the kernel log may say more: dmesg | grep -e vfio -e irq" };
  const byKernel = error instanceof SyscallError && error.syscall === VFIO_DEVICE_SET_IRQS.name;
  const meanings = { ...shortages(refused), ...(byKernel ? setIrqsMeanings(otherwise, kind, vector) : {}) };
  return refusal(error, owner, otherwise, meanings);
}

/** What only VFIO_DEVICE_SET_IRQS means by an errno. */
function setIrqsMeanings(otherwise: Meaning, kind: InterruptKind, vector: number): Readonly<Record<number, Meaning>> {
  const messageSignalled = kind === "msi" || kind === "msix";
  return {
    ...(messageSignalled && {
      [errno.ENOSPC]: {
        ...otherwise,
        message: `${otherwise.message}: there are fewer vectors left than the ${vector + 1} up to this one`,
        hint: "use fewer (they are taken from 0 up to the highest that is armed), or another kind",
      },
    }),
    ...((messageSignalled || kind === "intx") && {
      [errno.EINVAL]: {
        ...otherwise,
        hint: "a PCI device uses one kind at a time: close its INTx, MSI or MSI-X interrupts before using another kind",
      },
    }),
  };
}

/**
 * An interrupt could not be armed, and those that were switched off for its sake could not be switched on again.
 * @param both what arming was refused with, and then switching on again.
 */
export function interruptsLost(both: AggregateError, owner: InterruptOwner, label: string): IospanError {
  const reasons: readonly unknown[] = both.errors;
  const first = reasons.find((reason) => reason instanceof SyscallError);
  const texts = reasons.map((reason) => (reason instanceof Error ? reason.message : String(reason)));
  return new IospanError(
    "ERR_IOSPAN_INTERRUPT_REFUSED",
    `${label} cannot be armed, and the armed ones of its kind could not be switched on again (${texts.join("; ")})`,
    {
      ...owner,
      ...(first && factsOf(first)),
      hint: "they are closed: listen to them anew; the kernel log may say more: dmesg | grep -e vfio -e irq",
      cause: both,
    },
  );
}
