import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Clock } from "../../../src/sim/hw/clock.js";
import { DmaPath } from "../../../src/sim/hw/dma-path.js";
import { Interconnect } from "../../../src/sim/hw/interconnect.js";
import { FlatMachine, FlatMemory, PAGE } from "./flat-machine.js";

const P = BigInt(PAGE);
const bytesOf = (length: number, seed = 1) => Uint8Array.from({ length }, (_, i) => (i * 7 + seed) & 0xff);

function rig() {
  const machine = new FlatMachine();
  const [side] = machine.sides;
  return { ...side, side, memory: machine.memory };
}

describe("a device's way to memory", () => {
  it("copies pages that go on physically in one piece", () => {
    const { table, dma, memory } = rig();
    table.map(0x10000, 4 * PAGE, -0x8000);
    memory.bytes.set(bytesOf(4 * PAGE), 0x8000);
    const into = new Uint8Array(3 * PAGE);
    expect(dma.read(0x10010n, into)).toBe(true);
    expect(into).toEqual(bytesOf(4 * PAGE).subarray(0x10, 0x10 + 3 * PAGE));
    expect(memory.accesses).toEqual([`r ${0x8010}+${3 * PAGE}`]);
  });

  it("goes where the pages are", () => {
    const { table, dma, memory } = rig();
    table.pages.set(0x1000, 0x9000).set(0x2000, 0x4000).set(0x3000, 0x5000);
    expect(dma.write(0x1ff8n, bytesOf(PAGE + 16))).toBe(true);
    expect(memory.accesses).toEqual([`w ${0x9ff8}+8`, `w ${0x4000}+${PAGE + 8}`]);
  });

  it("aborts page by page, with one event for each", () => {
    const { table, dma, memory } = rig();
    table.map(0x1000, PAGE).map(0x4000, PAGE);
    memory.bytes.fill(7);
    const into = new Uint8Array(4 * PAGE).fill(9);
    expect(dma.read(0x1800n, into)).toBe(false);
    expect(table.events).toEqual(["r 0x2000", "r 0x3000", "r 0x5000"]);
    const kinds = [0, 0x7ff, 0x800, 0x27ff, 0x2800, 0x37ff, 0x3800].map((at) => into[at]);
    expect(kinds).toEqual([7, 7, 0, 0, 7, 7, 0]);
  });

  it("loses what it cannot write, and nothing else", () => {
    const { table, dma, memory } = rig();
    table.map(0x1000, 3 * PAGE).readOnly.add(0x2000);
    expect(dma.write(0x1000n, bytesOf(3 * PAGE).fill(5))).toBe(false);
    expect([0x1000, 0x2000, 0x3000].map((at) => memory.bytes[at])).toEqual([5, 0, 5]);
    expect(table.events).toEqual(["w 0x2000"]);
  });

  it("reads zeros where memory does not answer, and says where that was", () => {
    const { table, dma, memory } = rig();
    table.map(0x1000, 4 * PAGE);
    memory.bytes.fill(3);
    memory.holes.add(0x2000).add(0x4000);
    const into = new Uint8Array(4 * PAGE).fill(9);
    const { complete, abortedAt } = dma.readTimed(0x1000n, into);
    expect([complete, abortedAt]).toEqual([false, 0x2000n]);
    expect([into[PAGE - 1], into[PAGE], into[2 * PAGE - 1], into[2 * PAGE]]).toEqual([3, 0, 0, 3]);
    expect(dma.writeTimed(0x1000n, into.fill(8))).toMatchObject({ complete: false, abortedAt: 0x2000n });
    expect([0x1000, 0x3000].map((at) => memory.bytes[at])).toEqual([8, 8]);
    expect(table.events).toEqual([]);
  });

  it("puts nothing on the bus while it may not master it", () => {
    const { side, table, dma, memory } = rig();
    table.map(0, PAGE);
    side.master = false;
    const into = bytesOf(8);
    expect([dma.read(0n, into), dma.write(8n, bytesOf(8))]).toEqual([false, false]);
    expect(into).toEqual(new Uint8Array(8));
    expect([memory.accesses, table.events]).toEqual([[], []]);
    expect(dma.readTimed(8n, into)).toMatchObject({ complete: false, abortedAt: 8n });
  });

  it("knows addresses of 64 bits", () => {
    const { table, dma } = rig();
    table.map(0, PAGE);
    const into = bytesOf(16);
    expect(dma.read(2n ** 64n - 8n, into)).toBe(false);
    expect(into).toEqual(new Uint8Array(16));
    expect(table.events).toEqual(["r 0xfffffffffffffff8", "r 0x0"]);
    expect(dma.writeTimed(2n ** 53n - 8n, bytesOf(16))).toMatchObject({ abortedAt: 2n ** 53n - 8n });
  });

  it("says where it was aborted first, and forgets it", () => {
    const { table, dma } = rig();
    table.map(0x1000, PAGE);
    expect(dma.writeTimed(0x1ff0n, bytesOf(3 * PAGE))).toMatchObject({ abortedAt: 0x2000n });
    expect(dma.writeTimed(0x1000n, bytesOf(8))).toMatchObject({ complete: true, abortedAt: undefined });
  });

  it("does nothing for no bytes", () => {
    const { dma, table } = rig();
    expect([dma.read(5n, new Uint8Array()), dma.write(5n, new Uint8Array()), table.events]).toEqual([true, true, []]);
  });

  it("without an IOMMU takes addresses for physical", () => {
    const memory = new FlatMemory(4 * PAGE);
    const link = new Interconnect({ clock: new Clock() }).link();
    const dma = new DmaPath({ memory, smmu: undefined, streamId: 0, mayMaster: () => true, link });
    expect(dma.write(P - 4n, bytesOf(8))).toBe(true);
    const into = new Uint8Array(8);
    expect([dma.read(P - 4n, into), into]).toEqual([true, bytesOf(8)]);
    expect(dma.readTimed(4n * P - 4n, into)).toMatchObject({ complete: false, abortedAt: 4n * P });
    expect(dma.read(2n ** 60n, into)).toBe(false);
  });

  it("is right for whatever is mapped wherever", () => {
    const pages = fc.array(fc.option(fc.nat(7), { freq: 5 }), { minLength: 8, maxLength: 8 });
    fc.assert(
      fc.property(pages, fc.nat(8 * PAGE - 1), fc.nat(8 * PAGE), (table, start, size) => {
        const length = Math.min(size, 8 * PAGE - start);
        const machine = new FlatMachine();
        const [{ dma, table: pageTable }] = machine.sides;
        machine.memory.bytes.set(bytesOf(8 * PAGE));
        for (const [page, physical] of table.entries()) {
          if (physical !== null) pageTable.pages.set(page * PAGE, physical * PAGE);
        }
        const into = new Uint8Array(length).fill(255);
        const complete = dma.read(BigInt(start), into);
        const wanted = Uint8Array.from(into, (_, i) => {
          const physical = table[Math.floor((start + i) / PAGE)];
          return physical == null ? 0 : machine.memory.bytes[physical * PAGE + ((start + i) % PAGE)]!;
        });
        expect(Buffer.compare(into, wanted)).toBe(0);
        const touched = length === 0 ? [] : table.slice(Math.floor(start / PAGE), Math.ceil((start + length) / PAGE));
        expect(complete).toBe(!touched.includes(null));
        expect(pageTable.events).toHaveLength(touched.filter((page) => page === null).length);
      }),
    );
  });
});

describe("accesses that take time", () => {
  const options = { walk: 3, walkLatency: 40, links: [{ bandwidth: 1e9, latency: 200 }] };

  it("pay for the walks of their pages once", () => {
    const machine = new FlatMachine(options);
    const [{ table, dma }] = machine.sides;
    table.map(0, 4 * PAGE);
    expect(dma.readTimed(0n, new Uint8Array(2 * PAGE)).done).toBe(2 * PAGE + 200 + 2 * 3 * 40);
    machine.clock.advance(1);
    expect(dma.readTimed(0n, new Uint8Array(2 * PAGE)).done).toBe(1e6 + 2 * PAGE + 200);
  });

  it("write when what was sent has arrived", () => {
    const machine = new FlatMachine({ ...options, memoryBandwidth: 2e9 });
    const [{ table, dma }] = machine.sides;
    table.map(0, PAGE);
    const arrival = dma.send(1000);
    expect(arrival).toBe(1200);
    machine.clock.advance(arrival / 1e6);
    expect(dma.writeTimed(0n, bytesOf(1000)).done).toBe(1200 + 500 + 120);
    expect(machine.memory.bytes.subarray(0, 1000)).toEqual(bytesOf(1000));
  });
});
