import { attachesNowhere } from "../space/strategies/attach-regression.js";
import type { Finding } from "../topology/topology.js";
import type { Companion } from "./companions.js";
import { allowsUnsafe, isIsolated } from "./isolation.js";
import type { PlannedRanges, PlanTrap } from "./plan.js";
import { hasResetHandler } from "./platform-reset.js";
import { inWords, type Situation } from "./situation.js";
import { isForPci, type Subject } from "./subject.js";
import { grouped, isOnVfio, type SurveyIndex } from "./survey-index.js";

/** Findings that are looked at here per device. */
const OWN_WORDS: readonly string[] = ["shared-id", "repeated-id"];

/** What surprises about these devices: what the topology's readers found, and what follows for an address space. */
export function findTraps(situation: Situation, companions: readonly Companion[]): readonly PlanTrap[] {
  const { index, subjects } = situation;
  const traps = [
    ...subjects.flatMap((subject) => findingsAbout(subject, index)),
    ...subjects.flatMap((subject, at) =>
      situation.judgements[at]?.verdict === "no"
        ? []
        : [...sharers(subject, index), ...resets(subject), ...interrupts(subject, index)],
    ),
    ...assumedIsolation(situation),
    ...groupTraps(subjects, companions),
    ...engineTraps(subjects, index),
    ...silentAttach(situation),
    ...unknownLimits(situation.ranges),
  ];
  const known = new Set<string>();
  return traps.filter(({ id, text }) => !known.has(id + text) && known.add(id + text));
}

function trap(id: string, severity: PlanTrap["severity"], text: string, device?: string): PlanTrap {
  return { id, severity, text, device };
}

function findingsAbout({ device, iommus }: Subject, index: SurveyIndex): readonly PlanTrap[] {
  const paths = [device.path, ...(device.host === undefined ? [] : [device.host]), ...iommus.map(({ path }) => path)];
  return [...new Set(paths)]
    .flatMap((path) => index.findings(path))
    .filter(({ id }) => !OWN_WORDS.includes(id))
    .map(({ id, severity, text }: Finding) => trap(id, severity, text, device.name));
}

/** Their mappings are the same, whoever has them. */
function sharers({ device, iommus }: Subject, index: SurveyIndex): readonly PlanTrap[] {
  const names = index.sharers(device);
  if (names.length === 0) return [];
  const text = `${device.name} shares an ID at ${iommus[0]?.name ?? "its IOMMU"} with ${inWords(names)}, which see the same memory`;
  return [trap("shared-id", "warning", text, device.name)];
}

function resets({ device, facts, isForFunctions }: Subject): readonly PlanTrap[] {
  const { name, bus } = device;
  if (bus === "pci" && facts?.resetMethods === "") {
    return [
      trap("no-reset", "warning", `${name} cannot be reset: what one program leaves in it, the next one finds`, name),
    ];
  }
  if (bus !== "platform" || isForFunctions || hasResetHandler(device) || isOnVfio(device)) return [];
  const text = `Linux comes with no reset for ${name}: VFIO takes it with reset_required=0, and its driver has to stop its DMA`;
  return [trap("no-reset", "note", text, name)];
}

function interrupts(subject: Subject, index: SurveyIndex): readonly PlanTrap[] {
  const { name, bus } = subject.device;
  const isolated = isIsolated(subject, index);
  if (isolated === false) {
    return [
      trap("interrupt-isolation", "warning", `the interrupts of ${name} are not isolated from others' DMA`, name),
    ];
  }
  if (isolated === true || bus !== "platform" || isForPci(subject)) return [];
  const text = `VFIO refuses ${name} (EPERM) unless its interrupts are isolated, on Arm by an msi-parent; nothing read tells`;
  return [trap("interrupt-isolation", "note", text, name)];
}

