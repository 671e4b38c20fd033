import assert from "node:assert/strict";
import { IoAddressSpace, type Iova, iova } from "iospan";
import { Edu } from "../../examples/edu/edu.js";
import { consistent, refused, sameBytes } from "./expect.js";
import { granuleOf } from "./granule.js";
import { mechanismOf } from "./mechanism.js";
import { type Rig, type Scenario, scenario } from "./rig.js";

/** The register with the address that `edu` reads from by DMA: 8 bytes, which read back as they were written. */
const DMA_SOURCE = 0x80;
/** Takes 4 bytes at a time, and reads back inverted. */
const LIVENESS = 0x04;
const WORD = 8;

const open = (rig: Rig, names: readonly string[]) =>
  IoAddressSpace.open(rig.machine, names, { strategy: rig.strategy });

/** Runs where the space can map registers; where it says that it cannot, that is what is looked at. */
async function withPeer(
  rig: Rig,
  use: (space: IoAddressSpace, registers: Iova) => Promise<void>,
): Promise<string | undefined> {
  await using space = await open(rig, [rig.first, rig.second]);
  const region = space.interface(rig.second).region("bar0");
  const { supported, reason } = space.peerToPeer(region);
  if (!supported) {
    await cannot(space, rig.second);
    return `not supported: ${reason}`;
  }
  const mapping = await space.map(region, { size: granuleOf(rig) });
  assert.equal(mapping.region, region);
  consistent(space, 1);
  await use(space, mapping.iova);
  await mapping.unmap();
  consistent(space, 0);
  return undefined;
}

/** The refusal is that which was told before, and nothing has changed. */
async function cannot(space: IoAddressSpace, name: string): Promise<void> {
  const region = space.interface(name).region("bar0");
  const { reason, hint } = space.peerToPeer(region);
  const error = await refused("ERR_IOSPAN_NOT_SUPPORTED", () => space.map(region));
  assert.ok(error.message.includes(reason), error.message);
  assert.equal(error.hint, hint);
  assert.equal(error.device, name);
  consistent(space, 0);
  await space.detach(name);
}

const word = (seed: number) => Uint8Array.from({ length: WORD }, (_, index) => seed + 17 * index);
const wordOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
const at = (address: Iova, offset: number): Iova => iova(address + BigInt(offset));

