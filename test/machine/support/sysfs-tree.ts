import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";

/** A device to be laid out as Linux does. */
export interface DeviceSpec {
  readonly bus: "pci" | "platform";
  readonly name: string;
  /** Its directory's parent below /sys/devices. */
  readonly parent: string;
  readonly driver?: string;
  readonly group?: number;
  readonly iommu?: string;
  readonly override?: string;
  readonly attributes?: Readonly<Record<string, string>>;
  /** Its node's `compatible`, NUL-separated. */
  readonly compatible?: string;
}

/** A sysfs and a proc in a folder of the host's, with real links. */
export class SysfsTree implements Disposable {
  readonly root: string = fs.mkdtempSync(path.join(os.tmpdir(), "iospan-sysfs-"));

  file(name: string, text: string): void {
    fs.mkdirSync(path.dirname(this.host(name)), { recursive: true });
    fs.writeFileSync(this.host(name), text);
  }

  directory(name: string): void {
    fs.mkdirSync(this.host(name), { recursive: true });
  }

  /** A relative link, as sysfs has them. */
  link(name: string, target: string): void {
    fs.mkdirSync(path.dirname(this.host(name)), { recursive: true });
    fs.symlinkSync(path.posix.relative(path.posix.dirname(name), target), this.host(name));
  }

  /** A link whose target is kept to the letter, as /proc/PID/fd has them. */
  literalLink(name: string, target: string): void {
    fs.mkdirSync(path.dirname(this.host(name)), { recursive: true });
    fs.symlinkSync(target, this.host(name));
  }

  remove(name: string): void {
    fs.rmSync(this.host(name), { recursive: true, force: true });
  }

  driver(bus: string, name: string): void {
    this.directory(`/sys/bus/${bus}/drivers/${name}`);
  }

  iommu(name: string, parent: string): void {
    this.directory(`/sys/devices/${parent}/iommu/${name}`);
    this.link(`/sys/class/iommu/${name}`, `/sys/devices/${parent}/iommu/${name}`);
  }

  group(number: number, reserved: string): void {
    this.file(`/sys/kernel/iommu_groups/${number}/type`, "DMA-FQ\n");
    this.file(`/sys/kernel/iommu_groups/${number}/reserved_regions`, reserved);
    this.directory(`/sys/kernel/iommu_groups/${number}/devices`);
  }

  device(spec: DeviceSpec): void {
    const home = `/sys/devices/${spec.parent}/${spec.name}`;
    this.link(`/sys/bus/${spec.bus}/devices/${spec.name}`, home);
    this.file(`${home}/driver_override`, `${spec.override ?? "(null)"}\n`);
    for (const [name, text] of Object.entries(spec.attributes ?? {})) this.file(`${home}/${name}`, `${text}\n`);
    this.link(`${home}/subsystem`, `/sys/bus/${spec.bus}`);
    if (spec.driver !== undefined) this.link(`${home}/driver`, `/sys/bus/${spec.bus}/drivers/${spec.driver}`);
    if (spec.iommu !== undefined) this.#linkToTarget(`${home}/iommu`, `/sys/class/iommu/${spec.iommu}`);
    if (spec.group !== undefined) this.#joinGroup(home, spec.name, spec.group);
    if (spec.compatible !== undefined) {
      this.file(`/sys/firmware/devicetree/base/${spec.name}/compatible`, spec.compatible);
      this.link(`${home}/of_node`, `/sys/firmware/devicetree/base/${spec.name}`);
    }
  }

  process(pid: number, command: string, fds: Readonly<Record<number, string>>): void {
    this.file(`/proc/${pid}/comm`, `${command}\n`);
    for (const [fd, target] of Object.entries(fds)) this.literalLink(`/proc/${pid}/fd/${fd}`, target);
  }

