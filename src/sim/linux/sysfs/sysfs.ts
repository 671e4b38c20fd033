import type { Bus } from "../drivers/bus.js";
import type { KernelDevice } from "../drivers/device.js";
import type { Driver } from "../drivers/driver.js";
import type { Iommu } from "../iommu/iommu.js";
import type { IommuGroup } from "../iommu/iommu-group.js";
import type { IommufdParameters } from "../iommufd/context.js";
import type { HugePagePool } from "../mm/huge-pages.js";
import { refuse } from "../refusal.js";
import type { Type1Parameters } from "../type1/state.js";
import type { PlatformParameters, Vfio, VfioParameters } from "../vfio/vfio.js";
import { deviceNode, deviceTreeNodes, vfioDevicePath } from "./device-nodes.js";
import { devicePath, iommuPath, pciChain, VFIO_CLASS } from "./paths.js";
import { attribute, directory, type Entries, line, link, type Node, relative, trigger } from "./tree.js";

/** What sysfs shows. */
export interface SysfsContent {
  readonly buses: readonly Bus[];
  readonly devices: readonly KernelDevice[];
  readonly groups: ReadonlyMap<number, IommuGroup>;
  readonly iommus: readonly Iommu[];
  readonly pools: readonly HugePagePool[];
  readonly vfio: Vfio;
  readonly showVfioDevices: boolean;
  /** Undefined where VFIO is built without containers of its own. */
  readonly type1Parameters: Type1Parameters | undefined;
  readonly platformParameters: PlatformParameters;
  readonly vfioParameters: VfioParameters;
  /** Undefined where there is no such module. */
  readonly iommufdParameters: IommufdParameters | undefined;
}

/** `/sys`. */
export function sysfs(content: SysfsContent): Node {
  return directory({
    bus: directory(Object.fromEntries(content.buses.map((bus) => [bus.name, busNode(bus)]))),
    class: directory({ iommu: directory(iommuLinks(content.iommus)), "vfio-dev": vfioClass(content) }),
    devices: directory(deviceTree(content)),
    firmware: directory({ devicetree: directory({ base: directory(deviceTreeNodes(content.devices)) }) }),
    kernel: directory({
      iommu_groups: groupNodes(content),
      mm: directory({
        hugepages: directory(entriesOf(content.pools, poolNode)),
        transparent_hugepage: directory({ enabled: attribute(() => "always [madvise] never") }),
      }),
    }),
    module: moduleNode(content),
  });
}

function entriesOf<T>(items: Iterable<T>, entry: (item: T) => readonly [string, Node]): Entries {
  return Object.fromEntries(Array.from(items, entry));
}

function busNode(bus: Bus): Node {
  const links = (devices: readonly KernelDevice[], from: string): Entries =>
    entriesOf(devices, (device) => [device.name, link(relative(from, devicePath(device)))]);
  const driverNode = (driver: Driver): Node =>
    directory(() => ({
      ...links(
        bus.devices.filter((device) => device.driver === driver),
        `/sys/bus/${bus.name}/drivers/${driver.name}`,
      ),
      bind: trigger((text) => bus.bind(driver, line(text))),
      unbind: trigger((text) => bus.unbind(driver, line(text))),
    }));
  return directory({
    devices: directory(links(bus.devices, `/sys/bus/${bus.name}/devices`)),
    drivers: directory(entriesOf(bus.drivers, (driver) => [driver.name, driverNode(driver)])),
    drivers_probe: trigger((text) => bus.probe(line(text))),
  });
}

function iommuLinks(iommus: readonly Iommu[]): Entries {
  return entriesOf(iommus, (iommu) => [iommu.name, link(relative("/sys/class/iommu", iommuPath(iommu)))]);
}

/** `/sys/class/vfio-dev`: what is on a VFIO driver. */
function vfioClass({ devices, vfio, showVfioDevices }: SysfsContent): Node | undefined {
  if (!showVfioDevices) return undefined;
  const entry = (device: KernelDevice): [string, Node][] => {
    const path = vfioDevicePath(device, vfio);
    return path === undefined ? [] : [[path.slice(path.lastIndexOf("/") + 1), link(relative(VFIO_CLASS, path))]];
  };
  return directory(() => Object.fromEntries(devices.flatMap(entry)));
}

/** `/sys/devices`: root buses with what is behind them, and the platform bus. */
function deviceTree(content: SysfsContent): Entries {
  const chains = content.devices.map((device) => ({ device, chain: pciChain(device.description) }));
  const pci = chains.filter(({ device }) => device.bus === "pci");
  const below = (prefix: readonly string[]): Entries => {
    const inside = pci.filter(
      ({ chain }) => chain.length === prefix.length + 1 && prefix.every((name, at) => chain[at] === name),
    );
    return entriesOf(inside, ({ device, chain }) => [
      device.name,
      deviceNode(device, content.vfio, content.showVfioDevices, below(chain)),
    ]);
  };
  const roots = new Set(pci.map(({ chain }) => chain[0] ?? ""));
  return { ...entriesOf(roots, (root) => [root, directory(below([root]))]), platform: platformNode(content) };
}

