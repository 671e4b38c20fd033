import { IospanError } from "../../errors.js";
import type { Clock } from "../hw/clock.js";
import { PciConfig } from "../hw/pci-config.js";
import type { PhysicalMemory } from "../hw/physical-memory.js";
import type { DeviceDescription, MachineDescription } from "./description.js";
import { type Frame, KernelDevice } from "./drivers/device.js";
import type { Iommu } from "./iommu/iommu.js";
import { type GroupMember, IommuGroup } from "./iommu/iommu-group.js";
import { TranslatedDma } from "./iommu/translated-dma.js";
import type { KernelLog } from "./kernel-log.js";

/** Where QEMU's virt machine has the PCI memory window. */
const PCI_WINDOW = 0x1000_0000;

/** The hardware that devices are plugged into. */
export interface Board {
  readonly physical: PhysicalMemory;
  readonly clock: Clock;
  readonly log: KernelLog;
  readonly iommus: readonly Iommu[];
}

/** The devices of a machine, and their groups by number. */
export interface BuiltDevices {
  readonly devices: readonly KernelDevice[];
  readonly groups: ReadonlyMap<number, IommuGroup>;
}

/** Plugs in the devices of a description and sorts them into IOMMU groups. */
export function buildDevices(description: MachineDescription, board: Board): BuiltDevices {
  const place = framePlacer();
  const devices = description.devices.map((each) => plug(each, board, place));
  return { devices, groups: formGroups(devices, board.log) };
}

function plug(description: DeviceDescription, board: Board, place: (size: number) => number): KernelDevice {
  const iommu = description.iommu === undefined ? undefined : findIommu(description, description.iommu, board.iommus);
  const frames = framesOf(description, place);
  const addresses = new Map(frames.map(({ index, physicalAddress }) => [index, physicalAddress]));
  const { pci } = description.model;
  const config = description.bus === "pci" && pci !== undefined ? new PciConfig(pci, addresses) : undefined;
  const streamId = description.streamId ?? pciStreamId(description.name);
  const device = new KernelDevice(description, { iommu, frames, config, streamId });
  const dma = new TranslatedDma(board.physical, device, iommu, () => config?.busMaster ?? true);
  device.install(description.model.create({ clock: board.clock, dma, interrupts: device }));
  placeRegisters(device, board.physical);
  return device;
}

function findIommu(description: DeviceDescription, name: string, iommus: readonly Iommu[]): Iommu {
  const found = iommus.find((iommu) => iommu.name === name);
  if (found !== undefined) return found;
  const known = iommus.map((iommu) => iommu.name).join(", ");
  throw new IospanError(
    "ERR_IOSPAN_INVALID_ARGUMENT",
    `${description.name} is behind ${name}, which the machine lacks`,
    {
      hint: `its IOMMUs are ${known}`,
    },
  );
}

/** Registers that another device's DMA may reach. */
function placeRegisters(device: KernelDevice, physical: PhysicalMemory): void {
  for (const frame of device.frames) {
    physical.place(frame.physicalAddress, frame.size, {
      read: (offset, into) => device.readRegisters(frame, offset, into),
      write: (offset, from) => device.writeRegisters(frame, offset, from),
    });
  }
}

/** Hands out the PCI window as firmware does: each BAR on a multiple of its size. */
function framePlacer(): (size: number) => number {
  let next = PCI_WINDOW;
  return (size) => {
    const address = Math.ceil(next / size) * size;
    next = address + size;
    return address;
  };
}

function framesOf(description: DeviceDescription, place: (size: number) => number): readonly Frame[] {
  if (description.bus === "platform") {
    return description.resources.map(({ start, size, readOnly = false }, index) => {
      return { index, physicalAddress: start, size, readOnly };
    });
  }
  const bars = description.model.pci?.bars ?? [];
  return bars.map(({ index, size }) => ({ index, physicalAddress: place(size), size, readOnly: false }));
}

/** Bus, device and function, which is how PCI root complexes number their streams on arm64. */
function pciStreamId(name: string): number {
  const [, bus = "0", slot = "0", fn = "0"] = /:([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$/.exec(name) ?? [];
  return (Number.parseInt(bus, 16) << 8) | (Number.parseInt(slot, 16) << 3) | Number(fn);
}

function formGroups(devices: readonly KernelDevice[], log: KernelLog): ReadonlyMap<number, IommuGroup> {
  const groups = new Map<number, IommuGroup>();
  const taken = new Set(devices.map(({ description }) => description.group));
  let next = 0;
  for (const device of devices) {
    if (!isTranslated(device)) continue;
    while (taken.has(next)) next++;
    const id = device.description.group ?? next++;
    const group = groups.get(id) ?? new IommuGroup(id, log);
    groups.set(id, group);
    device.group = group;
    group.members.push(device);
  }
  return groups;
}

function isTranslated(device: KernelDevice): device is KernelDevice & GroupMember {
  return device.iommu !== undefined;
}
