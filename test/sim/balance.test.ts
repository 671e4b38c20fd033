import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { machineOne } from "../../src/sim/linux/machine-one.js";
import { outcome, PAGE, Program } from "./program.js";

const DEVICES = ["0000:02:00.0", "0000:22:00.0"];
const PAGES = 16;
const BASE = 0x7ff8; // in pages: eight below the MSI window, eight inside it

interface Mapping {
  readonly iova: number;
  readonly pages: number;
}

/** What type1 version 2 does, as simply as it can be said; addresses in pages from BASE. */
class Model {
  mappings: Mapping[] = [];

  map(iova: number, pages: number): number | string {
    if (this.mappings.some((other) => iova < other.iova + other.pages && other.iova < iova + pages)) return "EEXIST";
    if (iova + pages > 8) return "EINVAL";
    this.mappings.push({ iova, pages });
    return 0;
  }

  unmap(iova: number, pages: number): bigint | string {
    const end = iova + pages;
    const touched = this.mappings.filter((other) => iova < other.iova + other.pages && other.iova < end);
    if (touched.some((other) => other.iova < iova || other.iova + other.pages > end)) return "EINVAL";
    this.mappings = this.mappings.filter((other) => !touched.includes(other));
    return BigInt(touched.reduce((sum, other) => sum + other.pages, 0) * PAGE);
  }

  get pages(): number {
    return this.mappings.reduce((sum, { pages }) => sum + pages, 0);
  }
}

const place = { iova: fc.integer({ min: 0, max: PAGES - 1 }), pages: fc.integer({ min: 1, max: 4 }) };
const step = fc.oneof(
  fc.record({ kind: fc.constant("map" as const), ...place }),
  fc.record({ kind: fc.constant("unmap" as const), ...place }),
  fc.record({ kind: fc.constant("toggle" as const), iova: fc.constant(0), pages: fc.constant(0) }),
);

describe("any sequence of maps and unmaps", () => {
  it("answers like the model, in every domain, and the accounts balance", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const program = new Program(machineOne());
        const { kernel } = program;
        const { container } = program.open(DEVICES[0]!);
        const vaddr = program.memory(4 * PAGE);
        const joining = program.group(DEVICES[1]!);
        const model = new Model();
        let joined = false;
        for (const { kind, iova, pages } of steps) {
          const at = BigInt((BASE + iova) * PAGE);
          const size = BigInt(pages * PAGE);
          if (kind === "map")
            expect(outcome(() => program.map(container, at, size, vaddr))).toBe(model.map(iova, pages));
          else if (kind === "unmap")
            expect(outcome(() => program.unmap(container, at, size))).toBe(model.unmap(iova, pages));
          else {
            if (joined) program.unsetContainer(joining);
            else program.setContainer(joining, container);
            joined = !joined;
          }
          expect(kernel.lockedBytes).toBe(model.pages * PAGE);
          expect(kernel.pinnedPages).toBe(model.pages);
          expect(program.available(container)).toBe(65535 - model.mappings.length);
          for (const { mappings } of kernel.containers[0]?.type1?.domains ?? []) {
            expect(mappings.reduce((sum, mapping) => sum + mapping.size, 0)).toBe(model.pages * PAGE);
          }
        }
        expect(program.unmap(container, 0n, 0n, 2)).toBe(BigInt(model.pages * PAGE));
        expect([kernel.lockedBytes, program.available(container)]).toEqual([0, 65535]);
        for (const { fd } of [...kernel.openFds].reverse()) kernel.close(fd);
        kernel.munmap(vaddr, 4 * PAGE);
        expect([kernel.usedMemory, kernel.containers]).toEqual([0, []]);
      }),
      { numRuns: 150 },
    );
  });
});

describe("any use of memory", () => {
  const DMA = BigInt(0x100_0000);
  const at = fc.integer({ min: 0, max: PAGES - 1 });
  const use = fc.oneof(
    fc.record({ kind: fc.constantFrom("mmap", "munmap", "pin", "unpin", "write", "view"), at, pages: place.pages }),
  );

  it("is all given back", () => {
    fc.assert(
      fc.property(fc.array(use, { maxLength: 40 }), (steps) => {
        const program = new Program(machineOne());
        const { kernel } = program;
        const { container } = program.open(DEVICES[0]!);
        const base = program.memory(PAGES * PAGE);
        const address = (page: number) => base + BigInt(page * PAGE);
        const fixed = (page: number, pages: number) =>
          kernel.mmap({ length: pages * PAGE, prot: 3, flags: 0x32, address: address(page) });
        for (const { kind, at: page, pages } of steps) {
          const length = Math.min(pages, PAGES - page) * PAGE;
          if (kind === "mmap") fixed(page, length / PAGE);
          else if (kind === "munmap") kernel.munmap(address(page), length);
          else if (kind === "pin")
            outcome(() => program.map(container, DMA + BigInt(page * PAGE), BigInt(length), address(page)));
          else if (kind === "unpin") outcome(() => program.unmap(container, DMA + BigInt(page * PAGE), BigInt(length)));
          else attempt(() => program.bytes(address(page), PAGE).fill(pages));
        }
        const pinned = kernel.containers[0]?.type1?.dmas.reduce((sum, { size }) => sum + size, 0) ?? 0;
        expect([kernel.lockedBytes, kernel.pinnedPages * PAGE]).toEqual([pinned, pinned]);
        kernel.munmap(base, PAGES * PAGE);
        expect(kernel.usedMemory).toBeLessThanOrEqual(pinned);
        program.unmap(container, 0n, 0n, 2);
        expect(kernel.usedMemory).toBe(0);
      }),
      { numRuns: 150 },
    );
  });
});

/** A view of nothing, or of a page that another view shows, is no matter here. */
function attempt(call: () => void): void {
  try {
    call();
  } catch {}
}
