import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it, vi } from "vitest";
import { machineOne } from "../src/sim/linux/machine-one.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const snippets = [...readFileSync(path.join(root, "README.md"), "utf8").matchAll(/^```ts\n(.*?)^```/gms)].map(
  ([, text = ""]) => text,
);
mkdirSync(path.join(root, "build"), { recursive: true });
const folder = mkdtempSync(path.join(root, "build", "readme-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** What the last snippet takes for granted. */
const GIVEN = `import { type DmaMemory, type IoAddressSpace } from "iospan";
declare const space: IoAddressSpace;
declare const memory: DmaMemory;
`;

/** What the fourth one does. */
const GIVEN_MACHINE = `import { type Device, type DmaBuffer, IoAddressSpace, type Machine } from "iospan";
declare const machine: Machine;
declare const names: string[];
declare function transferAndCompare(device: Device, buffer: DmaBuffer): Promise<void>;
`;

const GIVEN_DEVICES = `import { type Device, IoAddressSpace, type Machine } from "iospan";
declare const machine: Machine;
declare const vfToken: string;
declare function stop(device: Device): Promise<void>;
`;

describe("the README's code", () => {
  const [driver = "", simulated = "", explained = "", verify = "", calls = "", life = ""] = snippets;

  it("is what this test knows", () => {
    expect(snippets).toHaveLength(6);
    expect(driver).toContain("linux()");
    expect(simulated).toContain("simulate(");
    expect(explained).toContain("planSpace(");
  });

  it("has no type errors", () => {
    writeFileSync(path.join(folder, "driver.ts"), driver);
    writeFileSync(path.join(folder, "simulated.ts"), simulated);
    writeFileSync(path.join(folder, "explained.ts"), explained);
    writeFileSync(path.join(folder, "verify.ts"), `${GIVEN_MACHINE}${verify}`);
    writeFileSync(path.join(folder, "calls.ts"), `${GIVEN}${calls}`);
    writeFileSync(path.join(folder, "life.ts"), `${GIVEN_DEVICES}${life}`);
    const config = { extends: "../../tsconfig.json", compilerOptions: { noUnusedLocals: false }, include: ["*.ts"] };
    writeFileSync(path.join(folder, "tsconfig.json"), JSON.stringify(config));
    const tsc = path.join(root, "node_modules", ".bin", "tsc");
    expect(execFileSync(tsc, ["-p", folder], { cwd: root, encoding: "utf8" })).toBe("");
  });

  it("simulates as it stands", async () => {
    const log = vi.spyOn(console, "log").mockImplementation(() => {});
    const file = path.join(folder, "simulated.ts");
    writeFileSync(file, simulated);
    try {
      await import(/* @vite-ignore */ file);
      const [speed, smmus, kernelLog] = log.mock.calls.at(-1) ?? [];
      expect(Number.parseFloat(speed)).toBeGreaterThan(14);
      expect(smmus).toHaveLength(2);
      expect(kernelLog).toEqual([]);
    } finally {
      log.mockRestore();
    }
  });

  it("plans and examines a simulated machine", async () => {
    const log = vi.spyOn(console, "log").mockImplementation(() => {});
    vi.stubGlobal("simulatedMachine", { syscalls: machineOne({ iommufd: true }) });
    const file = path.join(folder, "run-explained.ts");
    const told = explained
      .replace("linux()", "(globalThis as any).simulatedMachine")
      .replace("9030000.dma-port", "0000:22:00.0");
    writeFileSync(file, `${told}\nconsole.log(verdict, strategies.length, steps.length, worst);`);
    try {
      await import(/* @vite-ignore */ file);
      expect(log.mock.calls[0]?.[0]).toContain("0000:22:00.0");
      expect(log.mock.calls.at(-1)).toEqual(["yes", 4, 0, "CANNOT-CHECK"]);
    } finally {
      log.mockRestore();
      vi.unstubAllGlobals();
    }
  });

  const OPENED = '"0000:22:00.0"])';
  it.each(["auto", "iommufd", "shared-container", "mirrored"])("runs on a simulated machine: %s", async (strategy) => {
    const kernel = machineOne({ iommufd: true });
    const log = vi.spyOn(console, "log").mockImplementation(() => {});
    vi.stubGlobal("simulatedMachine", { syscalls: kernel });
    const file = path.join(folder, `run-${strategy}.ts`);
    const named =
      strategy === "auto" ? driver : driver.replace(OPENED, OPENED.replace(")", `, { strategy: "${strategy}" })`));
    expect(named === driver).toBe(strategy === "auto");
    writeFileSync(file, named.replace("linux()", "(globalThis as any).simulatedMachine"));
    try {
      await import(/* @vite-ignore */ file);
      expect(log.mock.calls[0]?.[0]).toBe(strategy === "auto" ? "iommufd" : strategy);
      expect(log.mock.calls.at(-1)).toEqual([true]);
      expect(kernel.openFds).toEqual([]);
    } finally {
      log.mockRestore();
      vi.unstubAllGlobals();
    }
  });
});
