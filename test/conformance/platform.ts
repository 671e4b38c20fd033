import assert from "node:assert/strict";
import { type Device, IoAddressSpace, type Iova } from "iospan";
import { EDU_BUFFER_SIZE, Edu } from "../../examples/edu/edu.js";
import { closesInOrder } from "./closing.js";
import { consistent, refused, sameBytes } from "./expect.js";
import { type PlatformRig, type Scenario, scenario } from "./rig.js";

// Registers of edu (QEMU, docs/specs/edu.rst), here in a platform device's first frame.
const DMA_SOURCE = 0x80;
const DMA_DESTINATION = 0x88;
const DMA_COUNT = 0x90;
const DMA_COMMAND = 0x98;
const BUFFER = 0x40000n;
const START = 1;
const TO_MEMORY = 2;

const open = (rig: PlatformRig, names: readonly string[] = [rig.first, rig.port]) =>
  IoAddressSpace.open(rig.machine, names, { strategy: rig.strategy });

/** A register of the third frame that can be written, where the frame can. */
const WRITABLE = 0x04;
const EVERY_CAUSE = 0xff;

async function withPort(rig: PlatformRig, use: (port: Device, space: IoAddressSpace) => Promise<void>): Promise<void> {
  await using space = await open(rig);
  const port = space.interface(rig.port);
  // Nothing resets it, so it may be as the scenario before left it.
  rig.registers.acknowledge(port.region(0), EVERY_CAUSE);
  await use(port, space);
}

const needsDma = ({ registers }: PlatformRig): string | undefined =>
  registers.doesDma ? undefined : "QEMU has no platform device with DMA";

/** edu's transfer, through a region that has another name than its BAR. */
async function transfer(port: Device, source: bigint, destination: bigint, command: number): Promise<void> {
  const frame = port.region(0);
  frame.write64(DMA_SOURCE, source);
  frame.write64(DMA_DESTINATION, destination);
  frame.write64(DMA_COUNT, BigInt(EDU_BUFFER_SIZE));
  frame.write32(DMA_COMMAND, command);
  while ((frame.read32(DMA_COMMAND) & START) !== 0) await new Promise((resolve) => setTimeout(resolve, 1));
}

const load = (port: Device, from: Iova) => transfer(port, from, BUFFER, START);
const store = (port: Device, to: Iova) => transfer(port, BUFFER, to, START | TO_MEMORY);
const pattern = (seed: number) =>
  Uint8Array.from({ length: EDU_BUFFER_SIZE }, (_, index) => (index * 11 + seed) & 0xff);

