import assert from "node:assert/strict";
import { edu } from "../../src/sim/hw/edu.js";
import type { DeviceDescription, MachineDescription } from "../../src/sim/linux/description.js";
import { SimulatedKernel } from "../../src/sim/linux/kernel.js";

/** One `edu` of a machine: where it sits. */
export interface Seat {
  /** The SMMU that it is behind, from 0 on. */
  readonly smmu: number;
  /** Its bus: `pci` where absent. */
  readonly bus?: "pci" | "platform";
  /** Devices with the same number share an IOMMU group; one of its own where absent. */
  readonly group?: number;
}

/** A machine of any size. */
export interface ManyMachine {
  readonly kernel: SimulatedKernel;
  readonly machine: { readonly syscalls: SimulatedKernel };
  readonly description: MachineDescription;
  /** The kernel's names of the devices, seat by seat. */
  readonly names: readonly string[];
  /** The IOMMU of a device. */
  iommuOf(name: string): string;
}

/** Makes a machine with an `edu` on each seat, all bound to VFIO, and as many SMMUs as that takes. */
export function manyMachine(seats: readonly Seat[], options: Partial<MachineDescription> = {}): ManyMachine {
  const devices = seats.map(describeSeat);
  const count = Math.max(...seats.map(({ smmu }) => smmu)) + 1;
  const description: MachineDescription = {
    release: "7.3.4",
    capabilities: ["CAP_IPC_LOCK"],
    resetRequired: false,
    iommus: Array.from({ length: count }, (_, index) => ({ name: smmuName(index) })),
    devices,
    ...options,
  };
  const kernel = new SimulatedKernel(description);
  const iommus = new Map(devices.map(({ name, iommu = "" }) => [name, iommu]));
  const names = devices.map(({ name }) => name);
  return { kernel, machine: { syscalls: kernel }, description, names, iommuOf: (name) => iommus.get(name) ?? "" };
}

/** One after the other, where QEMU's virt machine has its SMMU. */
function smmuName(index: number): string {
  return `smmu3.0x${(0xc00_0000 + index * 0x2_0000).toString(16).padStart(16, "0")}`;
}

const FIRST_FRAME = 0x910_0000;
/** What groups are numbered from, so that those of their own come before. */
const FIRST_SHARED_GROUP = 100;

function describeSeat({ smmu, bus = "pci", group }: Seat, index: number): DeviceDescription {
  const common = {
    iommu: smmuName(smmu),
    model: edu(),
    ...(group !== undefined && { group: FIRST_SHARED_GROUP + group }),
  };
  if (bus === "pci") {
    const number = (index + 1).toString(16).padStart(2, "0");
    return { ...common, bus, name: `0000:${number}:00.0`, driver: "vfio-pci" };
  }
  const start = FIRST_FRAME + index * 0x1_0000;
  return {
    ...common,
    bus,
    name: `${start.toString(16)}.edu`,
    driver: "vfio-platform",
    streamId: 0xff00 + index,
    compatible: ["iospan,edu"],
    resources: [{ start, size: 0x1000 }],
    interrupts: ["level"],
    msiIsolated: true,
    resetHandler: true,
  };
}

/** Interfaces behind an SMMU each, PCIe functions and platform devices in turn. */
export const oneEach = (count: number): readonly Seat[] =>
  Array.from({ length: count }, (_, smmu) => ({ smmu, bus: smmu % 2 === 0 ? "pci" : "platform" }));

/** IOMMUs in which something is mapped, one for each page table. */
export function mappedIn({ containers, iommufds }: ManyMachine["kernel"]): readonly string[] {
  const ofContainers = containers.flatMap(({ type1 }) => type1?.domains ?? []);
  const ofIommufds = iommufds.flatMap(({ ioases }) => ioases.flatMap(({ hwpts }) => hwpts));
  return [...ofContainers, ...ofIommufds].filter(({ mappings }) => mappings.length > 0).map(({ iommu }) => iommu);
}

/** Nobody has anything open or pinned, and the kernel had nothing to say. */
export function nothingLeft(kernel: ManyMachine["kernel"]): void {
  const { openFds, containers, iommufds, pinnedPages, lockedBytes, log } = kernel;
  assert.deepEqual({ openFds, containers, iommufds, log }, { openFds: [], containers: [], iommufds: [], log: [] });
  assert.deepEqual([pinnedPages, lockedBytes], [0, 0]);
}
