import type { DeviceModel, InterruptPins, RegisterWidth } from "../../hw/device-model.js";
import { registerWidths } from "../../hw/device-model.js";
import type { PciConfig } from "../../hw/pci-config.js";
import type { DeviceDescription, ReservedDescription } from "../description.js";
import type { Iommu } from "../iommu/iommu.js";
import type { IommuGroup } from "../iommu/iommu-group.js";
import type { Driver } from "./driver.js";

/** A register frame: a PCI BAR or a platform device's resource. */
export interface Frame {
  /** The BAR's or resource's number. */
  readonly index: number;
  readonly physicalAddress: number;
  readonly size: number;
  readonly readOnly: boolean;
}

/** Where a device's interrupts go. A VFIO driver takes them while a program has the device open. */
export interface InterruptSink {
  /** The wire changed. */
  level(raised: boolean): void;
  msi(vector: number): void;
}

/** The kernel's `struct device` with the hardware behind it. */
export class KernelDevice implements InterruptPins {
  readonly description: DeviceDescription;
  readonly iommu: Iommu | undefined;
  readonly streamId: number;
  readonly frames: readonly Frame[];
  /** PCI only. */
  readonly config: PciConfig | undefined;
  group: IommuGroup | undefined;
  driver: Driver | undefined;
  driverOverride: string | undefined;
  sink: InterruptSink | undefined;
  #model: DeviceModel | undefined;
  #level = false;

  constructor(
    description: DeviceDescription,
    parts: {
      readonly iommu: Iommu | undefined;
      readonly streamId: number;
      readonly frames: readonly Frame[];
      readonly config: PciConfig | undefined;
    },
  ) {
    this.description = description;
    this.iommu = parts.iommu;
    this.streamId = parts.streamId;
    this.frames = parts.frames;
    this.config = parts.config;
  }

  get name(): string {
    return this.description.name;
  }

  get bus(): DeviceDescription["bus"] {
    return this.description.bus;
  }

  get driverName(): string {
    return this.driver?.name ?? "";
  }

  get reserved(): readonly ReservedDescription[] {
    return this.description.reserved ?? [];
  }

  get msiIsolated(): boolean {
    return this.description.msiIsolated ?? this.bus === "pci";
  }

  /** Puts the inside in; the wiring needs the device to exist first. */
  install(model: DeviceModel): void {
    this.#model = model;
  }

  reset(): void {
    this.#model?.reset();
  }

  /** One register access; widths that no bus knows are split into bytes. */
  readRegisters(frame: Frame, offset: number, into: Uint8Array): void {
    if (this.#model === undefined) return;
    const width = widthOf(into.length);
    const view = new DataView(new ArrayBuffer(8));
    for (let done = 0; done < into.length; done += width) {
      view.setBigUint64(0, BigInt.asUintN(64, this.#model.read(frame.index, offset + done, width)), true);
      into.set(new Uint8Array(view.buffer, 0, width), done);
    }
  }

  writeRegisters(frame: Frame, offset: number, from: Uint8Array): void {
    if (this.#model === undefined) return;
    const width = widthOf(from.length);
    const bytes = new Uint8Array(8);
    const view = new DataView(bytes.buffer);
    for (let done = 0; done < from.length; done += width) {
      bytes.fill(0);
      bytes.set(from.subarray(done, done + width));
      this.#model.write(frame.index, offset + done, width, view.getBigUint64(0, true));
    }
  }

  // InterruptPins, for the model

  get level(): boolean {
    return this.#level;
  }

  setLevel(raised: boolean): void {
    if (raised === this.#level) return;
    this.#level = raised;
    if (this.config !== undefined) this.config.interruptStatus = raised;
    this.sink?.level(raised);
  }

  get msiEnabled(): boolean {
    return this.config?.msiEnabled ?? false;
  }

  msi(vector: number): void {
    // A message is a write to memory like any other.
    if (this.config?.busMaster === true) this.sink?.msi(vector);
  }
}

function widthOf(length: number): RegisterWidth {
  return registerWidths.find((width) => width === length) ?? 1;
}
