import assert from "node:assert/strict";
import { type Device, IoAddressSpace } from "iospan";
import { EDU_BUFFER_SIZE, Edu } from "../../examples/edu/edu.js";
import { refused } from "./expect.js";
import { type Rig, type Scenario, scenario } from "./rig.js";

// Registers of edu's BAR 0 (QEMU, docs/specs/edu.rst).
const LIVENESS = 0x04;
const FACTORIAL = 0x08;
const STATUS = 0x20;
const RAISE = 0x60;
const ACKNOWLEDGE = 0x64;

async function withDevices(rig: Rig, use: (first: Device, second: Device, space: IoAddressSpace) => Promise<void>) {
  await using space = await IoAddressSpace.open(rig.machine, [rig.first, rig.second], { strategy: rig.strategy });
  await use(space.interface(rig.first), space.interface(rig.second), space);
}

async function factorial(device: Device, value: number): Promise<number> {
  const bar = device.region("bar0");
  bar.write32(FACTORIAL, value);
  while ((bar.read32(STATUS) & 1) !== 0) await new Promise((resolve) => setTimeout(resolve, 1));
  return bar.read32(FACTORIAL);
}

const signalled = (ms: number) => ({ signal: AbortSignal.timeout(ms) });

export const device: readonly Scenario[] = [
  scenario("reads and writes registers of both devices", (rig) =>
    withDevices(rig, async (first, second) => {
      for (const [index, each] of [first, second].entries()) {
        const bar = each.region("bar0");
        assert.equal(bar, each.region(0));
        bar.write32(LIVENESS, 0x1234_5678 + index);
        assert.equal(bar.read32(LIVENESS), ~(0x1234_5678 + index) >>> 0);
        assert.equal(await factorial(each, 5 + index), index === 0 ? 120 : 720);
      }
    }),
  ),

  scenario("refuses accesses that are no registers", (rig) =>
    withDevices(rig, async (first) => {
      const bar = first.region("bar0");
      await refused("ERR_IOSPAN_REGION_ACCESS", () => bar.read32(2));
      await refused("ERR_IOSPAN_REGION_ACCESS", () => bar.write64(4, 0n));
      for (const offset of [bar.size, bar.size - 2, -4, 0.5, Number.NaN]) {
        await refused("ERR_IOSPAN_REGION_RANGE", () => bar.read32(offset));
      }
      for (const value of [2 ** 32, -(2 ** 31) - 1, 0.5, Number.NaN]) {
        await refused("ERR_IOSPAN_INVALID_ARGUMENT", () => bar.write32(LIVENESS, value));
      }
      bar.write32(LIVENESS, 1 << 31);
      assert.equal(bar.read32(LIVENESS), 0x7fff_ffff);
      await refused("ERR_IOSPAN_NOT_SUPPORTED", () => first.region("bar5"));
      await refused("ERR_IOSPAN_NOT_SUPPORTED", () => first.region(77));
    }),
  ),

  scenario("shows the configuration space, and masters the bus while open", (rig) =>
    withDevices(rig, async (first, second) => {
      for (const each of [first, second]) {
        assert.equal(each.pciConfig?.vendorId, 0x1234);
        assert.equal(each.pciConfig?.deviceId, 0x11e8);
        assert.equal(each.pciConfig?.busMaster, true);
        const header = each.region("config").read(0, 4);
        assert.deepEqual([...header], [0x34, 0x12, 0xe8, 0x11]);
      }
    }),
  ),

  scenario("takes the registers away when it closes", async (rig) => {
    let bar: ReturnType<Device["region"]> | undefined;
    let closed: Device | undefined;
    await withDevices(rig, async (first) => {
      closed = first;
      bar = first.region("bar0");
      bar.read32(LIVENESS);
    });
    await refused("ERR_IOSPAN_RELEASED", () => bar?.read32(LIVENESS));
    await refused("ERR_IOSPAN_RELEASED", () => bar?.write32(LIVENESS, 0));
    await refused("ERR_IOSPAN_RELEASED", () => closed?.region("config").read16(0));
    await refused("ERR_IOSPAN_RELEASED", () => closed?.interrupt("msi"));
    await refused("ERR_IOSPAN_RELEASED", () => closed?.reset());
  }),

  scenario("does DMA that ends with an MSI, on both", (rig) =>
    withDevices(rig, async (first, second, space) => {
      using buffer = space.allocate(2 * EDU_BUFFER_SIZE);
      for (const [index, each] of [first, second].entries()) {
        buffer.bytes.fill(index + 1, 0, EDU_BUFFER_SIZE);
        const target = (buffer.iova + BigInt(EDU_BUFFER_SIZE)) as typeof buffer.iova;
        const completion = each === first || rig.secondHasMsi !== false ? "msi" : "poll";
        await new Edu(each).copy(buffer.iova, target, EDU_BUFFER_SIZE, completion);
        assert.ok(buffer.bytes.subarray(0, 2 * EDU_BUFFER_SIZE).every((byte) => byte === index + 1));
      }
    }),
  ),

  scenario("tells of interrupts that came before the loop asked, and of each later one", (rig) =>
    withDevices(rig, async (first) => {
      const bar = first.region("bar0");
      const raise = () => {
        bar.write32(RAISE, 1);
        bar.write32(ACKNOWLEDGE, 1);
      };
      using interrupt = first.interrupt("msi", 0, signalled(10_000));
      for (let i = 0; i < 3; i += 1) raise();
      let turns = 0;
      for await (const { count } of interrupt) {
        // An interrupt controller may merge MSIs that follow each other closely.
        assert.ok(count >= 1 && count <= 3);
        turns += 1;
        if (turns === 3) break;
        await new Promise((resolve) => setTimeout(resolve, 20));
        raise();
      }
      // Leaving the loop disarmed it: the vector can be had again, and nothing old is left in it.
      using again = first.interrupt("msi", 0);
      await assert.rejects(
        Promise.race([again.next(), new Promise((_, reject) => setTimeout(reject, 50, new Error("quiet")))]),
        /quiet/,
      );
    }),
  ),

  scenario("opens a level-triggered line again for the next turn", (rig) =>
    withDevices(rig, async (first) => {
      const bar = first.region("bar0");
      using interrupt = first.interrupt("intx", 0, signalled(10_000));
      for (let turn = 1; turn <= 3; turn += 1) {
        bar.write32(RAISE, 1 << turn);
        const event = await interrupt.next();
        assert.equal(event.done, false);
        bar.write32(ACKNOWLEDGE, 1 << turn);
      }
    }),
  ),

  scenario("ends a loop by signal, by close and with the space", (rig) =>
    withDevices(rig, async (first, second, space) => {
      const aborting = new AbortController();
      const aborted = first.interrupt("msi", 0, { signal: aborting.signal }).next();
      aborting.abort(new Error("enough"));
      await assert.rejects(aborted, /enough/);
      const closing = first.interrupt("msi", 0);
      await refused("ERR_IOSPAN_BUSY", () => first.interrupt("msi", 0));
      const closed = closing.next();
      closing.close();
      assert.equal((await closed).done, true);
      const ended = second.interrupt(rig.secondHasMsi === false ? "intx" : "msi", 0).next();
      await space.close();
      assert.equal((await ended).done, true);
    }),
  ),

  scenario("refuses interrupts that are not there, or another kind at a time", (rig) =>
    withDevices(rig, async (first) => {
      const { count } = first.interrupts.find(({ kind }) => kind === "msi") ?? { count: 0 };
      assert.ok(count > 0);
      await refused("ERR_IOSPAN_NOT_SUPPORTED", () => first.interrupt("msi", count));
      await refused("ERR_IOSPAN_NOT_SUPPORTED", () => first.interrupt("msi", -1));
      await refused("ERR_IOSPAN_NOT_SUPPORTED", () => first.interrupt("irq", 0));
      using _msi = first.interrupt("msi", 0);
      const error = await refused("ERR_IOSPAN_INTERRUPT_REFUSED", () => first.interrupt("intx", 0));
      assert.equal(error.errnoName, "EINVAL");
    }),
  ),

  scenario("resets a device, which keeps its place in the space", (rig) =>
    withDevices(rig, async (first, _second, space) => {
      using buffer = space.allocate(2 * EDU_BUFFER_SIZE);
      await first.reset();
      buffer.bytes.fill(0x77, 0, EDU_BUFFER_SIZE);
      const target = (buffer.iova + BigInt(EDU_BUFFER_SIZE)) as typeof buffer.iova;
      await new Edu(first).copy(buffer.iova, target, EDU_BUFFER_SIZE);
      assert.ok(buffer.bytes.subarray(0, 2 * EDU_BUFFER_SIZE).every((byte) => byte === 0x77));
    }),
  ),
];
