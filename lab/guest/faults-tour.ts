/**
 * What `iospan faults` makes of a real kernel's log: an engine behind each SMMU does what its mappings do not allow, and the
 * command, run as a user would on the log of this machine, has to name the SMMU, the ID, the device, the address, the direction
 * and the cause of each. One line per proof; exit code 1 if any failed.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import {
  bindToVfio,
  DmaMemory,
  explainFault,
  findDevice,
  IoAddressSpace,
  iova,
  linux,
  type Machine,
  readFaults,
} from "iospan";
import { Edu } from "../../examples/edu/edu.js";
import { Proofs } from "./proofs.js";
import { castOf } from "./rigs.js";

const COMMAND = "dist/cli/main.js";
const IORT = "/sys/firmware/acpi/tables/IORT";
const PAGE = 2 ** 16;
/** QEMU translates again for every four bytes that nothing answers: more would be several events. */
const SIZE = 4;
/** The kernel prints events in a thread; that takes it so long at most. */
const THREAD_MS = 200;

const READ_ONLY = iova(0x40_0000);
const GONE = iova(0x60_0000);
const OTHERS = iova(0x80_0000);
const NOWHERE = iova(0x6000_0000);
/** In the middle of a page, and another for each device, so that no two faults are at one address. */
const insideOf = (index: number) => BigInt(0x124 + 8 * index);

/** What an engine does, and what has to be said of it. */
interface Refused {
  readonly what: string;
  readonly address: bigint;
  readonly access: "read" | "write";
  readonly cause: string;
  /** What explainFault() says where the space is at hand. */
  readonly place: RegExp;
}

const REFUSED: readonly Refused[] = [
  {
    what: "a read where nothing is mapped",
    address: NOWHERE,
    access: "read",
    cause: "not-mapped",
    place: /beyond the end/,
  },
  { what: "a write to what was unmapped", address: GONE, access: "write", cause: "not-mapped", place: /was unmapped/ },
  {
    what: "a write to a read-only mapping",
    address: READ_ONLY,
    access: "write",
    cause: "not-permitted",
    place: /may read only/,
  },
  {
    what: "a read of the other interface's mapping",
    address: OTHERS,
    access: "read",
    cause: "not-mapped",
    place: /limited to other/,
  },
];

interface Report {
  readonly groups: readonly {
    readonly summary: string;
    readonly count: number;
    readonly fault: Readonly<Record<string, unknown>>;
    readonly origin: {
      readonly iommu: string;
      readonly from: string;
      readonly devices: readonly { readonly name: string; readonly driver: string; readonly group: number }[];
    };
  }[];
}

function command(parameters: readonly string[], input = ""): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, [COMMAND, "faults", ...parameters], {
    input,
    encoding: "utf8",
  });
  assert.equal(status, 1, `exit code ${status}: ${stderr}`);
  return stdout;
}

/** Has the engine do everything in {@link REFUSED}. */
async function misbehave(machine: Machine, space: IoAddressSpace, name: string, index: number): Promise<void> {
  const [other = ""] = space.interfaces.filter((each) => each !== name);
  using memory = DmaMemory.allocate(machine, PAGE, { hugePages: "no" });
  await using _readable = await space.map(memory, { iova: READ_ONLY, access: "read" });
  await using _others = await space.map(memory, { iova: OTHERS, interfaces: [other] });
  {
    await using _gone = await space.map(memory, { iova: GONE });
  }
  const engine = new Edu(space.interface(name));
  for (const { what, address, access, place } of REFUSED) {
    const at = iova(address + insideOf(index));
    await (access === "read" ? engine.load(at, SIZE) : engine.store(at, SIZE));
    await sleep(THREAD_MS);
    await proofs.prove(`${name}: ${what}, where the space is at hand`, async () => {
      const fault = readFaults(kernelLog()).faults.find((each) => each.address === at);
      assert.ok(fault, "the log has it");
      const { place: found } = explainFault(fault, space);
      assert.match(found?.text ?? "", place);
      return found?.text;
    });
  }
}

function kernelLog(): string {
  return spawnSync("dmesg", { encoding: "utf8" }).stdout;
}

async function proveReport(machine: Machine, report: Report, name: string, index: number): Promise<void> {
  const { iommu, group } = findDevice(machine, name);
  for (const { what, address, access, cause } of REFUSED) {
    await proofs.prove(`${name}: ${what}, by the command`, async () => {
      const at = `0x${(address + insideOf(index)).toString(16)}`;
      const found = report.groups.find(({ fault }) => fault["address"] === at);
      assert.ok(found, `a fault at ${at}`);
      const { fault, origin, summary } = found;
      const { access: done, cause: why, format } = fault;
      assert.deepEqual({ done, why, format }, { done: access, why: cause, format: "arm-smmu-v3" });
      assert.equal(origin.iommu, iommu?.name);
      assert.deepEqual(
        origin.devices.map((each) => [each.name, each.driver, each.group]),
        [[name, "vfio-pci", group]],
      );
      assert.ok(summary.startsWith(`${name} `), summary);
      assert.equal(fault["streamId"], streamIdOf(name));
      return `${summary} (${fault["iommu"]}, StreamID ${fault["streamId"]}, told by ${origin.from})`;
    });
  }
}

/** The board's firmware maps requester IDs one to one, in each domain (lab/machines.ts). */
function streamIdOf(name: string): number {
  const [, bus = "", device = "", fn = ""] = /:(..):(..)\.(.)$/.exec(name) ?? [];
  return (Number.parseInt(bus, 16) << 8) | (Number.parseInt(device, 16) << 3) | Number(fn);
}

/** A log that somebody sent, with the tables of the machine it is of. */
async function proveCopiedLog(names: readonly string[]): Promise<void> {
  await proofs.prove("the log as a text, with firmware alone", async () => {
    const { status } = spawnSync("test", ["-e", IORT]);
    const source = status === 0 ? ["--iort", IORT] : ["--device-tree", "/sys/firmware/fdt"];
    const report: Report = JSON.parse(command([...source, "--json", "-"], kernelLog()));
    for (const [index, name] of names.entries()) {
      const at = `0x${(NOWHERE + insideOf(index)).toString(16)}`;
      const found = report.groups.find(({ fault }) => fault["address"] === at);
      assert.ok(found, `a fault at ${at}`);
      assert.ok(found.summary.includes(name.slice(name.indexOf(":") + 1)), found.summary);
      assert.match(found.origin.iommu, /^smmu3\.0x/);
    }
    return source.join(" ");
  });
  await proofs.prove("the same, without", async () => {
    const report: Report = JSON.parse(command(["--json", "-"], kernelLog()));
    assert.ok(report.groups.every(({ origin }) => origin === null));
  });
}

const { first, second } = castOf(process.env["IOSPAN_LAB_MACHINE"]);
const names = [first, second];
const machine = linux();
const proofs = new Proofs();
console.log(`Linux ${machine.syscalls.readFile("/proc/sys/kernel/osrelease").trim()}`);
using _first = bindToVfio(machine, first);
using _second = bindToVfio(machine, second);
{
  await using space = await IoAddressSpace.open(machine, names, { strategy: "mirrored" });
  for (const [index, name] of names.entries()) await misbehave(machine, space, name, index);
}
const report: Report = JSON.parse(command(["--json"]));
for (const [index, name] of names.entries()) await proveReport(machine, report, name, index);
await proveCopiedLog(names);
await proofs.prove("as text", async () => {
  const text = command([]);
  for (const name of names) assert.ok(text.includes(`${name} (driver vfio-pci, group `), text);
});
proofs.summarize();
