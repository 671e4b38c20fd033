import { baseName, listNames, readAttribute, readLinkName, type SysfsSource } from "../../machine/sysfs.js";
import { type IommuLink, type TopologyDevice, topologyDevice } from "../topology.js";
import { nodePath, resolveLink } from "./links.js";

/** The buses whose devices are all listed; of others those that are in a group. */
const BUSES = ["pci", "platform"] as const;

/** The devices that the kernel has on PCI and platform buses. */
export function sysfsDevices(source: SysfsSource): readonly TopologyDevice[] {
  return BUSES.flatMap((bus) =>
    (listNames(source, `/sys/bus/${bus}/devices`) ?? []).flatMap((name) => {
      const link = `/sys/bus/${bus}/devices/${name}`;
      return readDevice(source, { bus, name, link }) ?? [];
    }),
  );
}

const MODALIAS =
  /^pci:v([0-9A-F]{8})d([0-9A-F]{8})sv[0-9A-F]{8}sd[0-9A-F]{8}bc([0-9A-F]{2})sc([0-9A-F]{2})i([0-9A-F]{2})$/;
const fromHex = (digits: string) => Number.parseInt(digits, 16);

/** Where a device is found. */
export interface DevicePlace {
  readonly bus: string;
  readonly name: string;
  /** A link to the device's directory. */
  readonly link: string;
}

/** A member of a group that is on none of these buses (fsl-mc, host1x, …); undefined for one that is, or is gone. */
export function otherDevice(source: SysfsSource, link: string): TopologyDevice | undefined {
  const bus = readLinkName(source, `${link}/subsystem`) ?? "unknown";
  return BUSES.some((each) => each === bus) ? undefined : readDevice(source, { bus, name: baseName(link), link });
}

function readDevice(source: SysfsSource, place: DevicePlace): TopologyDevice | undefined {
  // What is not listed is not asked for: refusals cost more than the list.
  const names = listNames(source, place.link);
  if (names === undefined) return undefined;
  return new DeviceReader(source, place, names).read();
}

class DeviceReader {
  readonly #source: SysfsSource;
  readonly #place: DevicePlace;
  readonly #names: readonly string[];

  constructor(source: SysfsSource, place: DevicePlace, names: readonly string[]) {
    this.#source = source;
    this.#place = place;
    this.#names = names;
  }

  read(): TopologyDevice {
    const { bus, name, link } = this.#place;
    const group = this.#linkName("iommu_group");
    const home = this.#names.includes("of_node") || bus === "pci" ? (resolveLink(this.#source, link) ?? link) : link;
    const node = this.#names.includes("of_node") ? nodePath(this.#source, home) : undefined;
    return topologyDevice({
      path: link,
      paths: { sysfs: link, ...(node === undefined ? {} : { "device-tree": node }) },
      name,
      bus,
      isBus: false,
      links: this.#links(),
      enabled: true,
      driver: this.#linkName("driver") ?? null,
      group: group === undefined ? null : Number(group),
      compatible: this.#compatible(),
      ...(bus === "pci" ? this.#pci(home) : {}),
    });
  }

  /** The kernel connects a device with one IOMMU, whatever firmware lists. */
  #links(): readonly IommuLink[] {
    const name = this.#linkName("iommu");
    return name === undefined ? [] : [{ iommu: `/sys/class/iommu/${name}`, ids: [], used: true, via: "sysfs" }];
  }

  #pci(home: string): Partial<TopologyDevice> {
    const [, domain, bus, device, fn] =
      /^([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$/.exec(this.#place.name) ?? [];
    const [, host] = /\/([^/]+)\/pci[0-9a-f]{4,8}:[0-9a-f]{2}\//.exec(home) ?? [];
    return {
      pci: this.#pciIds(),
      ...(bus === undefined || device === undefined
        ? {}
        : {
            domain: Number.parseInt(domain ?? "0", 16),
            requesterId: (Number.parseInt(bus, 16) << 8) | (Number.parseInt(device, 16) << 3) | Number(fn),
          }),
      // Below /sys/devices itself when the host came from ACPI, below its platform device when it came from a tree.
      host: host === "devices" ? undefined : host,
    };
  }

  /** One file for three, on machines with thousands of functions; `pci:v00008086d…sv…sd…bc02sc00i00`. */
  #pciIds(): TopologyDevice["pci"] {
    const text = this.#names.includes("modalias")
      ? readAttribute(this.#source, `${this.#place.link}/modalias`)
      : undefined;
    const [, vendor = "", device = "", ...code] = MODALIAS.exec(text ?? "") ?? [];
    if (code.length > 0) return { vendor: fromHex(vendor), device: fromHex(device), class: fromHex(code.join("")) };
    const [v, d, c] = ["vendor", "device", "class"].map((name) => this.#number(name));
    return v === undefined || d === undefined ? undefined : { vendor: v, device: d, class: c };
  }

  #number(name: string): number | undefined {
    const text = this.#names.includes(name) ? readAttribute(this.#source, `${this.#place.link}/${name}`) : undefined;
    return text === undefined || !/^0x[0-9a-f]+$/.test(text) ? undefined : Number(text);
  }

  #compatible(): readonly string[] {
    if (!this.#names.includes("of_node")) return [];
    const text = readAttribute(this.#source, `${this.#place.link}/of_node/compatible`) ?? "";
    return text.split("\0").filter((each) => each !== "");
  }

  #linkName(name: string): string | undefined {
    return this.#names.includes(name) ? readLinkName(this.#source, `${this.#place.link}/${name}`) : undefined;
  }
}
