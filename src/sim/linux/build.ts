import { IospanError } from "../../errors.js";
import type { Clock } from "../hw/clock.js";
import { DmaPath } from "../hw/dma-path.js";
import type { Interconnect } from "../hw/interconnect.js";
import { PciConfig } from "../hw/pci-config.js";
import type { PhysicalMemory } from "../hw/physical-memory.js";
import type { DeviceDescription, MachineDescription } from "./description.js";
import { type Frame, KernelDevice } from "./drivers/device.js";
import { DeviceWindow } from "./drivers/register-window.js";
import { type GroupMember, IommuGroup } from "./iommu/iommu-group.js";
import type { Smmu } from "./iommu/smmu.js";
import type { InterruptTranslationService } from "./irq/its.js";
import type { KernelLog } from "./kernel-log.js";
import type { PhysicalLayout } from "./physical-layout.js";

/** Where QEMU's virt machine has the PCI memory window. */
const PCI_WINDOW = 0x1000_0000;

/** The hardware that devices are plugged into. */
export interface Board {
  readonly physical: PhysicalMemory;
  readonly layout: PhysicalLayout;
  readonly interconnect: Interconnect;
  readonly its: InterruptTranslationService;
  readonly clock: Clock;
  readonly log: KernelLog;
  readonly iommus: readonly Smmu[];
}

/** The devices of a machine, and their groups by number. */
export interface BuiltDevices {
  readonly devices: readonly KernelDevice[];
  readonly groups: ReadonlyMap<number, IommuGroup>;
}

/** Plugs in the devices of a description and sorts them into IOMMU groups. */
export function buildDevices(description: MachineDescription, board: Board): BuiltDevices {
  const devices = description.devices.map((each, index) => plug(each, index, board));
  return { devices, groups: formGroups(devices, board.log) };
}

/** @param deviceId what the interrupt controller knows it by */
function plug(description: DeviceDescription, deviceId: number, board: Board): KernelDevice {
  const iommu = description.iommu === undefined ? undefined : findIommu(description, description.iommu, board.iommus);
  const frames = framesOf(description, board.layout);
  const addresses = new Map(frames.map(({ index, physicalAddress }) => [index, physicalAddress]));
  const { pci } = description.model;
  const config = description.bus === "pci" && pci !== undefined ? new PciConfig(pci, addresses) : undefined;
  const streamId = streamIdOf(description);
  const dma = new DmaPath({
    memory: board.its.busOf(deviceId, board.physical),
    smmu: iommu?.hardware,
    streamId,
    mayMaster: () => config?.busMaster ?? true,
    link: board.interconnect.link(description.link),
  });
  const messages = { its: board.its, deviceId, dma };
  const device = new KernelDevice(description, { iommu, frames, config, streamId, messages });
  device.install(description.model.create({ clock: board.clock, dma, interrupts: device }));
  placeRegisters(device, board.physical);
  return device;
}

function findIommu(description: DeviceDescription, name: string, iommus: readonly Smmu[]): Smmu {
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
    physical.place(frame.physicalAddress, frame.size, new DeviceWindow(device, frame));
  }
}

/** Firmware puts each BAR on a multiple of its size. */
function framesOf(description: DeviceDescription, layout: PhysicalLayout): readonly Frame[] {
  if (description.bus === "platform") {
    return description.resources.map(({ start, size, readOnly = false }, index) => {
      return { index, physicalAddress: start, size, readOnly };
    });
  }
  const bars = description.model.pci?.bars ?? [];
  return bars.map(({ index, size }) => {
    const given = description.barAddresses?.get(index);
    const physicalAddress = given ?? layout.place(size, PCI_WINDOW, `BAR ${index} of ${description.name}`);
    return { index, physicalAddress, size, readOnly: false };
  });
}

function streamIdOf({ bus, name, iommu, streamId }: DeviceDescription): number {
  if (streamId === undefined && bus === "platform" && iommu !== undefined) throw noStreamId(name, iommu);
  return streamId ?? pciStreamId(name);
}

function noStreamId(device: string, iommu: string): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${device} is behind ${iommu} and has no StreamID`, {
    device,
    iommu,
    hint: "give the device a streamId; only PCI addresses have one in them",
  });
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
    if (!isTranslated(device) || !device.iommu.probe(device)) continue;
    while (taken.has(next)) next++;
    const id = device.description.group ?? next++;
    const group = groups.get(id) ?? new IommuGroup(id, log);
    group.add(device);
    groups.set(id, group);
    device.group = group;
  }
  return groups;
}

function isTranslated(device: KernelDevice): device is KernelDevice & GroupMember {
  return device.iommu !== undefined;
}
