import { readFileSync } from "node:fs";
import path from "node:path";
import { stripVTControlCharacters } from "node:util";
import { Ajv } from "ajv";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readPage } from "../../src/cli/doctor/doctor-page.js";
import { findCheck } from "../../src/cli/doctor/find-check.js";
import { renderExamination } from "../../src/cli/doctor/render.js";
import { renderPage } from "../../src/cli/doctor/render-page.js";
import { saveSurvey } from "../../src/cli/machine-source.js";
import { packageFile } from "../../src/cli/package-files.js";
import { painter } from "../../src/cli/text/colours.js";
import { setWidth } from "../../src/cli/text/line.js";
import { widthOf } from "../../src/cli/text/width.js";
import { checks } from "../../src/doctor/checks.js";
import { examine } from "../../src/doctor/examine.js";
import { SimulatedKernel } from "../../src/sim/linux/kernel.js";
import { machineOne, machineOneDescription } from "../../src/sim/linux/machine-one.js";
import { patient } from "../doctor/support/patient.js";
import { examined } from "../doctor/support/simulated.js";
import { CopiedSysfs } from "../topology/support/copied-sysfs.js";
import { capture } from "./support/captured.js";

const doctor = (...argv: readonly string[]) => capture(["doctor", ...argv]);
const plain = painter(false);
const wide = (text: string) => text.split("\n").filter((line) => widthOf(stripVTControlCharacters(line)) > 80);

let copied: CopiedSysfs;
beforeAll(() => {
  copied = new CopiedSysfs(machineOne({ eduDriver: "e1000e" }));
});
afterAll(() => copied[Symbol.dispose]());

/** Two functions in one group, of which one is on nvme. */
async function together() {
  const { devices, ...rest } = machineOneDescription();
  const group = 40;
  const members = ["0000:01:00.0", "0000:02:00.0"];
  const syscalls = new SimulatedKernel({
    ...rest,
    devices: devices.map((each) => (members.includes(each.name) ? { ...each, group } : each)),
  });
  return examined({ syscalls, kernelLog: syscalls.log }, ["0000:02:00.0"]);
}

