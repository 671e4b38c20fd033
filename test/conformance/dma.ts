import assert from "node:assert/strict";
import { IoAddressSpace, type Iova, iova, type Mapping } from "iospan";
import { EDU_BUFFER_SIZE, Edu } from "../../examples/edu/edu.js";
import { consistent, sameBytes } from "./expect.js";
import { granules } from "./granule.js";
import { isMirrored } from "./mechanism.js";
import { type Rig, type Scenario, scenario } from "./rig.js";

const SIZE = EDU_BUFFER_SIZE;

/** Bytes that no other round has: `seed` tells rounds apart. */
function pattern(seed: number): Uint8Array {
  return Uint8Array.from({ length: SIZE }, (_, index) => (index * 13 + seed * 57 + (index >> 8)) & 0xff);
}

const at = (buffer: Mapping, offset: number): Iova => iova(buffer.iova + BigInt(offset));

/** What an engine moves at a time: a buffer may be larger, where pages are. */
const part = ({ bytes }: { readonly bytes: Uint8Array }, index = 0) => bytes.slice(index * SIZE, (index + 1) * SIZE);

/** Every engine reads what the process wrote, and the process what every engine wrote; all at the same time. */
async function seesTheSame(space: IoAddressSpace, names: readonly string[], buffer: Mapping, seed: number) {
  const bytes = pattern(seed);
  buffer.bytes.fill(0);
  buffer.bytes.set(bytes, 0);
  await Promise.all(
    names.map((name, index) =>
      new Edu(space.interface(name)).copy(at(buffer, 0), at(buffer, SIZE * (index + 1)), SIZE),
    ),
  );
  for (const [index, name] of names.entries()) {
    sameBytes(part(buffer, index + 1), bytes, `what ${name} copied`);
  }
}

const open = (rig: Rig, names: readonly string[]) =>
  IoAddressSpace.open(rig.machine, names, { strategy: rig.strategy });

const onlyMirrored: Scenario["skip"] = (rig) =>
  isMirrored(rig) ? undefined : "only mirrored spaces over several IOMMUs can limit a mapping";

