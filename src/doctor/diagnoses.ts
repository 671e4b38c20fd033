import type { Diagnosis, Outcome } from "./check.js";

/** What goes with a diagnosis's text; what is left out is empty. */
export interface DiagnosisDetails {
  readonly evidence?: readonly string[];
  readonly fix?: readonly string[];
  readonly device?: string | undefined;
}

/** Nothing is wrong. */
export function passed(text: string, details: DiagnosisDetails = {}): Diagnosis {
  return diagnosis("PASS", text, details);
}

/** Something will bite in some cases, or works worse than it could. */
export function warned(text: string, details: DiagnosisDetails): Diagnosis {
  return diagnosis("WARN", text, details);
}

/** It does not work like that. */
export function failed(text: string, details: DiagnosisDetails): Diagnosis {
  return diagnosis("FAIL", text, details);
}

/** Nobody tells; `fix` says what would. */
export function untold(text: string, details: DiagnosisDetails = {}): Diagnosis {
  return diagnosis("CANNOT-CHECK", text, details);
}

function diagnosis(outcome: Outcome, text: string, { evidence = [], fix = [], device }: DiagnosisDetails): Diagnosis {
  return { outcome, text, evidence, fix, device };
}

/** What only a running kernel tells, of a machine of which firmware alone was read. */
export const noKernel: Diagnosis = untold("only firmware was read, and this takes the kernel that runs there", {
  fix: ["iospan plan --save machine.json on that machine, then here: iospan doctor --machine machine.json"],
});

/** What has the kernel say what files do not. */
export const askKernel =
  "bind the devices and mend the rest: iospan doctor asks the kernel as soon as the group can be opened";

/** The kernel's log was not to be had. */
export const noLog: Diagnosis = untold("the kernel's log cannot be read", {
  fix: ["run it as root: sudo iospan doctor (kernel.dmesg_restrict keeps the log from others)"],
});
