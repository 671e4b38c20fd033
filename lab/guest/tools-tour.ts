/**
 * The command line's tools on a real kernel: what `iospan topology`, `plan` and `doctor` say of it, held against what the
 * kernel does when a space is opened.
 *
 *   npm run lab -- -k 7.3 -- node build/lab/guest/tools-tour.js
 *   npm run lab -- -k custom -m platform -- node build/lab/guest/tools-tour.js
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { bindToVfio, findDevice, IoAddressSpace, IospanError, linux, type StrategyName, strategyNames } from "iospan";
import { Proofs } from "./proofs.js";
import { castOf } from "./rigs.js";

const machine = linux();
const proofs = new Proofs();
const cast = castOf(process.env["IOSPAN_LAB_MACHINE"]);
const { first, second, beside, stranger, port } = cast;
const folder = mkdtempSync(path.join(tmpdir(), "iospan-tour-"));
const run = promisify(execFile);
/** Root may lock any amount of memory (CAP_IPC_LOCK); this takes that away from the process. */
const WITHOUT_IPC_LOCK = "./build/lab/guest/without-ipc-lock.js";

/** What a command printed, and its exit code. */
interface Said {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What the tour reads of a plan's JSON. */
interface PlanJson {
  readonly verdict: string;
  readonly recommended?: string;
  readonly strategies: readonly {
    readonly strategy: StrategyName;
    readonly verdict: string;
    readonly reason: string;
  }[];
  readonly steps: readonly { readonly id: string; readonly device?: string }[];
  readonly devices: readonly { readonly name: string; readonly iommus: readonly string[] }[];
  readonly iovaRanges: {
    readonly known: { readonly ranges: readonly RangeJson[] };
    readonly unknown: readonly string[];
  };
  readonly pageSizes: { readonly granule?: number; readonly unknown: readonly string[] };
}
interface RangeJson {
  readonly start: string;
  readonly end: string;
}

interface DoctorJson {
  readonly checks: readonly { readonly id: string; readonly outcome: string; readonly diagnoses: readonly unknown[] }[];
}

interface TopologyJson {
  readonly iommus: readonly { readonly path: string; readonly name: string; readonly kind: string }[];
  readonly devices: readonly {
    readonly name: string;
    readonly links: readonly { readonly iommu: string; readonly ids: readonly unknown[]; readonly via: string }[];
  }[];
  readonly findings: readonly { readonly id: string; readonly severity: string; readonly text: string }[];
}

async function iospan(...args: readonly string[]): Promise<Said> {
  return command(process.execPath, ["dist/cli/main.js", ...args]);
}

async function command(program: string, args: readonly string[]): Promise<Said> {
  try {
    const { stdout, stderr } = await run(program, args, { maxBuffer: 2 ** 26 });
    return { code: 0, stdout, stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as Said & Error;
    assert.equal(typeof code, "number", String(error));
    return { code, stdout, stderr };
  }
}

async function json<T>(args: readonly string[], codes: readonly number[] = [0]): Promise<T> {
  const { code, stdout, stderr } = await iospan(...args, "--json");
  assert.ok(codes.includes(code), `exit ${code}: ${stdout}${stderr}`);
  assert.equal(stderr, "");
  return JSON.parse(stdout) as T;
}

const plan = (names: readonly string[], ...options: string[]) => json<PlanJson>(["plan", ...names, ...options], [0, 1]);

/** Opens a space, or the reason why not. */
async function opened(names: readonly string[], strategy: StrategyName | "auto") {
  try {
    await using space = await IoAddressSpace.open(machine, names, { strategy });
    const { iovaRanges, granule } = space;
    return { strategy: space.strategy, ranges: iovaRanges.ranges, granule, message: "" };
  } catch (error) {
    if (!(error instanceof IospanError)) throw error;
    return { strategy: undefined, ranges: [], granule: 0, message: error.message };
  }
}

/** Everything that a plan says of devices on VFIO, against the space that they make. */
async function planIsTrue(names: readonly string[]): Promise<string> {
  const said = await plan(names);
  const words: string[] = [];
  for (const strategy of strategyNames) {
    const { verdict, reason } = said.strategies.find((each) => each.strategy === strategy) ?? {
      verdict: "",
      reason: "",
    };
    const { strategy: real, message } = await opened(names, strategy);
    assert.equal(verdict, real === undefined ? "no" : "yes", `${strategy}: planned ${verdict} (${reason}); ${message}`);
    words.push(`${strategy} ${verdict}`);
  }
  const { strategy, ranges, granule } = await opened(names, "auto");
  assert.equal(said.recommended, strategy);
  assert.equal(said.verdict, strategy === undefined ? "no" : "yes");
  if (strategy === undefined) return words.join(", ");
  assert.deepEqual([...said.iovaRanges.unknown, ...said.pageSizes.unknown], []);
  assert.deepEqual(
    said.iovaRanges.known.ranges.map(({ start, end }) => [BigInt(start), BigInt(end)]),
    ranges.map(({ start, end }) => [start, end]),
  );
  assert.equal(said.pageSizes.granule, granule);
  return `${words.join(", ")}; ${ranges.length} ranges, granule ${granule}`;
}

const outcomeOf = ({ checks }: DoctorJson, id: string) => checks.find((check) => check.id === id)?.outcome;
const doctor = (...args: string[]) => json<DoctorJson>(["doctor", ...args], [0, 1]);

await proofs.prove("topology: two SMMUs, the devices behind them, and firmware that agrees", async () => {
  const topology = await json<TopologyJson>(["topology"]);
  const smmus = topology.iommus.filter(({ kind }) => kind === "arm,smmu-v3");
  assert.equal(smmus.length, 2);
  const linksOf = (name: string) => topology.devices.find((device) => device.name === name)?.links ?? [];
  for (const name of [first, second]) {
    // Firmware tells the StreamIDs, which the kernel does not.
    assert.ok(
      linksOf(name).some(({ ids }) => ids.length > 0),
      `no StreamID for ${name}`,
    );
  }
  assert.notEqual(linksOf(first)[0]?.iommu, linksOf(second)[0]?.iommu);
  const warnings = topology.findings.filter(({ severity }) => severity === "warning");
  assert.deepEqual(warnings, []);
  return smmus.map(({ name }) => name).join(", ");
});

for (const format of ["tree", "mermaid", "dot", "svg"]) {
  await proofs.prove(`topology --format ${format}`, async () => {
    const { code, stdout, stderr } = await iospan("topology", "--format", format);
    assert.equal(code, 0, stderr);
    // Of the first SMMU there are so many that a picture counts them.
    assert.ok(stdout.includes(second), stdout);
  });
}

await proofs.prove("plan before anything is bound: names as one writes them, and what to bind", async () => {
  const short = first.replace(/^0000:/, "");
  const said = await plan([short, second]);
  assert.deepEqual(
    said.devices.map(({ name }) => name),
    [first, second],
  );
  const toBind = said.steps.filter(({ id }) => id === "bind").map(({ device }) => device);
  assert.deepEqual(toBind, [first, second]);
  assert.equal(said.verdict, "yes");
  return said.strategies.map(({ strategy, verdict }) => `${strategy} ${verdict}`).join(", ");
});

await proofs.prove("plan suggests what a name may have been meant for", async () => {
  const { code, stderr } = await iospan("plan", first.replace("02:00.0", "02:00.1"), second);
  assert.equal(code, 2);
  assert.ok(stderr.includes(first), stderr);
});

async function onVfio(): Promise<void> {
  using _first = bindToVfio(machine, first);
  using _second = bindToVfio(machine, second);
  using _beside = bindToVfio(machine, beside);
  using _port = port === undefined ? undefined : bindToVfio(machine, port);
  const sets = [[first, second], [first, beside], [second], ...(port === undefined ? [] : [[first, port], [port]])];
  for (const names of sets) await proofs.prove(`plan ${names.join(" ")} is what happens`, () => planIsTrue(names));

  await proofs.prove("plan: a machine that was saved is planned as the machine itself", async () => {
    const file = path.join(folder, "machine.json");
    const live = await plan([first, second], "--save", file);
    assert.deepEqual(await plan([first, second], "--machine", file), live);
    const topologies = await Promise.all(
      [[], ["--machine", file]].map((more) => json<TopologyJson>(["topology", ...more])),
    );
    assert.deepEqual(topologies[1]?.devices, topologies[0]?.devices);
  });
  await doctorLooks();
}

/** At devices that VFIO has. */
async function doctorLooks(): Promise<void> {
  await proofs.prove("doctor finds nothing to mend", async () => {
    const { checks } = await json<DoctorJson>(["doctor", first, second], [0]);
    assert.ok(checks.length > 10);
    assert.ok(!checks.some(({ outcome }) => outcome === "FAIL"));
    return checks
      .filter(({ outcome }) => outcome !== "PASS")
      .map(({ id, outcome }) => `${id} ${outcome}`)
      .join(", ");
  });

  await proofs.prove("doctor: memory that may not be locked", async () => {
    const args = ["--import", WITHOUT_IPC_LOCK, "dist/cli/main.js", "doctor", first, second, "--json"];
    const shell = ["-c", 'ulimit -l 4; exec "$@"', "sh", process.execPath, ...args];
    const { code, stdout } = await command("sh", shell);
    const said = JSON.parse(stdout) as DoctorJson;
    assert.equal(outcomeOf(said, "IOSPAN-MEMLOCK"), "FAIL", stdout);
    assert.equal(code, 1);
  });

  await proofs.prove("doctor: a group that another process holds", async () => {
    await using _space = await IoAddressSpace.open(machine, [first], { strategy: "mirrored" });
    const said = await doctor(first);
    assert.equal(outcomeOf(said, "IOSPAN-GROUP-BUSY"), "FAIL");
    assert.ok(JSON.stringify(said).includes(String(process.pid)), "names the process");
  });
}

await onVfio();

await proofs.prove("doctor: a device that is not on VFIO, until it is", async () => {
  const { driver } = findDevice(machine, stranger);
  assert.equal(outcomeOf(await doctor(stranger), "IOSPAN-BINDING"), "FAIL", `${stranger} has ${driver}`);
  using _bound = bindToVfio(machine, stranger);
  assert.equal(outcomeOf(await doctor(stranger), "IOSPAN-BINDING"), "PASS");
});

await proofs.prove("completion offers this machine's devices", async () => {
  const { code, stdout, stderr } = await iospan("__complete", "plan", "0000:02");
  assert.equal(code, 0, stderr);
  assert.ok(stdout.includes(first), stdout);
});

rmSync(folder, { recursive: true });
proofs.summarize();
