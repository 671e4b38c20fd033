import type { DeviceFacts, GroupAnswer } from "../survey/survey.js";
import type { IommuLink, TopologyDevice, TopologyIommu } from "../topology/topology.js";
import { standsForFunctions } from "./pci-host.js";
import type { SurveyIndex } from "./survey-index.js";

/** A device that a plan is made for, with what there is to know of it. */
export interface Subject {
  readonly asked: string;
  readonly device: TopologyDevice;
  /** A PCI host whose functions nobody lists: it stands for them. */
  readonly isForFunctions: boolean;
  /** The links that count for its DMA. */
  readonly links: readonly IommuLink[];
  /** The IOMMUs that translate for it, as far as is known; of most devices one. */
  readonly iommus: readonly TopologyIommu[];
  readonly facts: DeviceFacts | undefined;
  /** What the kernel said of its group. */
  readonly answer: GroupAnswer | undefined;
}

/** Looks up what belongs to a device. */
export function subjectOf(asked: string, device: TopologyDevice, index: SurveyIndex): Subject {
  const isForFunctions = standsForFunctions(device);
  const links = linksOf(device, isForFunctions);
  const used = links.filter((link) => link.used === true);
  // Where nobody can tell which, all of them may be in its way.
  const counting = used.length > 0 ? used : links.filter((link) => link.used === undefined);
  const paths = [...new Set(counting.map(({ iommu }) => iommu))];
  return {
    asked,
    device,
    isForFunctions,
    links,
    iommus: paths.flatMap((path) => index.iommu(path) ?? []),
    facts: index.kernel?.devices.get(device.path),
    answer: typeof device.group === "number" ? index.answer(device.group) : undefined,
  };
}

/** PCI functions, and hosts that stand for them. */
export function isForPci({ device, isForFunctions }: Subject): boolean {
  return device.bus === "pci" || isForFunctions;
}

/** A bus has links for what is on it, and some have links of their own as well. */
function linksOf({ links, isBus }: TopologyDevice, isForFunctions: boolean): readonly IommuLink[] {
  if (!isBus || isForFunctions) return isBus ? links.filter(isForOthers) : links;
  return links.filter((link) => !isForOthers(link));
}

function isForOthers({ via, ids }: IommuLink): boolean {
  return via !== "iommus" && via !== "mmu-masters" && via !== "sysfs" && (via !== "iort" || ids.length > 0);
}

/**
 * What containers go by, as the strategies do: the IOMMU, and where the kernel does not name it the group. Several of one
 * device count as one: Linux gives them one page table.
 */
export function iommuKey({ device, iommus }: Subject): string {
  return iommus[0]?.name ?? (typeof device.group === "number" ? `the IOMMU of group ${device.group}` : "no IOMMU");
}

/** What its devices may be behind: of a host that stands for functions all that its map names. */
export function possibleKeys(subject: Subject): readonly string[] {
  const names = subject.iommus.map(({ name }) => name);
  return subject.isForFunctions && names.length > 1 ? names : [iommuKey(subject)];
}

/** The keys of all, each once, in order. @returns as many as `mirrored` has containers */
export function iommuKeys(subjects: readonly Subject[]): readonly string[] {
  const groups = new Map<number, string>();
  const keys = subjects.flatMap((subject) => {
    const { group } = subject.device;
    if (typeof group !== "number") return possibleKeys(subject);
    const key = groups.get(group) ?? iommuKey(subject);
    groups.set(group, key);
    return [key];
  });
  return [...new Set(keys)];
}
