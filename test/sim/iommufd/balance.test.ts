import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { outcome, PAGE } from "../program.js";
import { A, A2, B, machine } from "./iommufd-program.js";

const DEVICES = [A, B, A2] as const;
const PAGES = 16;
const BASE = 0x7ff8; // in pages: eight below the window of the interrupts, eight inside it

interface Mapping {
  readonly iova: number;
  readonly pages: number;
}

/** What an address space does, as simply as it can be said; addresses in pages from BASE. */
class Model {
  mappings: Mapping[] = [];
  attached = new Set<number>();

  map(iova: number, pages: number): bigint | string {
    if (this.attached.size > 0 && iova + pages > 8) return "EINVAL";
    if (this.#touched(iova, pages).length > 0) return "EEXIST";
    this.mappings.push({ iova, pages });
    return BigInt((BASE + iova) * PAGE);
  }

  unmap(iova: number, pages: number): bigint | string {
    const touched = this.#touched(iova, pages).sort((a, b) => a.iova - b.iova);
    let gone = 0;
    for (const each of touched) {
      if (each.iova < iova || each.iova + each.pages > iova + pages) return "ENOENT";
      this.mappings = this.mappings.filter((other) => other !== each);
      gone += each.pages;
    }
    return touched.length === 0 ? "ENOENT" : BigInt(gone * PAGE);
  }

  attach(device: number): string | undefined {
    const conflict = this.mappings.some(({ iova, pages }) => iova + pages > 8);
    if (conflict) return "EADDRINUSE";
    this.attached.add(device);
    return undefined;
  }

  get pages(): number {
    return this.mappings.reduce((sum, { pages }) => sum + pages, 0);
  }

  #touched(iova: number, pages: number): Mapping[] {
    return this.mappings.filter((other) => iova < other.iova + other.pages && other.iova < iova + pages);
  }
}

const place = { iova: fc.integer({ min: 0, max: PAGES - 1 }), pages: fc.integer({ min: 1, max: 4 }) };
const device = fc.integer({ min: 0, max: DEVICES.length - 1 });
const step = fc.oneof(
  fc.record({ kind: fc.constantFrom("map", "unmap"), ...place, device: fc.constant(0) }),
  fc.record({ kind: fc.constantFrom("attach", "detach"), iova: fc.constant(0), pages: fc.constant(0), device }),
);

describe("any sequence of maps, unmaps, attaches and detaches", () => {
  it("answers like the model, in every page table, and the accounts balance", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const program = machine({ capabilities: [], memlock: 2 ** 20 });
        const { kernel } = program;
        const iommufd = program.iommufd();
        const ioas = program.ioas(iommufd);
        const devices = DEVICES.map((name) => program.bound(name, iommufd).cdev);
        const va = program.memory(4 * PAGE);
        const model = new Model();
        for (const { kind, iova, pages, device: index } of steps) {
          const at = BigInt((BASE + iova) * PAGE);
          const length = BigInt(pages * PAGE);
          if (kind === "map") {
            const answer = outcome(() => program.ioasMap(iommufd, ioas, { iova: at, length, va }));
            expect(answer).toBe(model.map(iova, pages));
          } else if (kind === "unmap") {
            expect(outcome(() => program.ioasUnmap(iommufd, ioas, at, length))).toBe(model.unmap(iova, pages));
          } else if (kind === "detach") {
            program.detach(devices[index]!);
            model.attached.delete(index);
          } else {
            const answer = outcome(() => program.attach(devices[index]!, ioas));
            const already = model.attached.has(index);
            const expected = already ? undefined : model.attach(index);
            expect(typeof answer === "string" ? answer : undefined).toBe(expected);
          }
          const pinned = model.attached.size > 0 ? model.pages : 0;
          expect([kernel.pinnedPages, program.kilobytes("VmPin")]).toEqual([pinned, pinned * 4]);
          const [{ hwpts } = { hwpts: [] }] = kernel.iommufds[0]?.ioases ?? [];
          const smmus = new Set([...model.attached].map((each) => (each === 1 ? "second" : "first")));
          expect(hwpts).toHaveLength(smmus.size);
          for (const { mappings } of hwpts) {
            expect(mappings.reduce((sum, { size }) => sum + size, 0)).toBe(model.pages * PAGE);
          }
        }
        for (const { fd } of [...kernel.openFds]) kernel.close(fd);
        kernel.munmap(va, 4 * PAGE);
        expect([kernel.pinnedPages, kernel.usedMemory, kernel.iommufds]).toEqual([0, 0, []]);
        for (const name of DEVICES) expect(program.status(program.group(name))).toBe(1);
      }),
      { numRuns: 100 },
    );
  });

  it("keeps one pin for all copies of a page, whichever goes first", () => {
    const copies = fc.array(fc.record({ from: fc.nat(3), length: fc.integer({ min: 1, max: 4 }) }), { maxLength: 6 });
    fc.assert(
      fc.property(copies, fc.infiniteStream(fc.nat(100)), (list, order) => {
        const program = machine();
        const { iommufd, ioas } = program.attached(A);
        const va = program.memory(4 * PAGE);
        program.ioasMap(iommufd, ioas, { va, length: 4 * PAGE });
        const live = [{ at: 0, from: 0, length: 4 }];
        for (const [index, { from, length }] of list.entries()) {
          const pages = Math.min(length, 4 - from);
          const at = 0x100 * (index + 1);
          const source = { ioas, iova: BigInt(from * PAGE), length: BigInt(pages * PAGE) };
          program.copy(iommufd, { ioas, iova: BigInt(at * PAGE) }, source);
          live.push({ at, from, length: pages });
        }
        while (live.length > 0) {
          const used = new Set(live.flatMap(({ from, length }) => Array.from({ length }, (_, page) => from + page)));
          expect(program.kernel.pinnedPages).toBe(used.size);
          const [gone] = live.splice((order.next().value as number) % live.length, 1);
          program.ioasUnmap(iommufd, ioas, gone!.at * PAGE, gone!.length * PAGE);
        }
        expect(program.kernel.pinnedPages).toBe(0);
      }),
      { numRuns: 50 },
    );
  });
});