export const peerToPeer: readonly Scenario[] = [
  scenario("tells how registers are mapped for other devices, or why not", async (rig) => {
    await using space = await open(rig, [rig.first, rig.second]);
    const told = space.peerToPeer(space.interface(rig.second).region("bar0"));
    const { supported, mechanism, reason, hint } = told;
    assert.ok(reason.length > 0);
    assert.equal(hint === undefined, supported, "a hint where it is not supported, and there only");
    const byContainer = rig.compatContainer ? undefined : "bar-mapping";
    assert.equal(mechanism, mechanismOf(rig.strategy) === "iommufd" ? "dma-buf" : byContainer);
    if (mechanism === "bar-mapping") assert.equal(supported, true, "type1 maps what the process has mmapped");
    const config = space.peerToPeer(space.interface(rig.second).region("config"));
    assert.equal(config.supported, false, "configuration space is no memory");
    consistent(space, 0);
    return `${supported ? "supported" : "not supported"} (${mechanism ?? "no mechanism"}): ${reason}`;
  }),

  scenario("one engine writes another one's registers by DMA", async (rig) => {
    return withPeer(rig, async (space, registers) => {
      using buffer = space.allocate(4096);
      buffer.bytes.set(word(0x21));
      const [engine, bar] = [new Edu(space.interface(rig.first)), space.interface(rig.second).region("bar0")];
      bar.write64(DMA_SOURCE, 0n);
      await engine.copy(buffer.iova, at(registers, DMA_SOURCE), WORD);
      assert.equal(bar.read64(DMA_SOURCE), wordOf(word(0x21)));
      bar.write32(LIVENESS, 0);
      await engine.copy(buffer.iova, at(registers, LIVENESS), 4);
      assert.equal(bar.read32(LIVENESS), Number(BigInt.asUintN(32, ~wordOf(word(0x21)))));
    });
  }),

  scenario("one engine reads another one's registers by DMA", async (rig) => {
    return withPeer(rig, async (space, registers) => {
      using buffer = space.allocate(4096);
      const [engine, bar] = [new Edu(space.interface(rig.first)), space.interface(rig.second).region("bar0")];
      bar.write64(DMA_SOURCE, wordOf(word(0x42)));
      await engine.copy(at(registers, DMA_SOURCE), buffer.iova, WORD);
      sameBytes(buffer.bytes.slice(0, WORD), word(0x42), "what was read of the registers");
    });
  }),

  scenario("a device that comes later reaches registers that were mapped before", async (rig) => {
    await using space = await open(rig, [rig.second]);
    const bar = space.interface(rig.second).region("bar0");
    if (!space.peerToPeer(bar).supported) return await cannot(space, rig.second);
    await using mapping = await space.map(bar, { size: granuleOf(rig) });
    await space.attach(rig.first);
    consistent(space, 1);
    using buffer = space.allocate(4096);
    buffer.bytes.set(word(0x63));
    await new Edu(space.interface(rig.first)).copy(buffer.iova, at(mapping.iova, DMA_SOURCE), WORD);
    assert.equal(bar.read64(DMA_SOURCE), wordOf(word(0x63)));
  }),

  scenario("a device is not detached while others reach its registers", async (rig) => {
    await using space = await open(rig, [rig.first, rig.second]);
    const bar = space.interface(rig.second).region("bar0");
    if (!space.peerToPeer(bar).supported) return await cannot(space, rig.second);
    const mapping = await space.map(bar, { size: granuleOf(rig) });
    const error = await refused("ERR_IOSPAN_BUSY", () => space.detach(rig.second));
    assert.ok(error.message.includes(`0x${mapping.iova.toString(16)}`), error.message);
    assert.equal(mapping.mapped, true);
    await mapping.unmap();
    await space.detach(rig.second);
    consistent(space, 0);
  }),

  scenario(
    "registers of a space's device, mapped in another space, are unmapped when that device goes",
    async (rig) => {
      await using space = await open(rig, [rig.first]);
      const other = await open(rig, [rig.second]);
      const bar = other.interface(rig.second).region("bar0");
      if (!space.peerToPeer(bar).supported) {
        await other.close();
        return;
      }
      const mapping = await space.map(bar, { size: granuleOf(rig) });
      assert.equal(mapping.mapped, true);
      await other.close();
      assert.equal(mapping.mapped, false);
      consistent(space, 0);
      // Nothing of the mapping keeps the device, or its group.
      await space.attach(rig.second);
    },
  ),

  scenario("a space is closed while another one is mapping its registers, or unmapping them", async (rig) => {
    await using space = await open(rig, [rig.first]);
    for (const what of ["map", "unmap"] as const) {
      const other = await open(rig, [rig.second]);
      const bar = other.interface(rig.second).region("bar0");
      const { supported, reason } = space.peerToPeer(bar);
      if (!supported) {
        await other.close();
        return `not supported: ${reason}`;
      }
      const mapping = what === "unmap" ? await space.map(bar, { size: granuleOf(rig) }) : undefined;
      const work = mapping === undefined ? space.map(bar, { size: granuleOf(rig) }) : mapping.unmap();
      const [worked, closed] = await Promise.allSettled([work, other.close()]);
      if (closed.status === "rejected") throw closed.reason;
      // Which of the two was faster is not said; what is left of it is: nothing.
      if (worked.status === "rejected") assert.equal(worked.reason.code, "ERR_IOSPAN_RELEASED", String(worked.reason));
      assert.deepEqual(space.mappings, []);
      consistent(space, 0);
    }
    await space.attach(rig.second);
    return undefined;
  }),

  scenario(
    "a reset takes registers from an iommufd, which the mapping and the audit tell; it is mapped anew then",
    async (rig) => {
      await using space = await open(rig, [rig.first, rig.second]);
      const device = space.interface(rig.second);
      const bar = device.region("bar0");
      const { supported, mechanism } = space.peerToPeer(bar);
      if (!supported || !device.resettable) return;
      const before = await space.map(bar, { size: granuleOf(rig) });
      await device.reset();
      const revoked = mechanism === "dma-buf";
      assert.deepEqual([before.mapped, before.revoked], [true, revoked]);
      assert.equal(space.audit().differences.filter(({ problem }) => problem === "revoked").length, revoked ? 1 : 0);
      await before.unmap();
      await using mapping = await space.map(bar, { size: granuleOf(rig) });
      consistent(space, 1);
      using buffer = space.allocate(4096);
      buffer.bytes.set(word(0x35));
      await new Edu(space.interface(rig.first)).copy(buffer.iova, at(mapping.iova, DMA_SOURCE), WORD);
      assert.equal(bar.read64(DMA_SOURCE), wordOf(word(0x35)));
    },
  ),

  scenario("a space is closed with registers mapped, and lets go of everything", async (rig) => {
    const before = rig.openFiles();
    const space = await open(rig, [rig.first, rig.second]);
    const bar = space.interface(rig.second).region("bar0");
    if (space.peerToPeer(bar).supported) await space.map(bar, { size: granuleOf(rig) });
    await space.close();
    assert.deepEqual(rig.openFiles(), before);
    const again = await open(rig, [rig.first, rig.second]);
    await again.close();
  }),
];
