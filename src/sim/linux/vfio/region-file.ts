import type { Frame, KernelDevice } from "../drivers/device.js";
import type { FileMapping, OpenFile } from "../files/open-file.js";
import type { Backing } from "../mm/address-space.js";
import { refuse } from "../refusal.js";

/** A region's place in the device's file: its number times 2^40 (vfio_pci_core.h, VFIO_PCI_OFFSET_SHIFT; vfio-platform has the same). */
export const REGION_SHIFT = 40n;

/** Which region an offset of the file means, and where in it. */
export function splitOffset(offset: bigint): { readonly index: number; readonly at: number } {
  return { index: Number(offset >> REGION_SHIFT), at: Number(offset & (2n ** REGION_SHIFT - 1n)) };
}

/**
 * Cuts a transfer into naturally aligned accesses, the widest first, as the kernel's read and write loops do.
 * @param widest 4, or 8 where the driver does 64-bit accesses
 */
export function accesses(at: number, length: number, widest: 4 | 8): readonly { at: number; width: number }[] {
  const parts: { at: number; width: number }[] = [];
  let done = 0;
  while (done < length) {
    const width = [8, 4, 2, 1].find((size) => size <= widest && size <= length - done && (at + done) % size === 0) ?? 1;
    parts.push({ at: at + done, width });
    done += width;
  }
  return parts;
}

/** Whether a frame may be mapped: pages of it hold nothing else. */
export function isMappable({ physicalAddress, size }: Frame, pageSize: number): boolean {
  return physicalAddress % pageSize === 0 && size % pageSize === 0;
}

/** Bytes of a frame. */
export interface FramePart {
  readonly frame: Frame;
  readonly length: number;
}

/** The part of a transfer that is in a frame: what reaches beyond its end is cut off. */
export function within(frame: Frame | undefined, at: number, length: number): FramePart {
  if (frame === undefined || at >= frame.size) return refuse("EINVAL");
  return { frame, length: Math.min(length, frame.size - at) };
}

/** mmap of a frame; what is refused is the same for both drivers. */
export function mapFrame(
  device: KernelDevice,
  frame: Frame,
  { offset, length, shared }: FileMapping,
  options: { readonly file: OpenFile; readonly isEnabled: () => boolean },
): Backing {
  const { at } = splitOffset(offset);
  if (!shared || at + length > frame.size) refuse("EINVAL");
  const { file, isEnabled } = options;
  const check = () => {
    if (!isEnabled())
      throw new Error(`SIGBUS: memory space of ${device.name} is disabled (PCI command register, bit 1)`);
  };
  return {
    registers: {
      physicalAddress: frame.physicalAddress + at,
      get accessible() {
        return isEnabled();
      },
      read(within, into) {
        check();
        device.readRegisters(frame, at + within, into);
      },
      write(within, from) {
        check();
        device.writeRegisters(frame, at + within, from);
      },
      mapped: () => file.hold(),
      unmapped: () => file.put(),
    },
  };
}
