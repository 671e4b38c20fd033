import type { Region } from "iospan";

/** What the scenarios do with the first frame of a platform device, and how its first, level-triggered interrupt is raised. */
export interface PortRegisters {
  /** A register that always reads the same. */
  readonly identity: { readonly offset: number; readonly value: number };
  /** A register that can be written, in the first 2 KiB, and what it reads then. */
  readonly scratch: { readonly offset: number; readsBack(written: number): number };
  /** Raises the interrupt's line for some causes, one bit each, out of eight. */
  raise(frame: Region, causes: number): void;
  /** Takes causes back; without any the line goes down. */
  acknowledge(frame: Region, causes: number): void;
  /** It has edu's transfers: QEMU has no platform device with DMA that could be told to do some. */
  readonly doesDma: boolean;
}

/** QEMU's edu (docs/specs/edu.rst), which the simulator also puts on a chip's own bus. */
export const eduRegisters: PortRegisters = {
  identity: { offset: 0x00, value: 0x0100_00ed },
  scratch: { offset: 0x04, readsBack: (written) => ~written >>> 0 },
  raise: (frame, causes) => frame.write32(0x60, causes),
  acknowledge: (frame, causes) => frame.write32(0x64, causes),
  doesDma: true,
};

// Registers of the PL061 GPIO controller (Arm DDI 0190, 3.2): one bit for each of its eight lines.
const GPIO_IS = 0x404;
const GPIO_IEV = 0x40c;
const GPIO_IE = 0x410;
const GPIO_AFSEL = 0x420;
const GPIO_PERIPH_ID0 = 0xfe0;
const ALL_LINES = 0xff;

/** A PL061 whose lines are low: an interrupt at low level is raised by letting it through, and lowered by masking it. */
export const gpioRegisters: PortRegisters = {
  identity: { offset: GPIO_PERIPH_ID0, value: 0x61 },
  scratch: { offset: GPIO_AFSEL, readsBack: (written) => written & ALL_LINES },
  raise(frame, causes) {
    frame.write32(GPIO_IS, ALL_LINES);
    frame.write32(GPIO_IEV, 0);
    frame.write32(GPIO_IE, frame.read32(GPIO_IE) | causes);
  },
  acknowledge: (frame, causes) => frame.write32(GPIO_IE, frame.read32(GPIO_IE) & ~causes),
  doesDma: false,
};
