import { busTypes } from "../machine/machine.js";
import type { FileStatus } from "../machine/machine-files.js";
import type { OptionalFiles } from "../machine/optional-files.js";
import { type VfioFacts, vfioModules } from "./survey.js";

const MODULES = "/sys/module";
/** Drivers of IOMMUs whose parameters change what VFIO can do. */
const IOMMU_MODULES = ["arm_smmu", "arm_smmu_v3"];

/** What there is of VFIO and iommufd. */
export function readVfioFacts(files: OptionalFiles): VfioFacts {
  const modules = files.names(MODULES);
  return {
    drivers: readDrivers(files),
    modules: readModules(modules),
    parameters: readParameters(files, modules ?? []),
    nodes: readNodes(files),
    containerLink: files.target("/dev/vfio/vfio"),
  };
}

function readDrivers(files: OptionalFiles): VfioFacts["drivers"] {
  const buses = files.names("/sys/bus");
  const present = busTypes.filter((bus) => buses?.includes(bus));
  const lists = present.map((bus) => ({ bus, names: files.names(`/sys/bus/${bus}/drivers`) }));
  if (buses === undefined || lists.some(({ names }) => names === undefined)) return undefined;
  return lists.flatMap(({ bus, names = [] }) => names.filter(isVfioDriver).map((name) => ({ bus, name })));
}

/** VFIO's own, and the variants for one kind of device: `mlx5_vfio_pci`. */
function isVfioDriver(name: string): boolean {
  return name.includes("vfio");
}

/**
 * What is built in is there, too: each of these has a parameter or a version, for which the kernel makes a folder (kernel/params.c,
 * param_sysfs_builtin and version_sysfs_builtin). So a folder that is missing proves that there is no such code.
 */
function readModules(present: readonly string[] | undefined): VfioFacts["modules"] {
  const entries = vfioModules.map((name) => [name, present?.includes(name)] as const);
  return Object.fromEntries(entries) as VfioFacts["modules"];
}

function readParameters(files: OptionalFiles, modules: readonly string[]): VfioFacts["parameters"] {
  const wanted = modules.filter((name) => name.includes("vfio") || name === "iommufd" || IOMMU_MODULES.includes(name));
  const entries = wanted.flatMap((module) =>
    (files.namesOrNone(`${MODULES}/${module}/parameters`) ?? []).flatMap((parameter) => {
      const text = files.text(`${MODULES}/${module}/parameters/${parameter}`);
      return text === undefined ? [] : [[`${module}.${parameter}`, text] as const];
    }),
  );
  return new Map(entries);
}

/** Undefined where there is no /dev to be seen, as in a copy, or where it cannot be listed. */
function readNodes(files: OptionalFiles): VfioFacts["nodes"] {
  const dev = files.names("/dev");
  if (dev === undefined) return undefined;
  const top = files.namesOrNone("/dev/vfio");
  const devices = files.namesOrNone("/dev/vfio/devices");
  if (top === undefined || devices === undefined) return undefined;
  const paths = [
    ...(dev.includes("iommu") ? ["/dev/iommu"] : []),
    ...top.filter((name) => name !== "devices").map((name) => `/dev/vfio/${name}`),
    ...devices.map((name) => `/dev/vfio/devices/${name}`),
  ];
  return new Map(paths.map((path): [string, FileStatus | undefined] => [path, files.status(path)]));
}