/** PCI functions are taken for isolated where nobody tells; what that rests on is another thing for each kind of machine. */
function assumedIsolation({ subjects, judgements, index }: Situation): readonly PlanTrap[] {
  if (allowsUnsafe("vfio_iommu_type1", index) && allowsUnsafe("iommufd", index)) return [];
  const assumed = subjects.filter(
    (subject, at) => judgements[at]?.verdict !== "no" && isForPci(subject) && isIsolated(subject, index) === undefined,
  );
  return [...grouped(assumed, (subject) => [isolator(subject)])].map(([by, those]) => {
    const names = inWords(those.map(({ device }) => device.name));
    const text = `VFIO refuses ${names} (EPERM) unless ${by}, as is taken for granted here; nothing read tells`;
    return trap("interrupt-isolation", "note", text, those.length === 1 ? those[0]?.device.name : undefined);
  });
}

/** What keeps a function from others' interrupts (irq_domain flag ISOLATED_MSI: intel, amd, irq-gic-v3-its.c, irq-gic-v5-its.c). */
function isolator({ iommus }: Subject): string {
  const kind = iommus[0]?.kind;
  if (kind === "intel" || kind === "amd") return "interrupts are remapped";
  if (kind === "arm,smmu-v3" || kind === "arm,smmu") return "its interrupts go to an ITS (msi-map)";
  return "its interrupts are isolated, on Arm by an ITS, on x86 by remapping";
}

function groupTraps(subjects: readonly Subject[], companions: readonly Companion[]): readonly PlanTrap[] {
  const groups = [...new Set(companions.map(({ group }) => group))];
  return groups.flatMap((group) => {
    const own = subjects.find(({ device }) => device.group === group)?.device;
    const others = companions.filter((each) => each.group === group && each.driver !== "pcieport");
    if (own === undefined || others.length === 0) return [];
    const names = others.map(({ name }) => name);
    const isAcs =
      own.bus === "pci" &&
      others.some(({ device }) => device.bus === "pci" && slotOf(device.name) !== slotOf(own.name));
    // Functions of one device may lack ACS among themselves, others a bridge above them; or they share an ID by alias (iommu.c,
    // pci_device_group). Which it is sysfs does not tell.
    const why = isAcs
      ? "a bridge above does not keep them apart (ACS), or gives them one ID"
      : "the hardware does not keep them apart";
    const text = `${own.name} is in group ${group} with ${inWords(names)}: ${why}, and all go to VFIO or none`;
    return [trap(isAcs ? "no-acs" : "group-of-several", "note", text, own.name)];
  });
}

/** Functions of one device differ in what follows the point. */
function slotOf(name: string): string {
  return name.replace(/\.[^.]*$/, "");
}

function engineTraps(subjects: readonly Subject[], index: SurveyIndex): readonly PlanTrap[] {
  const named = new Set(subjects.map(({ device }) => device.path));
  const engines = new Set(subjects.flatMap(({ device }) => index.engine(device.path) ?? []));
  return [...engines].map(({ name, interfaces }) => {
    const nameOf = (path: string) => index.device(path)?.name ?? path;
    const missing = interfaces.filter((path) => !named.has(path)).map(nameOf);
    const have = interfaces.filter((path) => named.has(path)).map(nameOf);
    if (missing.length === 0)
      return trap("same-engine", "note", `${inWords(have)} are interfaces of one device, ${name}`);
    return trap("other-interface", "note", `${name} has an interface that was not named: ${inWords(missing)}`, have[0]);
  });
}

function silentAttach({ iommus, index }: Situation): readonly PlanTrap[] {
  const release = index.kernel?.release;
  const smmus = iommus.filter(({ kind }) => kind === "arm,smmu-v3");
  if (release === undefined || smmus.length < 2 || !attachesNowhere(release)) return [];
  const text = `Linux ${release} says that devices behind a second SMMUv3 joined a container or iommufd, and blocks their DMA; 6.15.3 does not`;
  return [trap("silent-attach", "warning", text)];
}

function unknownLimits({ unknown }: PlannedRanges): readonly PlanTrap[] {
  if (unknown.length === 0) return [];
  const text = `which addresses and page sizes ${inWords(unknown)} ${unknown.length === 1 ? "has" : "have"} is told when VFIO has the devices`;
  return [trap("limits-unknown", "note", text)];
}