  /** Every file's text and every link's target below /sys/devices, where all that binding changes is kept, by name. */
  snapshot(): Record<string, string> {
    const entries = fs.readdirSync(this.host("/sys/devices"), { recursive: true, withFileTypes: true });
    const described = entries.map((entry) => {
      const name = path.join(entry.parentPath, entry.name);
      const text = entry.isSymbolicLink()
        ? `-> ${fs.readlinkSync(name)}`
        : entry.isFile()
          ? fs.readFileSync(name, "utf8")
          : "/";
      return [name.slice(this.root.length), text] as const;
    });
    return Object.fromEntries(described);
  }

  host(name: string): string {
    return path.join(this.root, name);
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.root, { recursive: true, force: true });
  }

  /** The kernel links to the IOMMU itself, not to its name in the class. */
  #linkToTarget(name: string, classLink: string): void {
    const target = fs.realpathSync(this.host(classLink)).slice(fs.realpathSync(this.root).length);
    this.link(name, target);
  }

  #joinGroup(home: string, name: string, group: number): void {
    this.link(`${home}/iommu_group`, `/sys/kernel/iommu_groups/${group}`);
    this.link(`/sys/kernel/iommu_groups/${group}/devices/${name}`, home);
  }
}

export const SMMU0 = "smmu3.0x000000000c000000";
export const SMMU1 = "smmu3.0x000000000c020000";

const nvme = { vendor: "0x1b36", device: "0x0010", class: "0x010802", modalias: "pci:v00001B36d00000010sv00001AF4" };
const edu = { vendor: "0x1234", device: "0x11e8", class: "0x00ff00", modalias: "pci:v00001234d000011E8" };
const bridge = { vendor: "0x1b36", device: "0x000c", class: "0x060400", modalias: "pci:v00001B36d0000000C" };
const msi = "0x0000000008000000 0x00000000080fffff msi\n";

/**
 * A board with two SMMUs: behind the first an NVMe disk with a companion function and the bridge above them in one group, an
 * `edu` with no driver, and one that VFIO has; behind the second a platform device and an NVMe disk; and one device behind none.
 */
export function twoSmmuBoard(): SysfsTree {
  const tree = new SysfsTree();
  for (const name of ["vfio-pci", "nvme", "ahci", "pcieport", "pci-stub"]) tree.driver("pci", name);
  for (const name of ["vfio-platform", "dma-port-driver"]) tree.driver("platform", name);
  tree.iommu(SMMU0, "platform/c000000.smmuv3");
  tree.iommu(SMMU1, "platform/c020000.smmuv3");
  for (const group of [5, 6, 7, 8, 9]) tree.group(group, msi);
  const port = "pci0000:00/0000:00:02.0";
  const first = { bus: "pci", iommu: SMMU0 } as const;
  const second = { iommu: SMMU1 } as const;
  tree.device({
    ...first,
    name: "0000:00:02.0",
    parent: "pci0000:00",
    driver: "pcieport",
    group: 5,
    attributes: bridge,
  });
  tree.device({ ...first, name: "0000:01:00.0", parent: port, driver: "nvme", group: 5, attributes: nvme });
  tree.device({ ...first, name: "0000:01:00.1", parent: port, driver: "ahci", group: 5, attributes: nvme });
  tree.device({ ...first, name: "0000:02:00.0", parent: port, group: 6, attributes: edu });
  tree.device({
    ...first,
    name: "0000:0a:00.0",
    parent: port,
    driver: "vfio-pci",
    group: 9,
    override: "vfio-pci",
    attributes: edu,
  });
  tree.directory(`/sys/devices/${port}/0000:0a:00.0/vfio-dev/vfio0`);
  tree.device({
    ...second,
    bus: "pci",
    name: "0000:21:00.0",
    parent: "pci0000:20",
    driver: "nvme",
    group: 8,
    attributes: nvme,
  });
  tree.device({
    ...second,
    bus: "platform",
    name: "9030000.dma-port",
    parent: "platform",
    driver: "dma-port-driver",
    group: 7,
    compatible: "example,dual-path-dma-port\0example,dma\0",
    attributes: { modalias: "of:Ndma-portT(null)Cexample,dual-path-dma-port" },
  });
  tree.device({ bus: "platform", name: "9000000.pl011", parent: "platform" });
  tree.directory("/sys/devices/platform/9000000.pl011/power");
  return tree;
}
