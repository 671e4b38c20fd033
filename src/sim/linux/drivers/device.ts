import type { DeviceModel, DmaPort, InterruptPins, RegisterWidth } from "../../hw/device-model.js";
import { registerWidths } from "../../hw/device-model.js";
import type { PciConfig } from "../../hw/pci-config.js";
import type { DeviceDescription, ReservedDescription } from "../description.js";
import type { Iommu, IommuDomain } from "../iommu/iommu.js";
import type { IommuGroup } from "../iommu/iommu-group.js";
import type { MsiCookie } from "../iommu/msi-cookie.js";
import type { InterruptTranslationService } from "../irq/its.js";
import { refusalOf, refuse } from "../refusal.js";
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
  /** A wire changed. @param wire 0 but for a platform device's further interrupts */
  level(raised: boolean, wire: number): void;
  msi(vector: number): void;
}

/** How a device's messages come to the interrupt controller. */
export interface MessageWiring {
  readonly its: InterruptTranslationService;
  /** What the interrupt controller knows the device by. */
  readonly deviceId: number;
  /** The device's way to memory, which its messages take, too. */
  readonly dma: DmaPort;
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
  readonly #messages: MessageWiring;
  /** Where its messages go: MSI's address register. */
  #doorbell = 0;
  #model: DeviceModel | undefined;
  /** The wires that are high. */
  readonly #raised = new Set<number>();

  constructor(
    description: DeviceDescription,
    parts: {
      readonly iommu: Iommu | undefined;
      readonly streamId: number;
      readonly frames: readonly Frame[];
      readonly config: PciConfig | undefined;
      readonly messages: MessageWiring;
    },
  ) {
    this.description = description;
    this.iommu = parts.iommu;
    this.streamId = parts.streamId;
    this.frames = parts.frames;
    this.config = parts.config;
    this.#messages = parts.messages;
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

  /**
   * Sets up MSI (pci_alloc_irq_vectors): the interrupt controller knows the messages, the device where to send them. Behind
   * an IOMMU that is an IOVA of the domain that the kernel believes it in. Refuses with ENOMEM where the domain cannot map
   * the doorbell.
   */
  enableMsi(): void {
    const { its, deviceId } = this.#messages;
    const domain = this.group?.domain;
    // iommu_dma_prepare_msi: without a cookie the address is as the interrupt controller has it.
    this.#doorbell = domain?.msiCookie === undefined ? its.doorbell : reach(domain, domain.msiCookie, its.doorbell);
    its.route(deviceId, (event) => this.sink?.msi(event));
    if (this.config !== undefined) this.config.msiEnabled = true;
  }

  disableMsi(): void {
    this.#messages.its.route(this.#messages.deviceId, undefined);
    if (this.config !== undefined) this.config.msiEnabled = false;
  }

  // InterruptPins, for the model

  get wires(): number | undefined {
    return this.description.bus === "platform" ? (this.description.interrupts?.length ?? 0) : undefined;
  }

  /** INTx, or a platform device's first wire. */
  get level(): boolean {
    return this.isRaised(0);
  }

  isRaised(wire: number): boolean {
    return this.#raised.has(wire);
  }

  setLevel(raised: boolean, wire = 0): void {
    if (raised === this.#raised.has(wire)) return;
    if (raised) this.#raised.add(wire);
    else this.#raised.delete(wire);
    if (this.config !== undefined) this.config.interruptStatus = raised;
    this.sink?.level(raised, wire);
  }

  get msiEnabled(): boolean {
    return this.config?.msiEnabled ?? false;
  }

  /** A message is a write to memory like any other. */
  msi(vector: number): void {
    const message = new Uint8Array(4);
    new DataView(message.buffer).setUint32(0, vector, true);
    if (this.msiEnabled) this.#messages.dma.write(BigInt(this.#doorbell), message);
  }
}

/** dma-iommu.c answers whatever went wrong with ENOMEM. */
function reach(domain: IommuDomain, cookie: MsiCookie, doorbell: number): number {
  let iova = 0;
  const refusal = refusalOf(() => {
    iova = cookie.reach(domain, doorbell);
  });
  return refusal === undefined ? iova : refuse("ENOMEM", "the doorbell cannot be mapped");
}

function widthOf(length: number): RegisterWidth {
  return registerWidths.find((width) => width === length) ?? 1;
}
