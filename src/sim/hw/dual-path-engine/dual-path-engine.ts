import { IospanError } from "../../../errors.js";
import type { DeviceKind, PciIdentity } from "../device-model.js";
import { Engine } from "./engine.js";
import { RegisterFrame } from "./register-frame.js";
import { FRAME_SIZE } from "./registers.js";

/** Options of {@link dualPathEngine}. */
export interface DualPathEngineOptions {
  /** Chunks that each interface has under way at most: 1 to 255, 8 where absent. */
  readonly outstanding?: number;
}

/** The two interfaces of one engine, to be built into one machine; one of them alone works, too. */
export interface DualPathEngineKinds {
  /** A PCIe function with the registers in BAR 0, one MSI vector and INTx. */
  readonly function: DeviceKind;
  /** A platform device with the registers in its first frame, of 4 KiB, and a level interrupt. */
  readonly port: DeviceKind;
}

const IDENTITY: PciIdentity = {
  vendor: 0x1234,
  device: 0xd9e1,
  // Base system peripheral, other.
  classCode: 0x088000,
  subsystemVendor: 0x1234,
  subsystem: 0x0001,
  revision: 1,
  bars: [{ index: 0, size: FRAME_SIZE }],
  msiVectors: 1,
  intx: true,
};

/**
 * One DMA engine that reaches memory by two paths, a PCIe function and a platform port, each with a link and an IOMMU of its
 * own. It copies and fills memory at I/O virtual addresses, through either interface or through both at once, chunk by chunk.
 * [REGISTERS.md](./REGISTERS.md) says how it is driven.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT`
 */
export function dualPathEngine({ outstanding = 8 }: DualPathEngineOptions = {}): DualPathEngineKinds {
  if (!Number.isInteger(outstanding) || outstanding < 1 || outstanding > 255) {
    throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `an engine cannot have ${outstanding} chunks under way`, {
      hint: "outstanding must be 1 to 255",
    });
  }
  const engine = new Engine(outstanding);
  return {
    function: { pci: IDENTITY, create: (wiring) => new RegisterFrame(engine, 0, wiring) },
    port: { create: (wiring) => new RegisterFrame(engine, 1, wiring) },
  };
}
