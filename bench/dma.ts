/**
 * What a device's DMA costs on the simulated machine: payload through a warm SMMU with pages of 4 KiB, against one
 * Uint8Array.set of the same bytes. The budget, for 64 KiB and more whose pages go on physically: at most 1.5 times.
 *
 * Without a budget: a single page, which shows what an access costs besides its bytes; and pages that lie anywhere, against a
 * set for each page.
 */

import type { TimedDmaPort } from "../src/sim/hw/device-model.js";
import { inert } from "../src/sim/hw/device-model.js";
import { SimulatedKernel } from "../src/sim/linux/kernel.js";
import { machineOneDescription } from "../src/sim/linux/machine-one.js";
import { DmaMemory } from "../src/space/dma-memory.js";
import { IoAddressSpace } from "../src/space/io-address-space.js";

const KiB = 1024;
const PAGE = 4 * KiB;
const IOVA = 0x1_0000_0000n;
const ROUNDS = 41;
const WARM_UP = 2000;
/** Bytes that each measurement moves, so that it takes long enough to be measured. */
const VOLUME = 64 * 1024 * KiB;

interface Case {
  readonly name: string;
  readonly size: number;
  readonly write: boolean;
  /** Whether each page is at a place of its own. */
  readonly scattered: boolean;
}

const sizes = [4 * KiB, 64 * KiB, 1024 * KiB];
const cases: readonly Case[] = sizes.flatMap((size) =>
  [false, true].flatMap((scattered) =>
    [false, true].map((write) => {
      const how = `${write ? "write" : "read"} ${size / KiB} KiB${scattered ? ", pages anywhere" : ""}`;
      return { name: how, size, write, scattered };
    }),
  ),
);

const DEVICE = "0000:02:00.0";

/** A machine whose SMMU has pages of 4 KiB, and the DMA port of a device in it. */
function machine(): { readonly kernel: SimulatedKernel; readonly port: () => TimedDmaPort } {
  let dma: TimedDmaPort | undefined;
  const { create } = inert();
  const description = machineOneDescription();
  const kernel = new SimulatedKernel({
    ...description,
    iommus: description.iommus.map((iommu) => ({ ...iommu, pageSizes: BigInt(PAGE) })),
    devices: description.devices.map((device) => {
      if (device.name !== DEVICE || device.model.pci === undefined) return device;
      const { pci } = device.model;
      return {
        ...device,
        model: {
          pci,
          create(wiring) {
            dma = wiring.dma;
            return create(wiring);
          },
        },
      };
    }),
  });
  return { kernel, port: () => dma ?? fail() };
}

function fail(): never {
  throw new Error(`${DEVICE} was not built`);
}

/** Every page once, in an order that looks like none. */
function shuffled(count: number): readonly number[] {
  const order = Array.from({ length: count }, (_, page) => page);
  let random = 1;
  for (let at = count - 1; at > 0; at--) {
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
    const other = Math.floor((random / 2 ** 32) * (at + 1));
    [order[at], order[other]] = [order[other] ?? 0, order[at] ?? 0];
  }
  return order;
}

interface Measured {
  /** What is measured. */
  dma(): void;
  /** One set of the same bytes, or one for each page. */
  set(): void;
}

async function prepare({ size, write, scattered }: Case): Promise<Measured> {
  const { kernel, port } = machine();
  const space = await IoAddressSpace.open(kernel, [DEVICE]);
  space.interface(DEVICE).pciConfig?.setBusMaster(true);
  const memory = DmaMemory.allocate(kernel, size);
  const pages = scattered ? shuffled(size / PAGE) : undefined;
  if (pages === undefined) await space.map(memory, { iova: IOVA });
  for (const [at, page] of (pages ?? []).entries()) {
    await space.map(memory, { iova: IOVA + BigInt(at * PAGE), offset: page * PAGE, size: PAGE });
  }
  const dma = port();
  const device = new Uint8Array(size).fill(1);
  const [from, to] = write ? [device, memory.bytes] : [memory.bytes, device];
  const part = (bytes: Uint8Array, page: number) => bytes.subarray(page * PAGE, (page + 1) * PAGE);
  const moves = (pages ?? []).map((page, at) => {
    return write ? { from: part(from, at), to: part(to, page) } : { from: part(from, page), to: part(to, at) };
  });
  return {
    dma: write ? () => void dma.write(IOVA, device) : () => void dma.read(IOVA, device),
    set: pages === undefined ? () => to.set(from) : () => moves.forEach((move) => void move.to.set(move.from)),
  };
}

function microsecondsPerCall(call: () => void, calls: number): number {
  const before = performance.now();
  for (let i = 0; i < calls; i++) call();
  return ((performance.now() - before) * 1e3) / calls;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

/** Measures both alternately, so that whatever else the machine does meets both. */
async function compare(each: Case): Promise<{ dma: number; set: number }> {
  const { dma, set } = await prepare(each);
  const calls = Math.max(1, VOLUME / each.size / ROUNDS);
  microsecondsPerCall(dma, WARM_UP);
  microsecondsPerCall(set, WARM_UP);
  const rounds = Array.from({ length: ROUNDS }, () => {
    return [microsecondsPerCall(dma, calls), microsecondsPerCall(set, calls)] as const;
  });
  return { dma: median(rounds.map((round) => round[0])), set: median(rounds.map((round) => round[1])) };
}

function printRow(cells: readonly string[]): void {
  console.log(cells.map((cell, i) => (i === 0 ? cell.padEnd(36) : cell.padStart(12))).join(""));
}

// Once for nothing, so that the first rows are not those of cold code.
for (const each of cases) await compare(each);
printRow(["µs, median", "DMA", "set", "ratio", "budget"]);
for (const each of cases) {
  const { dma, set } = await compare(each);
  const ratio = dma / set;
  const verdict = each.scattered || each.size === PAGE ? "-" : ratio <= 1.5 ? "ok" : "over";
  printRow([each.name, dma.toFixed(2), set.toFixed(2), ratio.toFixed(2), verdict]);
}
