import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PhysicalMemory } from "../../../../src/sim/hw/physical-memory.js";
import type { Frame, KernelDevice } from "../../../../src/sim/linux/drivers/device.js";
import { DeviceWindow } from "../../../../src/sim/linux/drivers/register-window.js";

const FRAME: Frame = { index: 0, physicalAddress: 0x1000_0000, size: 0x1000, readOnly: false };

/** A device that notes how its registers are accessed. */
function noted(memoryEnabled = true) {
  const log: [offset: number, width: number][] = [];
  const device = {
    config: { memoryEnabled },
    readRegisters: (_frame: Frame, offset: number, into: Uint8Array) => {
      log.push([offset, into.length]);
      for (const index of into.keys()) into[index] = (offset + index) & 0xff;
    },
    writeRegisters: (_frame: Frame, offset: number, from: Uint8Array) => log.push([offset, from.length]),
  };
  return { log, window: new DeviceWindow(device as unknown as KernelDevice, FRAME) };
}

describe("registers that DMA reaches", () => {
  it("are accessed in naturally aligned parts, in order and without gaps", () => {
    fc.assert(
      fc.property(fc.nat(0x800), fc.integer({ min: 1, max: 64 }), fc.boolean(), (offset, length, write) => {
        const { log, window } = noted();
        const bytes = new Uint8Array(length);
        if (write) window.write(offset, bytes);
        else window.read(offset, bytes);
        let at = offset;
        for (const [from, width] of log) {
          expect(from).toBe(at);
          expect([1, 2, 4, 8]).toContain(width);
          expect(from % width).toBe(0);
          at += width;
        }
        expect(at).toBe(offset + length);
        if (!write) expect([...bytes]).toEqual(Array.from(bytes, (_, index) => (offset + index) & 0xff));
      }),
    );
  });

  it("are accessed with the widest parts that there can be", () => {
    const { log, window } = noted();
    window.write(0x84, new Uint8Array(16));
    expect(log).toEqual([
      [0x84, 4],
      [0x88, 8],
      [0x90, 4],
    ]);
  });

  it("do not answer while the function decodes no memory", () => {
    for (const enabled of [true, false]) {
      const { log, window } = noted(enabled);
      const physical = new PhysicalMemory(4096);
      physical.place(FRAME.physicalAddress, FRAME.size, window);
      expect(physical.write(FRAME.physicalAddress + 8, new Uint8Array(8))).toBe(enabled);
      expect(physical.read(FRAME.physicalAddress + 8, new Uint8Array(8))).toBe(enabled);
      expect(log.length).toBe(enabled ? 2 : 0);
    }
  });
});
