import { baseName, listNames, readAttribute, readLinkName, type SysfsSource } from "../../machine/sysfs.js";
import { type IommuLink, type TopologyDevice, topologyDevice } from "../topology.js";
import { nodePath, resolveLink } from "./links.js";
import { readUevent } from "./uevent.js";

/** The buses whose devices are all listed; of others those that are in a group. */
const BUSES = ["pci", "platform"] as const;

/**
 * The devices that the kernel has on PCI and platform buses.
 * @param groups the group of each device that is in one, by its name; empty where no groups can be listed
 */
export function sysfsDevices(source: SysfsSource, groups: ReadonlyMap<string, number>): readonly TopologyDevice[] {
  return BUSES.flatMap((bus) =>
    (listNames(source, `/sys/bus/${bus}/devices`) ?? []).flatMap((name) => {
      const place = { bus, name, link: `/sys/bus/${bus}/devices/${name}` };
      return (
        (groups.size > 0 ? quickDevice(source, place, groups.get(name)) : undefined) ?? readDevice(source, place) ?? []
      );
    }),
  );
}

/** What only a device in a group has is not asked of others, so that its folder need not be listed. */
function quickDevice(source: SysfsSource, place: DevicePlace, group: number | undefined): TopologyDevice | undefined {
  const { bus, name, link } = place;
  const uevent = readUevent(source, link, bus);
  if (uevent === undefined) return undefined;
  const { driver, pci, node, compatible, isAcpi } = uevent;
  const iommu = group === undefined ? undefined : readLinkName(source, `${link}/iommu`);
  return topologyDevice({
    path: link,
    paths: { sysfs: link, ...(node === undefined ? {} : { "device-tree": node }) },
    name,
    bus,
    isBus: false,
    links: linksTo(iommu),
    enabled: true,
    driver,
    // Without an IOMMU it may be a namesake of the member's, on another bus.
    group: group === undefined || iommu !== undefined ? (group ?? null) : ownGroup(source, link),
    compatible,
    // An IORT names what is in front of an SMMU by it (drivers/acpi/arm64/iort.c, iort_match_node_callback).
    acpi: iommu !== undefined && isAcpi ? readAttribute(source, `${link}/firmware_node/path`) : undefined,
    pci,
    ...(bus === "pci" ? placeOnPci(name, resolveLink(source, link) ?? link) : {}),
  });
}

function ownGroup(source: SysfsSource, link: string): number | null {
  const group = readLinkName(source, `${link}/iommu_group`);
  return group === undefined ? null : Number(group);
}

/** The kernel connects a device with one IOMMU, whatever firmware lists. */
function linksTo(iommu: string | undefined): readonly IommuLink[] {
  return iommu === undefined ? [] : [{ iommu: `/sys/class/iommu/${iommu}`, ids: [], used: true, via: "sysfs" }];
}

/** @param home the device's directory, no link */
function placeOnPci(name: string, home: string): Pick<TopologyDevice, "domain" | "requesterId" | "host"> {
  const [, domain, bus, device, fn] = /^([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$/.exec(name) ?? [];
  const [, host] = /\/([^/]+)\/pci[0-9a-f]{4,8}:[0-9a-f]{2}\//.exec(home) ?? [];
  const isNamed = bus !== undefined && device !== undefined;
  return {
    domain: isNamed ? Number.parseInt(domain ?? "0", 16) : undefined,
    requesterId: isNamed
      ? (Number.parseInt(bus, 16) << 8) | (Number.parseInt(device, 16) << 3) | Number(fn)
      : undefined,
    // Below /sys/devices itself when the host came from ACPI, below its platform device when it came from a tree.
    host: host === "devices" ? undefined : host,
  };
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
      links: linksTo(this.#linkName("iommu")),
      enabled: true,
      driver: this.#linkName("driver") ?? null,
      group: group === undefined ? null : Number(group),
      compatible: this.#compatible(),
      ...(bus === "pci" ? { pci: this.#pciIds(), ...placeOnPci(name, home) } : {}),
    });
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