function platformNode(content: SysfsContent): Node {
  const devices = content.devices.filter(({ bus }) => bus === "platform");
  return directory({
    ...entriesOf(devices, (device) => [device.name, deviceNode(device, content.vfio, content.showVfioDevices, {})]),
    ...entriesOf(content.iommus, (iommu) => [iommu.device, smmuNode(iommu, content.devices)]),
  });
}

function smmuNode(iommu: Iommu, devices: readonly KernelDevice[]): Node {
  const behind = devices.filter((device) => device.iommu === iommu);
  const from = `${iommuPath(iommu)}/devices`;
  const links = entriesOf(behind, (device) => [device.name, link(relative(from, devicePath(device)))]);
  return directory({ iommu: directory({ [iommu.name]: directory({ devices: directory(links) }) }) });
}

/** VFIO's own for devices without an IOMMU come and go. */
function groupNodes(content: SysfsContent): Node {
  const entry = (group: IommuGroup): [string, Node] => [String(group.id), groupNode(group, content)];
  const lasting = entriesOf(content.groups.values(), entry);
  return directory(() => ({ ...lasting, ...entriesOf(content.vfio.noiommuGroups, entry) }));
}

function groupNode(group: IommuGroup, { devices }: SysfsContent): Node {
  const from = `/sys/kernel/iommu_groups/${group.id}/devices`;
  const members = devices.filter((device) => device.group === group);
  return directory({
    devices: directory(entriesOf(members, (device) => [device.name, link(relative(from, devicePath(device)))])),
    name: group.members.length === 0 ? attribute(() => "vfio-noiommu") : undefined,
    reserved_regions: { kind: "file", read: () => regionLines(group) },
    // Changing the default domain is refused while somebody owns the group, and not simulated otherwise.
    type: attribute(
      () => (group.members.length === 0 ? "unknown" : "DMA"),
      () => refuse(group.isOwned ? "EPERM" : "ENOSYS"),
    ),
  });
}

function regionLines(group: IommuGroup): string {
  const hex = (value: number) => `0x${value.toString(16).padStart(16, "0")}`;
  return group
    .reservedRegions()
    .map(({ start, end, type }) => `${hex(start)} ${hex(end)} ${type}\n`)
    .join("");
}

function poolNode(pool: HugePagePool): readonly [string, Node] {
  const entries = {
    nr_hugepages: attribute(
      () => pool.total,
      (text) => pool.resize(wholeNumber(text)),
    ),
    free_hugepages: attribute(() => pool.free),
  };
  return [`hugepages-${pool.pageSize / 1024}kB`, directory(entries)];
}

/** Of drivers/vfio/pci/vfio_pci.c; here they cannot be switched on. */
const PCI_PARAMETERS = ["nointxmask", "disable_idle_d3", "enable_sriov", "disable_denylist"];

function moduleNode({ type1Parameters, platformParameters, iommufdParameters, vfioParameters }: SysfsContent): Node {
  const parameters = (entries: Entries, version?: string): Node =>
    directory({
      parameters: directory(entries),
      version: version === undefined ? undefined : attribute(() => version),
    });
  const yesNo = (value: boolean) => (value ? "Y" : "N");
  const unsafeInterrupts = (module: { allowUnsafeInterrupts: boolean }) =>
    attribute(
      () => yesNo(module.allowUnsafeInterrupts),
      (text) => {
        module.allowUnsafeInterrupts = boolean(text);
      },
    );
  return directory({
    vfio: parameters(
      {
        enable_unsafe_noiommu_mode: attribute(
          () => yesNo(vfioParameters.unsafeNoiommu),
          (text) => {
            vfioParameters.unsafeNoiommu = boolean(text);
          },
        ),
      },
      "0.3",
    ),
    vfio_iommu_type1:
      type1Parameters &&
      parameters(
        {
          allow_unsafe_interrupts: unsafeInterrupts(type1Parameters),
          dma_entry_limit: attribute(
            () => type1Parameters.dmaEntryLimit,
            (text) => {
              type1Parameters.dmaEntryLimit = wholeNumber(text);
            },
          ),
        },
        "0.2",
      ),
    iommufd: iommufdParameters && parameters({ allow_unsafe_interrupts: unsafeInterrupts(iommufdParameters) }),
    vfio_pci: parameters(Object.fromEntries(PCI_PARAMETERS.map((name) => [name, attribute(() => "N")]))),
    vfio_platform: parameters({ reset_required: attribute(() => yesNo(platformParameters.resetRequired)) }, "0.10"),
    vfio_platform_base: directory({ version: attribute(() => "0.10") }),
  });
}

/** kstrtobool, of the letters and digits people write. */
function boolean(text: string): boolean {
  if (/^[yY1]/.test(text)) return true;
  return /^[nN0]/.test(text) ? false : refuse("EINVAL");
}

function wholeNumber(text: string): number {
  return /^\d+$/.test(line(text)) ? Number(line(text)) : refuse("EINVAL");
}
