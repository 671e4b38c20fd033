import type { KernelFacts } from "../survey/survey.js";
import type { IommuKind } from "../topology/topology.js";
import type { Isolation } from "./isolation.js";
import { isForPci, type Subject } from "./subject.js";

/** drivers/iommu/irq_remapping.c, setup_irqremap and setup_nointremap. */
const SWITCHED_OFF = /(?:^|\s)(intremap=(?:\S*,)?off\S*|nointremap)(?=\s|$)/;

/** What the log says of interrupt remapping on x86: intel/irq_remapping.c, amd/init.c. Each is said once, when Linux starts. */
const REMAPPING: Readonly<Partial<Record<IommuKind, { readonly on: RegExp; readonly off: RegExp }>>> = {
  intel: {
    on: /DMAR-IR: Enabled IRQ remapping in/,
    off: /DMAR-IR: (?:Failed to enable irq remapping|Not enabling interrupt remapping|This system BIOS has enabled interrupt)/,
  },
  amd: { on: /AMD-Vi: Interrupt remapping enabled/, off: /AMD-Vi: Disabling interrupt remapping/ },
};

/** irq-gic-v3-its.c, its_node_init; irq-gic-v5-its.c. */
const ITS = /\bITS \[mem |GICv5 ITS: ITS \S+ enabled/;
/** A unit in front of the ITS that leaves nothing isolated (irq-gic-v3-its.c, its_enable_quirk_socionext_synquacer). */
const PRE_ITS = /Socionext Synquacer pre-ITS/;
/** Frames of plain GICs, which come where there is no ITS alone (irq-gic-v3.c, gic_init_bases; irq-gic-v2m.c). */
const GIC_V2M = /GICv2m: range\s?\[mem /;

/**
 * What the kernel's log and command line tell of the interrupts of a device: of x86 whether all are remapped; of Arm whether
 * there is an ITS, which PCI functions' messages go to, and a platform device's only where firmware says so. Undefined where
 * they tell nothing.
 */
export function isolationInLog(subject: Subject, kernel: KernelFacts | undefined): Isolation | undefined {
  const kind = subject.iommus[0]?.kind;
  if (kernel === undefined) return undefined;
  if (kind === "intel" || kind === "amd") return onX86(kind, kernel);
  return onArm(kernel.log ?? [], isForPci(subject));
}

function onX86(kind: "intel" | "amd", { log = [], commandLine = "" }: KernelFacts): Isolation | undefined {
  const { on, off } = REMAPPING[kind] ?? {};
  const [, word] = SWITCHED_OFF.exec(commandLine) ?? [];
  const refusals = off === undefined ? [] : log.filter((line) => off.test(line));
  const evidence = [...(word === undefined ? [] : [`/proc/cmdline: ${word}`]), ...refusals.slice(-1)];
  if (evidence.length > 0) return { isolated: false, evidence, because: "interrupts are not remapped" };
  return said(on, log, { isolated: true, because: "the log says that interrupts are remapped" });
}

function onArm(log: readonly string[], isPci: boolean): Isolation | undefined {
  const preIts = said(PRE_ITS, log, { isolated: false, because: "a pre-ITS is in front of the ITS" });
  if (preIts !== undefined) return preIts;
  if (log.some((line) => ITS.test(line))) {
    return isPci ? said(ITS, log, { isolated: true, because: "the log tells of an ITS" }) : undefined;
  }
  return said(GIC_V2M, log, { isolated: false, because: "they go to a GICv2m, and there is no ITS" });
}

function said(
  pattern: RegExp | undefined,
  log: readonly string[],
  what: Pick<Isolation, "isolated" | "because">,
): Isolation | undefined {
  const line = pattern === undefined ? undefined : log.findLast((each) => pattern.test(each));
  return line === undefined ? undefined : { ...what, evidence: [line] };
}
