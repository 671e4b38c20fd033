/**
 * What one translation of the simulated SMMU costs, through its public methods: translations that its caches have, and walks
 * of four levels of tables in simulated memory after everything was invalidated, over 1 GiB of pages in random order.
 */
import { PhysicalMemory } from "../src/sim/hw/physical-memory.js";
import { wordsToBytes } from "../src/sim/hw/smmu/bit-fields.js";
import { commands } from "../src/sim/hw/smmu/commands.js";
import { contextDescriptor } from "../src/sim/hw/smmu/context-descriptor.js";
import { descriptorAddressHigh, descriptorAddressLow } from "../src/sim/hw/smmu/page-descriptor.js";
import { registers } from "../src/sim/hw/smmu/registers.js";
import { SmmuV3 } from "../src/sim/hw/smmu/smmu.js";
import { streamConfigs, streamTableEntry } from "../src/sim/hw/smmu/stream-table-entry.js";

const PAGE = 4096;
const PAGES = 2 ** 18;
const STREAM = 1;
const IOVA = 0x1_0000_0000;
const TARGET = 0x40_0000_0000;
const ROUNDS = 15;
const COMMANDS_LOG2 = 8;
/** TLB entries, fewer than the pages: a pass over all pages in the same order never finds one. */
const TLB_ENTRIES = 4096;

interface Machine {
  readonly smmu: SmmuV3;
  readonly memory: PhysicalMemory;
  submit(command: bigint[]): void;
}

function reserve(memory: PhysicalMemory, size: number): number {
  const address = memory.reserve(size, size);
  if (address === undefined) throw new Error("out of memory");
  return address;
}

function machine(): Machine {
  const memory = new PhysicalMemory(PAGE);
  const smmu = new SmmuV3({ tlbEntries: TLB_ENTRIES }, { memory, interrupt: () => {} });
  const streams = reserve(memory, PAGE);
  const queue = reserve(memory, PAGE);
  const context = reserve(memory, PAGE);
  const root = pageTables(memory);
  memory.write(context, cd(root));
  const ste = { V: 1, Config: streamConfigs.STAGE_1, S1ContextPtr: context };
  memory.write(streams + STREAM * streamTableEntry.size, wordsToBytes(streamTableEntry.encode(ste)));
  smmu.write64(registers.STRTAB_BASE.offset, registers.STRTAB_BASE.encode({ ADDR: streams }));
  smmu.write32(registers.STRTAB_BASE_CFG.offset, registers.STRTAB_BASE_CFG.encode({ LOG2SIZE: 6 }));
  smmu.write64(registers.CMDQ_BASE.offset, registers.CMDQ_BASE.encode({ ADDR: queue, LOG2SIZE: COMMANDS_LOG2 }));
  smmu.write32(registers.CR0.offset, registers.CR0.encode({ SMMUEN: 1, CMDQEN: 1 }));
  let producer = 0;
  const submit = (command: bigint[]) => {
    memory.write(queue + (producer % 2 ** COMMANDS_LOG2) * command.length * 8, wordsToBytes(command));
    producer = (producer + 1) % 2 ** (COMMANDS_LOG2 + 1);
    smmu.write32(registers.CMDQ_PROD.offset, producer);
  };
  return { smmu, memory, submit };
}

function cd(root: number): Uint8Array {
  const values = { V: 1, AA64: 1, T0SZ: 16, EPD1: 1, IPS: 5, R: 1, A: 1, ASID: 1, TTB0: root };
  return wordsToBytes(contextDescriptor.encode(values));
}

/** Four levels: one table each at levels 0 and 1, and as many more as the pages need. */
function pageTables(memory: PhysicalMemory): number {
  const root = reserve(memory, PAGE);
  const tables = new Map<number, number>();
  const below = (table: number, index: number): number => {
    const known = tables.get(table + index * 8);
    if (known !== undefined) return known;
    const next = reserve(memory, PAGE);
    tables.set(table + index * 8, next);
    store(memory, table + index * 8, next, 3, 0);
    return next;
  };
  for (let page = 0; page < PAGES; page++) {
    const iova = IOVA + page * PAGE;
    const table = [39, 30, 21].reduce((at, shift) => below(at, Math.floor(iova / 2 ** shift) % 512), root);
    // Page, unprivileged, access flag, not global.
    store(memory, table + (Math.floor(iova / PAGE) % 512) * 8, TARGET + page * PAGE, 0xc43, 0);
  }
  return root;
}

