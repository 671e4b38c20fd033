import { readFileSync } from "node:fs";
import { parseSource } from "../../../src/devicetree/source.js";
import { type Chip, readChip } from "../../../src/sim/chip/chip.js";
import type { UserDevices } from "../../../src/sim/chip/device-models.js";
import type { DeviceDescription } from "../../../src/sim/linux/description.js";

/** A chip of the package's, by name. */
export function chipSource(name: string): string {
  return readFileSync(new URL(`../../../chips/${name}.dts`, import.meta.url), "utf8");
}

/** The text, changed in places that must be there. */
export function edited(source: string, ...edits: readonly (readonly [from: string, to: string])[]): string {
  return edits.reduce((text, [from, to]) => {
    if (!text.includes(from)) throw new Error(`the source has no ${from}`);
    return text.replace(from, to);
  }, source);
}

/** Memory, an interrupt controller, an SMMU; what is put into `body` may refer to them. */
export function board(body: string, smmu = ""): string {
  return `/dts-v1/; / {
    #address-cells = <2>; #size-cells = <2>; interrupt-parent = <&gic>;
    memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x40000000>; };
    gic: interrupt-controller@8000000 { compatible = "arm,gic-v3"; #interrupt-cells = <3>; interrupt-controller;
      reg = <0 0x8000000 0 0x10000>; };
    its: msi-controller@8080000 { compatible = "arm,gic-v3-its"; #msi-cells = <1>; msi-controller;
      reg = <0 0x8080000 0 0x20000>; };
    smmu: iommu@c000000 { compatible = "arm,smmu-v3"; reg = <0 0xc000000 0 0x20000>; #iommu-cells = <1>; ${smmu} };
    ${body} };`;
}

/** A PCIe host on the {@link board}. */
export function host(functions: string, properties = "iommu-map = <0 &smmu 0 0x10000>;"): string {
  return board(`pcie@4010000000 { compatible = "pci-host-ecam-generic"; device_type = "pci";
    #address-cells = <3>; #size-cells = <2>; reg = <0x40 0x10000000 0 0x10000000>;
    ranges = <0x02000000 0 0x10000000 0 0x10000000 0 0x1000000>; ${properties} ${functions} };`);
}

/** What a bridge's node begins with. */
export const BRIDGE =
  'device_type = "pci"; compatible = "pci1b36,000c"; #address-cells = <3>; #size-cells = <2>; ranges;';

export function read(source: string, devices?: UserDevices): Chip {
  return readChip(parseSource(source), devices);
}

export function deviceOf(chip: Chip, name: string): DeviceDescription {
  const found = chip.devices.find(({ description }) => description.name === name);
  if (found !== undefined) return found.description;
  throw new Error(`no ${name} among ${chip.devices.map(({ description }) => description.name).join(", ")}`);
}
