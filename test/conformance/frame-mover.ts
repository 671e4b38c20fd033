import type { Device, IoAddressSpace, Iova, Region } from "iospan";
import type { Mover } from "./dma-proof.js";

// Registers of QEMU's edu (docs/specs/edu.rst), in BAR 0 or a platform device's first frame.
const SOURCE = 0x80;
const DESTINATION = 0x88;
const COUNT = 0x90;
const COMMAND = 0x98;
const START = 1;
const TO_MEMORY = 2;
/** The engine's own memory. */
const BUFFER = 0x40000n;
/** Each poll lets simulated time go on, so that a few end any job. */
const MOST_POLLS = 1000;

/** The `edu` devices among a space's interfaces, on whichever bus. */
export const movers = (space: IoAddressSpace, names = space.interfaces): readonly Mover[] =>
  names.map((name) => moverOf(space.interface(name)));

function moverOf(device: Device): Mover {
  const frame = device.region(device.bus === "pci" ? "bar0" : 0);
  return {
    name: device.name,
    async copy(from: Iova, to: Iova, size: number) {
      transfer(frame, { from, to: BUFFER, size, command: START });
      transfer(frame, { from: BUFFER, to, size, command: START | TO_MEMORY });
    },
  };
}

function transfer(
  frame: Region,
  { from, to, size, command }: { from: bigint; to: bigint; size: number; command: number },
): void {
  frame.write64(SOURCE, from);
  frame.write64(DESTINATION, to);
  frame.write64(COUNT, BigInt(size));
  frame.write32(COMMAND, command);
  for (let polls = 0; (frame.read32(COMMAND) & START) !== 0; polls += 1) {
    if (polls > MOST_POLLS) throw new Error("the transfer does not end");
  }
}