function store(memory: PhysicalMemory, at: number, address: number, low: number, high: number): void {
  memory.write32(at, (descriptorAddressLow(address) | low) >>> 0);
  memory.write32(at + 4, descriptorAddressHigh(address) | high);
}

/** All of `count` pages, each once, in random order. */
function shuffled(count: number): Float64Array {
  const order = Float64Array.from({ length: count }, (_, page) => IOVA + page * PAGE);
  let random = 1;
  for (let i = count - 1; i > 0; i--) {
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
    const other = Math.floor((random / 2 ** 32) * (i + 1));
    const moved = order[i] ?? 0;
    order[i] = order[other] ?? 0;
    order[other] = moved;
  }
  return order;
}

function translateAll(smmu: SmmuV3, addresses: Float64Array): number {
  let wrong = 0;
  for (let i = 0; i < addresses.length; i++) {
    const address = addresses[i] as number;
    if (smmu.translate(STREAM, address, false) !== address - IOVA + TARGET) wrong++;
  }
  return wrong;
}

function nanoseconds(count: number, action: () => number): number {
  const before = performance.now();
  if (action() !== 0) throw new Error("a translation was wrong");
  return ((performance.now() - before) * 1e6) / count;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

interface Case {
  readonly name: string;
  /** ns. */
  readonly budget: number | undefined;
  /** @returns ns per operation */
  measure(machine: Machine): number;
}

function hits(pages: number): (machine: Machine) => number {
  const addresses = shuffled(pages);
  return ({ smmu }) => {
    translateAll(smmu, addresses);
    const passes = Math.ceil(PAGES / pages);
    return nanoseconds(passes * pages, () => {
      let wrong = 0;
      for (let pass = 0; pass < passes; pass++) wrong += translateAll(smmu, addresses);
      return wrong;
    });
  };
}

function coldWalks(pages: number): (machine: Machine) => number {
  const addresses = shuffled(pages);
  return ({ smmu, submit }) => {
    const passes = Math.ceil(PAGES / pages);
    let total = 0;
    for (let pass = 0; pass < passes; pass++) {
      submit(commands.TLBI_NH_ASID.encode({ ASID: 1 }));
      total += nanoseconds(pages, () => translateAll(smmu, addresses));
    }
    return total / passes;
  };
}

function invalidations(command: (page: number) => bigint[]): (machine: Machine) => number {
  const count = 512;
  const encoded = Array.from({ length: count }, (_, page) => command(page));
  const addresses = shuffled(2048);
  return ({ smmu, submit }) => {
    translateAll(smmu, addresses);
    return nanoseconds(count, () => {
      for (const words of encoded) submit(words);
      return 0;
    });
  };
}

const cases: readonly Case[] = [
  { name: "hit: one page", budget: 20, measure: hits(1) },
  { name: "hit: 64 pages at random", budget: 20, measure: hits(64) },
  { name: "hit: 2,048 pages at random", budget: 20, measure: hits(2048) },
  { name: "cold four-level walk: 2,048 pages at random", budget: 300, measure: coldWalks(2048) },
  { name: "cold four-level walk: 262,144 pages at random", budget: 300, measure: coldWalks(PAGES) },
  {
    name: "command: TLBI of one page",
    budget: undefined,
    measure: invalidations((page) => commands.TLBI_NH_VA.encode({ ASID: 1, Address: BigInt(IOVA + page * PAGE) })),
  },
  { name: "command: SYNC", budget: undefined, measure: invalidations(() => commands.SYNC.encode({})) },
];

function printRow(cells: readonly string[]): void {
  console.log(cells.map((cell, i) => (i === 0 ? cell.padEnd(52) : cell.padStart(10))).join(""));
}

const subject = machine();
for (const { measure } of cases) measure(subject);
const rounds = Array.from({ length: ROUNDS }, () => cases.map(({ measure }) => measure(subject)));
printRow(["ns, median", "measured", "budget", "ratio", ""]);
for (const [i, { name, budget }] of cases.entries()) {
  const measured = median(rounds.map((round) => round[i] ?? Number.NaN));
  const verdict = budget === undefined ? ["-", "-", "-"] : [`${budget}`, (measured / budget).toFixed(2)];
  printRow([name, measured.toFixed(1), ...verdict, budget !== undefined && measured > budget ? "over" : ""]);
}