export const dma: readonly Scenario[] = [
  scenario("both engines read and write the same bytes at the same IOVA", async (rig) => {
    await using space = await open(rig, [rig.first, rig.second]);
    using buffer = space.allocate(3 * SIZE);
    await seesTheSame(space, [rig.first, rig.second], buffer, 1);
  }),

  scenario("what one engine wrote, the other reads", async (rig) => {
    await using space = await open(rig, [rig.first, rig.second]);
    using buffer = space.allocate(3 * SIZE);
    const bytes = pattern(3);
    buffer.bytes.set(bytes);
    await new Edu(space.interface(rig.first)).copy(at(buffer, 0), at(buffer, SIZE), SIZE);
    await new Edu(space.interface(rig.second)).copy(at(buffer, SIZE), at(buffer, 2 * SIZE), SIZE);
    sameBytes(part(buffer, 2), bytes, "what both copied");
  }),

  scenario("after every change both engines still see the same", async (rig) => {
    await using space = await open(rig, [rig.first, rig.second]);
    using buffer = space.allocate(3 * SIZE);
    const other = space.allocate(16 * SIZE);
    await seesTheSame(space, [rig.first, rig.second], buffer, 10);
    other.free();
    await seesTheSame(space, [rig.first, rig.second], buffer, 20);
    await space.detach(rig.first);
    await seesTheSame(space, [rig.second], buffer, 30);
    await space.attach(rig.first);
    await seesTheSame(space, [rig.first, rig.second], buffer, 40);
    consistent(space, 1);
  }),

  scenario("a device attached later sees what was mapped before", async (rig) => {
    await using space = await open(rig, [rig.first]);
    // Memory and addresses that suit an IOMMU with larger pages, too.
    using memory = granules(rig, 6);
    const size = memory.size / 2;
    await using buffer = await space.map(memory, { iova: 0x40_0000, size });
    await using far = await space.map(memory, { iova: 0x1_0000_0000n, offset: size, size });
    await space.attach(rig.second);
    await seesTheSame(space, [rig.second], buffer, 50);
    await seesTheSame(space, [rig.second, rig.first], far, 60);
  }),

  scenario("a device attached later may do what the mappings allow, and no more", async (rig) => {
    await using space = await open(rig, [rig.first]);
    using memory = granules(rig, 2);
    const size = memory.size / 2;
    await using readable = await space.map(memory, { iova: 0x40_0000, size, access: "read" });
    await using writable = await space.map(memory, { iova: 0x50_0000, offset: size, size, access: "write" });
    readable.bytes.set(pattern(65));
    await space.attach(rig.second);
    using result = space.allocate(SIZE);
    const late = new Edu(space.interface(rig.second));
    await late.copy(readable.iova, result.iova, SIZE);
    sameBytes(part(result), pattern(65), `what ${rig.second} read`);
    await late.store(writable.iova, SIZE);
    sameBytes(part(writable), pattern(65), `what ${rig.second} wrote`);
    await cannotWrite(late, readable);
  }),

  scenario("after an unmap no engine sees anything new, and none writes", async (rig) => {
    await using space = await open(rig, [rig.first, rig.second]);
    await Promise.all([rig.first, rig.second].map((name) => seesNothing(rig, space, name)));
  }),

  scenario("an IOVA that is mapped anew shows the new memory, not the old", async (rig) => {
    await using space = await open(rig, [rig.first, rig.second]);
    const old = space.allocate(3 * SIZE, { iova: 0x400000 });
    await seesTheSame(space, [rig.first, rig.second], old, 70);
    old.free();
    using anew = space.allocate(3 * SIZE, { iova: 0x400000 });
    await seesTheSame(space, [rig.first, rig.second], anew, 80);
  }),

  scenario("an engine that may only read sees what is written after the map", async (rig) => {
    await using space = await open(rig, [rig.first, rig.second]);
    using readable = space.allocate(SIZE, { access: "read" });
    using results = space.allocate(2 * SIZE);
    // Written for the first time now: untouched memory must not have been pinned as the kernel's shared page of zeros.
    readable.bytes.set(pattern(85));
    const engines = [rig.first, rig.second].map((name) => new Edu(space.interface(name)));
    await Promise.all(engines.map((engine, index) => engine.copy(readable.iova, at(results, index * SIZE), SIZE)));
    sameBytes(part(results, 0), pattern(85), `what ${rig.first} read`);
    sameBytes(part(results, 1), pattern(85), `what ${rig.second} read`);
  }),

  scenario("an engine cannot write where it may only read", async (rig) => {
    await using space = await open(rig, [rig.first, rig.second]);
    using readable = space.allocate(SIZE, { access: "read" });
    const engines = [rig.first, rig.second].map((name) => new Edu(space.interface(name)));
    readable.bytes.set(pattern(90));
    await Promise.all(engines.map((engine) => engine.load(readable.iova, SIZE)));
    await Promise.all(engines.map((engine) => cannotWrite(engine, readable)));
  }),

  scenario(
    "a mapping for one interface is the other's fault",
    async (rig) => {
      await using space = await open(rig, [rig.first, rig.second]);
      using limited = space.allocate(SIZE, { interfaces: [rig.first] });
      using shared = space.allocate(SIZE);
      limited.bytes.set(pattern(95));
      const [first, second] = [new Edu(space.interface(rig.first)), new Edu(space.interface(rig.second))];
      await first.copy(limited.iova, shared.iova, SIZE);
      sameBytes(part(shared), pattern(95), `what ${rig.first} copied`);
      shared.bytes.fill(1);
      await second.load(shared.iova, SIZE);
      await second.load(limited.iova, SIZE);
      await second.store(shared.iova, SIZE);
      const secret = pattern(95);
      assert.ok(
        part(shared).some((byte, index) => byte !== secret[index]),
        `${rig.second} read what is not mapped for it`,
      );
    },
    onlyMirrored,
  ),

  scenario(
    "a mapping that one interface may write to is read-only for the other",
    async (rig) => {
      await using space = await open(rig, [rig.first, rig.second]);
      // Both ways round, lest the first or the last one's access is good for both.
      for (const [reader, writer] of [
        [rig.first, rig.second],
        [rig.second, rig.first],
      ] as const) {
        using memory = space.allocate(SIZE, { interfaces: { [reader]: "read", [writer]: "read-write" } });
        using result = space.allocate(SIZE);
        memory.bytes.set(pattern(97));
        const reading = new Edu(space.interface(reader));
        await reading.copy(memory.iova, result.iova, SIZE);
        sameBytes(part(result), pattern(97), `what ${reader} read`);
        await cannotWrite(reading, memory);
        memory.bytes.set(pattern(98));
        const writing = new Edu(space.interface(writer));
        await writing.load(memory.iova, SIZE);
        memory.bytes.fill(0);
        await writing.store(memory.iova, SIZE);
        sameBytes(part(memory), pattern(98), `what ${writer} read and wrote`);
      }
    },
    onlyMirrored,
  ),
];

/** The engine has something else in it than is there now. */
async function cannotWrite(engine: Edu, readable: Mapping): Promise<void> {
  readable.bytes.fill(0x5a);
  await engine.store(readable.iova, SIZE);
  const intact = readable.bytes.every((byte) => byte === 0x5a);
  assert.ok(intact, `${engine.name} wrote to memory that it may only read`);
}

async function seesNothing(rig: Rig, space: IoAddressSpace, name: string): Promise<void> {
  const engine = new Edu(space.interface(name));
  using kept = space.allocate(SIZE);
  // The scenario's own, so that it is still there to be looked at when it is unmapped.
  using memory = granules(rig, 1);
  const mapping = await space.map(memory);
  kept.bytes.set(pattern(100));
  await engine.load(kept.iova, SIZE);
  const secret = pattern(101);
  memory.bytes.set(secret);
  mapping.unmapNow();
  await engine.load(mapping.iova, SIZE);
  await engine.store(kept.iova, SIZE);
  assert.ok(
    part(kept).some((byte, index) => byte !== secret[index]),
    `${name} read memory that was unmapped`,
  );
  await engine.store(mapping.iova, SIZE);
  sameBytes(part(memory), secret, `memory that was unmapped, after ${name} wrote`);
}
