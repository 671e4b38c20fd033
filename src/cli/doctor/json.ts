import type { Check } from "../../doctor/check.js";
import { type Examination, pageOf } from "../../doctor/examine.js";
import { pageFile } from "./doctor-page.js";

/** What the checks came to, for programs; `page` is a file with an anchor, `device` null where it is about none. */
export interface ExaminationJson {
  readonly sources: readonly string[];
  readonly devices: readonly string[];
  readonly worst: string;
  readonly checks: readonly {
    readonly id: string;
    readonly title: string;
    readonly outcome: string;
    readonly page: string;
    readonly diagnoses: readonly {
      readonly outcome: string;
      readonly text: string;
      readonly device: string | null;
      readonly evidence: readonly string[];
      readonly fix: readonly string[];
    }[];
  }[];
  /** Ids of checks that nothing here concerns. */
  readonly leftOut: readonly string[];
}

/** As a document. @param sources where the survey is from */
export function examinationJson(found: Examination, sources: readonly string[]): ExaminationJson {
  return {
    sources,
    devices: found.devices,
    worst: found.worst,
    checks: found.checks.map(({ id, title, outcome, page, diagnoses }) => ({
      ...{ id, title, outcome },
      page: pageFile(page),
      diagnoses: diagnoses.map(({ device, ...rest }) => ({ ...rest, device: device ?? null })),
    })),
    leftOut: found.leftOut,
  };
}

/** All checks there are. */
export function checkListJson(checks: readonly Check[]): {
  readonly checks: readonly { readonly id: string; readonly title: string; readonly page: string }[];
} {
  return { checks: checks.map(({ id, title }) => ({ id, title, page: pageFile(pageOf(id)) })) };
}