describe("iospan doctor", () => {
  it("finds in a copied sysfs what is not bound, and fails", async () => {
    const { exitCode, stdout, stderr } = await doctor("--sysfs", copied.folder, "0000:01:00.0", "02:00.0");
    expect(stderr).toBe("");
    expect(exitCode).toBe(1);
    expect(stdout).toContain("FAIL  IOSPAN-BINDING\n      0000:01:00.0 is on nvme\n");
    expect(stdout).toContain(
      "      fix   sudo iospan bind 0000:01:00.0\n            or by hand:\n            echo vfio-pci > ",
    );
    expect(stdout).toContain(`      page  ${packageFile("docs/doctor.md")}#iospan-binding\n`);
    expect(stdout).toMatch(/\nIt does not work like that: \d+ checks, 1 FAIL/);
    expect(wide(stdout).filter((text) => !text.includes(packageFile("docs")))).toEqual([]);
  });

  it("finds the same in a machine that was saved", async () => {
    const file = path.join(copied.folder, "saved.json");
    await saveSurvey(file, { sysfs: copied.folder });
    const [live, saved] = await Promise.all(
      [
        ["--sysfs", copied.folder],
        ["--machine", file],
      ].map((source) => doctor(...source, "0000:01:00.0", "--json")),
    );
    expect(saved?.exitCode).toBe(1);
    const [a, b] = [live, saved].map((each) => JSON.parse(each?.stdout ?? "") as Record<string, unknown>);
    expect(b?.["checks"]).toEqual(a?.["checks"]);
  });

  it("does not fail for what cannot be checked, and tells it once", async () => {
    const { exitCode, stdout } = await doctor("--device-tree", "dual-smmu");
    expect(exitCode).toBe(0);
    expect(stdout).toContain("PASS  IOMMU switched on");
    expect(stdout.match(/only firmware was read/g)).toHaveLength(1);
    expect(stdout).toMatch(/\nNothing wrong was found: \d+ checks, \d+ CANNOT-CHECK\n$/);
  });

  it("warns without failing", () => {
    const { survey } = patient({ process: { memlock: { soft: 2 ** 23, hard: 2 ** 23 } } });
    const found = examine(survey);
    expect(found.worst).toBe("WARN");
    const lines = renderExamination(found, ["/sys"]).map(plain);
    expect(lines).toContain("WARN  IOSPAN-MEMLOCK");
    expect(lines.at(-1)).toMatch(/^It works, with warnings: \d+ checks, 1 WARN$/);
  });

  it("is short where all is well", () => {
    const found = examine(patient().survey);
    const lines = renderExamination(found, ["/sys"]).map(plain);
    expect(lines.filter((text) => text.startsWith("PASS  "))).toHaveLength(found.checks.length);
    // What fits is one line, what does not is whole all the same.
    expect(lines.length).toBeLessThan(2 * found.checks.length);
    expect(lines.at(-1)).toBe(`All is well: ${found.checks.length} checks`);
  });

  it("keeps within any width", () => {
    const { survey } = patient({
      kernel: { log: undefined },
      answers: { 2: { answer: undefined } },
      process: { memlock: undefined },
    });
    const found = examine(survey);
    for (const columns of [40, 60, 80, 120]) {
      setWidth(columns);
      const lines = renderExamination(found, ["/sys"]).map(plain);
      setWidth(80);
      expect(lines.filter((text) => widthOf(text) > columns)).toEqual([]);
    }
  });

  it("makes only the checks that are wanted, in the order of mending", async () => {
    const { exitCode, stdout } = await doctor(
      "-t",
      "dual-smmu",
      "--only",
      "several-iommus,IOSPAN-IOMMU-OFF",
      "--only",
      "coherency",
      "--json",
    );
    expect(exitCode).toBe(0);
    const { checks: made } = JSON.parse(stdout) as { checks: { id: string }[] };
    expect(made.map(({ id }) => id)).toEqual(["IOSPAN-IOMMU-OFF", "IOSPAN-SEVERAL-IOMMUS", "IOSPAN-COHERENCY"]);
  });

  it("tells which of the checks that were asked for nothing concerns", async () => {
    const { stdout } = await doctor("-t", "two-pcie", "--only", "iommu-off,faults");
    expect(stdout).toContain("\nleft out: IOSPAN-FAULTS; nothing here concerns it\n");
    expect((await doctor("-t", "two-pcie")).stdout).not.toContain("left out");
  });

  it("says which devices it picked, or that firmware cannot tell", async () => {
    const picked = await doctor("-t", "dual-smmu");
    expect(picked.stdout.replaceAll("\n", " ")).toContain(
      "Examined are the interfaces of dma@0,0: name devices to have others examined.",
    );
    const none = await doctor("-t", "two-pcie");
    expect(none.stdout.replaceAll("\n", " ")).toContain("name devices to have them examined");
    expect(none.stdout).not.toContain("driver_override");
    const named = await doctor("-t", "dual-smmu", "dma-port");
    expect(named.stdout).not.toContain("name devices");
  });

  it("never cuts what passed", () => {
    const found = examine(patient().survey);
    setWidth(40);
    const narrow = renderExamination(found, ["/sys"]).map(plain);
    setWidth(80);
    const all = narrow.join("\n").replace(/\s+/g, "");
    expect(all).not.toContain("…");
    for (const { diagnoses } of found.checks) {
      for (const { text } of diagnoses) expect(all).toContain(text.replace(/\s+/g, ""));
    }
  });

  it("tells programs the same", async () => {
    const { exitCode, stdout } = await doctor("--sysfs", copied.folder, "0000:01:00.0", "--json");
    expect(exitCode).toBe(1);
    const found = JSON.parse(stdout) as { checks: { id: string }[] };
    const text = { type: "string" };
    const texts = { type: "array", items: text };
    const diagnosis = {
      type: "object",
      required: ["outcome", "text", "device", "evidence", "fix"],
      additionalProperties: false,
      properties: { outcome: text, text, device: { type: ["string", "null"] }, evidence: texts, fix: texts },
    };
    const check = {
      type: "object",
      required: ["id", "title", "outcome", "page", "diagnoses"],
      additionalProperties: false,
      properties: { id: text, title: text, outcome: text, page: text, diagnoses: { type: "array", items: diagnosis } },
    };
    const isValid = new Ajv().compile({
      type: "object",
      required: ["sources", "devices", "worst", "checks", "leftOut"],
      additionalProperties: false,
      properties: {
        sources: texts,
        devices: texts,
        worst: text,
        checks: { type: "array", items: check },
        leftOut: texts,
      },
    });
    expect(isValid(found), JSON.stringify(isValid.errors)).toBe(true);
    expect(found).toMatchObject({ devices: ["0000:01:00.0"], worst: "FAIL" });
    expect(found.checks.find(({ id }) => id === "IOSPAN-BINDING")).toMatchObject({
      outcome: "FAIL",
      page: `${packageFile("docs/doctor.md")}#iospan-binding`,
      diagnoses: [{ device: "0000:01:00.0", text: "0000:01:00.0 is on nvme" }],
    });
  });

  it("lists all checks", async () => {
    const { exitCode, stdout } = await doctor("--list");
    expect(exitCode).toBe(0);
    expect(stdout.split("\n").slice(0, checks.length)).toEqual(
      checks.map(({ id, title }) => `${id.padEnd(22)}  ${title}`),
    );
    const json = JSON.parse((await doctor("--list", "--json")).stdout) as { checks: { id: string }[] };
    expect(json.checks.map(({ id }) => id)).toEqual(checks.map(({ id }) => id));
  });

  it("explains a check", async () => {
    const { exitCode, stdout } = await doctor("--explain", "memlock");
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(
      /^IOSPAN-MEMLOCK\n\nWhat you see\. VFIO_IOMMU_MAP_DMA fails with ENOMEM:\n\n {4}vfio_pin_pages_remote/,
    );
    expect(stdout).not.toMatch(/`|\*\*/);
    const json = JSON.parse((await doctor("--explain", "memlock", "--json")).stdout) as Record<string, string>;
    expect(json).toMatchObject({ id: "IOSPAN-MEMLOCK", title: "limit on locked memory" });
    expect(json["markdown"]).toContain("## IOSPAN-MEMLOCK");
  });

  it.each(checks.map(({ id }) => id))("has a page for %s that a terminal can show", (id) => {
    const page = readPage(id);
    const shown = renderPage(page).map(plain);
    expect(shown[0]).toBe(id);
    expect(shown.join("\n")).not.toMatch(/`|\*\*/);
    // Messages of kernels are as long as they are.
    expect(shown.filter((text) => widthOf(text) > 80 && !text.startsWith("    "))).toEqual([]);
    const code = [...page.matchAll(/^```\n(.*?)^```/gms)].flatMap(([, text = ""]) => text.trimEnd().split("\n"));
    expect(shown.filter((text) => text.startsWith("    "))).toEqual(code.map((text) => `    ${text}`));
  });

  it("refuses checks and devices that there are not", async () => {
    const check = await doctor("--only", "memlok");
    expect(check).toMatchObject({ exitCode: 2, stdout: "" });
    expect(check.stderr).toContain('there is no check "memlok"; did you mean IOSPAN-MEMLOCK?');
    const device = await doctor("-t", "dual-smmu", "0000:09:00.0x");
    expect(device).toMatchObject({ exitCode: 2, stdout: "" });
    expect(() => findCheck("group")).toThrow("did you mean IOSPAN-GROUP-VIABLE or IOSPAN-GROUP-BUSY?");
    expect(() => findCheck("")).toThrow("there is no check");
  });

  it("prints what docs/doctor.md begins with", async () => {
    const lines = renderExamination(await together(), ["/sys"]).map(plain);
    const installed = lines.join("\n").replaceAll(packageFile(""), "/usr/lib/node_modules/iospan/");
    const [, sample] =
      /^\$ sudo iospan doctor 0000:02:00\.0\n(.*?)^```/ms.exec(readFileSync(packageFile("docs/doctor.md"), "utf8")) ??
      [];
    expect(`${installed}\n`).toBe(sample);
  });
});
