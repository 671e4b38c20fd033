import { IospanError } from "../../src/errors.js";
import { iova } from "../../src/iova.js";
import type { DmaMemory } from "../../src/space/dma-memory.js";
import type { MappingRecord } from "../../src/space/ledger.js";

/** The part of {@link DmaMemory} that mapping it needs: addresses, and who holds it. */
export class FakeMemory {
  readonly address: bigint;
  readonly size: number;
  readonly pageSize = 4096;
  users = 0;
  released = false;

  constructor(size: number, address = 0x7f00_0000_0000n) {
    this.size = size;
    this.address = address;
  }

  retain(): void {
    if (this.released) throw new IospanError("ERR_IOSPAN_RELEASED", "released", { hint: "it is a fake" });
    this.users += 1;
  }

  unretain(): void {
    this.users -= 1;
    if (this.users < 0) throw new Error("let go of more often than held");
  }

  release(): void {
    if (this.users > 0) throw new Error("released while mapped");
    this.released = true;
  }
}

/** As what the library's own code takes it for. */
export function asDmaMemory(memory: FakeMemory): DmaMemory {
  return memory as unknown as DmaMemory;
}

export function fakeMemory(size: number, address?: bigint): DmaMemory {
  return asDmaMemory(new FakeMemory(size, address));
}

/** A mapping of the ledger. */
export function record(at: bigint | number, size: number, other: Partial<MappingRecord> = {}): MappingRecord {
  const memory = other.memory ?? fakeMemory(size);
  return { iova: iova(at), size, address: memory.address, memory, access: "read-write", ownsMemory: false, ...other };
}