/** A function on PCIe and a port on the SoC's own bus in one space: the article's chip. */
export const platform: readonly Scenario<PlatformRig>[] = [
  scenario("opens a PCIe function and a platform device in every order, and leaves nothing open", async (rig) => {
    const before = rig.openFiles();
    for (const names of [[rig.first, rig.port], [rig.port, rig.first], [rig.port], [rig.port, rig.second]]) {
      const space = await open(rig, names);
      assert.deepEqual(space.interfaces, names);
      const port = space.interface(rig.port);
      assert.equal(port.bus, "platform");
      assert.equal(port.pciConfig, undefined);
      await space.close();
      assert.deepEqual(rig.openFiles(), before);
    }
  }),

  scenario("reads and writes the registers of a platform device", (rig) =>
    withPort(rig, async (port) => {
      const frame = port.region(0);
      assert.equal(frame, port.region("region0"));
      const { identity, scratch } = rig.registers;
      assert.equal(frame.read32(identity.offset), identity.value);
      assert.equal(new DataView(frame.read(identity.offset, 4).buffer).getUint32(0, true), identity.value);
      for (const written of [0x1234_5678, 0x0fed_cba9]) {
        frame.write32(scratch.offset, written);
        assert.equal(frame.read32(scratch.offset), scratch.readsBack(written));
      }
      await refused("ERR_IOSPAN_REGION_RANGE", () => frame.read32(frame.size));
      await refused("ERR_IOSPAN_NOT_SUPPORTED", () => port.region("bar0"));
      await refused("ERR_IOSPAN_NOT_SUPPORTED", () => port.region("config"));
      // The second one is no whole page: it cannot be mapped, and is read through the file.
      const [, second] = port.regions;
      assert.deepEqual(second?.mmapAreas, []);
      assert.equal(port.region(1).read32(scratch.offset), frame.read32(scratch.offset));
      const [, , third] = port.regions;
      assert.equal(third?.writable, rig.readOnlyFrame === false);
      if (third?.writable) port.region(2).write32(WRITABLE, 1);
      else await refused("ERR_IOSPAN_REGION_ACCESS", () => port.region(2).write32(WRITABLE, 1));
    }),
  ),

  scenario("hears a platform device's level-triggered interrupt, turn by turn", (rig) =>
    withPort(rig, async (port) => {
      const { registers } = rig;
      assert.deepEqual(port.interrupts, [{ kind: "irq", count: 2 }]);
      const frame = port.region(0);
      using interrupt = port.interrupt("irq", 0, { signal: AbortSignal.timeout(10_000) });
      for (let turn = 1; turn <= 3; turn += 1) {
        registers.raise(frame, 1 << turn);
        assert.deepEqual(await interrupt.next(), { done: false, value: { count: 1 } });
        registers.acknowledge(frame, 1 << turn);
      }
    }),
  ),

  scenario("arms every interrupt of a platform device for itself, and again after it was closed", (rig) =>
    withPort(rig, async (port) => {
      const { registers } = rig;
      const level = port.interrupt("irq", 0);
      using _edge = port.interrupt("irq", 1);
      await refused("ERR_IOSPAN_BUSY", () => port.interrupt("irq", 0));
      await refused("ERR_IOSPAN_NOT_SUPPORTED", () => port.interrupt("irq", 2));
      await refused("ERR_IOSPAN_NOT_SUPPORTED", () => port.interrupt("msi", 0));
      const waiting = level.next();
      level.close();
      assert.deepEqual(await waiting, { done: true, value: undefined });
      // Raised while nobody listens: the one who comes next hears of it, since the line is still up.
      registers.raise(port.region(0), 1);
      using again = port.interrupt("irq", 0, { signal: AbortSignal.timeout(10_000) });
      registers.acknowledge(port.region(0), 1);
      registers.raise(port.region(0), 2);
      assert.equal((await again.next()).done, false);
    }),
  ),

  scenario("hears a platform device's level-triggered interrupt, armed anew for every job", (rig) =>
    withPort(rig, async (port) => {
      const { registers } = rig;
      const frame = port.region(0);
      for (let job = 1; job <= 4; job += 1) {
        using interrupt = port.interrupt("irq", 0, { signal: AbortSignal.timeout(10_000) });
        registers.raise(frame, job);
        assert.deepEqual(await interrupt.next(), { done: false, value: { count: 1 } });
        registers.acknowledge(frame, job);
      }
    }),
  ),

  scenario("tells of a platform device's interrupt that nobody heard only while the device holds it", (rig) =>
    withPort(rig, async (port) => {
      const { registers } = rig;
      const frame = port.region(0);
      for (let job = 1; job <= 3; job += 1) {
        // It fires, which masks it, and is closed before anybody asks.
        const unheard = port.interrupt("irq", 0);
        registers.raise(frame, job);
        await new Promise((resolve) => setTimeout(resolve, 20));
        unheard.close();
        if (job === 2) registers.acknowledge(frame, job);
        using interrupt = port.interrupt("irq", 0, { signal: AbortSignal.timeout(10_000) });
        const turn = interrupt.next();
        if (job === 2) {
          assert.equal(
            await Promise.race([turn, new Promise((resolve) => setTimeout(resolve, 50, "silence"))]),
            "silence",
          );
          registers.raise(frame, job);
        }
        assert.deepEqual(await turn, { done: false, value: { count: 1 } });
        registers.acknowledge(frame, job);
      }
    }),
  ),

  scenario("refuses to reset a device that nobody knows how to reset", (rig) =>
    withPort(rig, async (port, space) => {
      assert.equal(port.resettable, false);
      const error = await refused("ERR_IOSPAN_NOT_SUPPORTED", () => port.reset());
      assert.equal(error.device, rig.port);
      assert.equal(space.interface(rig.first).resettable, true);
    }),
  ),

  scenario(
    "a PCIe function and a platform device see the same memory at the same IOVA",
    (rig) =>
      withPort(rig, async (port, space) => {
        using buffer = space.allocate(EDU_BUFFER_SIZE);
        using copy = space.allocate(EDU_BUFFER_SIZE);
        buffer.bytes.set(pattern(1));
        consistent(space, 2);
        await load(port, buffer.iova);
        await store(port, copy.iova);
        sameBytes(copy.bytes, pattern(1), `what ${rig.port} copied`);
        buffer.bytes.fill(0);
        await new Edu(space.interface(rig.first)).copy(copy.iova, buffer.iova, EDU_BUFFER_SIZE);
        sameBytes(buffer.bytes, pattern(1), `what ${rig.first} copied`);
      }),
    needsDma,
  ),

  scenario(
    "a platform device that is attached later gets the mappings there are, as they are",
    async (rig) => {
      await using space = await open(rig, [rig.first]);
      using readable = space.allocate(EDU_BUFFER_SIZE, { access: "read" });
      using result = space.allocate(EDU_BUFFER_SIZE);
      await space.attach(rig.port);
      consistent(space, 2);
      const port = space.interface(rig.port);
      readable.bytes.set(pattern(2));
      await load(port, readable.iova);
      await store(port, result.iova);
      sameBytes(result.bytes, pattern(2), `what ${rig.port} copied`);
      readable.bytes.fill(0x5a);
      await store(port, readable.iova);
      assert.ok(
        readable.bytes.every((byte) => byte === 0x5a),
        "read-only memory was written to",
      );
      await space.detach(rig.port);
      consistent(space, 2);
    },
    needsDma,
  ),

  scenario("closes a space with a platform device in the only safe order", (rig) =>
    closesInOrder(rig, [
      { name: rig.port, interrupt: "irq" },
      { name: rig.first, interrupt: "msi" },
    ]),
  ),
];
