import { findDevice } from "../../machine/devices.js";
import type { MachineDevice, PciIds } from "../../machine/machine.js";
import type { SimulatedMachine } from "../../sim/simulated-machine.js";
import type { IoAddressSpace } from "../../space/io-address-space.js";
import { DualPath, FUNCTION_IDS, PORT_COMPATIBLE } from "./dual-path.js";
import { EDU_IDS, EduEngine } from "./edu-engine.js";
import type { ChipTime, Engine } from "./engine.js";
import type { EngineReport } from "./result.js";

/** What there is on a machine to do DMA with, and how to make it work. */
export interface FoundEngine {
  readonly kind: EngineReport["kind"];
  /** The devices that are its interfaces. */
  readonly interfaces: readonly MachineDevice[];
  /** @param space with {@link interfaces} in it. */
  open(space: IoAddressSpace, time: ChipTime): Promise<Engine>;
}

/**
 * Looks for engines behind IOMMUs: dual-path engines first, in the device tree's order, then all `edu` together.
 */
export function findEngines(machine: SimulatedMachine): readonly FoundEngine[] {
  const ends = machine.interfaces.map(({ name, device }) => ({ device: findDevice(machine, name), body: device }));
  return [...dualPaths(ends), ...edus(ends.map(({ device }) => device))];
}

/** An interface and the physical device that it is one of. */
interface End {
  readonly device: MachineDevice;
  readonly body: string;
}

function dualPaths(ends: readonly End[]): readonly FoundEngine[] {
  const bodies = new Map<string, { function?: MachineDevice; port?: MachineDevice }>();
  for (const { device, body } of ends) {
    const engine = bodies.get(body) ?? {};
    if (isPci(device, FUNCTION_IDS)) bodies.set(body, { ...engine, function: device });
    else if (device.compatible?.includes(PORT_COMPATIBLE)) bodies.set(body, { ...engine, port: device });
  }
  return [...bodies.values()].map(({ function: onPci, port }) => {
    const names = { function: onPci?.name, port: port?.name };
    const interfaces = [onPci, port].filter((device) => device !== undefined);
    return { kind: "dual-path", interfaces, open: (space) => DualPath.open(space, names) };
  });
}

function edus(devices: readonly MachineDevice[]): readonly FoundEngine[] {
  const interfaces = devices.filter((device) => isPci(device, EDU_IDS));
  if (interfaces.length === 0) return [];
  const names = interfaces.map(({ name }) => name);
  return [{ kind: "edu", interfaces, open: async (space, time) => new EduEngine(space, names, time) }];
}

function isPci({ pci }: MachineDevice, { vendor, device }: Pick<PciIds, "vendor" | "device">): boolean {
  return pci?.vendor === vendor && pci.device === device;
}
