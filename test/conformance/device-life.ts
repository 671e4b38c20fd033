import assert from "node:assert/strict";
import { bindToVfio, type Device, findDevice, IoAddressSpace, IospanError, type OpenOptions } from "iospan";
import { EDU_BUFFER_SIZE, Edu } from "../../examples/edu/edu.js";
import { consistent, refused } from "./expect.js";
import { granuleOf, granules } from "./granule.js";
import { isMirrored, mechanismOf } from "./mechanism.js";
import { type Rig, type Scenario, scenario } from "./rig.js";

const open = (rig: Rig, names: readonly string[], options: OpenOptions = {}) =>
  IoAddressSpace.open(rig.machine, names, { strategy: rig.strategy, ...options });

/** Registers of edu's BAR 0 (QEMU, docs/specs/edu.rst). */
const LIVENESS = 0x04;
const A_TOKEN = "bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3";

/** Another process unbinds a device that is in use; it is on its driver again afterwards. */
async function unbinding(rig: Rig, name: string, meanwhile: (unbound: Promise<void>) => Promise<void>): Promise<void> {
  assert.ok(rig.unbind !== undefined);
  const unbound = rig.unbind(name);
  try {
    await meanwhile(unbound);
  } finally {
    await unbound;
    assert.equal(findDevice(rig.machine, name).driver, undefined);
    bindToVfio(rig.machine, name);
  }
}

/** The functions on a device's bus, sorted; none on a root bus. */
function busMates({ machine }: Rig, name: string): readonly string[] {
  const isFunction = (each: string) => /^[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/.test(each);
  const path = machine.syscalls.readLink(`/sys/bus/pci/devices/${name}`).split("/").slice(0, -1);
  if (!isFunction(path.at(-1) ?? "")) return [];
  return machine.syscalls.readDirectory(`/sys/bus/pci/devices/${name}/..`).filter(isFunction);
}

const needsUnbind = (rig: Rig) =>
  rig.unbind === undefined ? "there is no other process to unbind a device" : undefined;

async function transfersBy(device: Device, space: IoAddressSpace, value: number): Promise<void> {
  using buffer = space.allocate(2 * EDU_BUFFER_SIZE);
  buffer.bytes.fill(value, 0, EDU_BUFFER_SIZE);
  const target = (buffer.iova + BigInt(EDU_BUFFER_SIZE)) as typeof buffer.iova;
  await new Edu(device).copy(buffer.iova, target, EDU_BUFFER_SIZE, "poll");
  assert.ok(buffer.bytes.subarray(0, 2 * EDU_BUFFER_SIZE).every((byte) => byte === value));
}

export const deviceLife: readonly Scenario[] = [
  scenario(
    "gives a device back that the kernel asks for, and goes on with the others",
    async (rig) => {
      const before = rig.openFiles();
      const told: string[] = [];
      const onRemoval = async (device: Device) => {
        assert.equal(device.removal.aborted, true);
        // It is still there: a driver can end its work.
        device.region("bar0").read32(LIVENESS);
        told.push(device.name);
      };
      const space = await open(rig, [rig.first, rig.second], { onRemoval });
      const leaving = space.interface(rig.first);
      const waiting = leaving.interrupt("msi", 0, { signal: leaving.removal }).next();
      const outcome = assert.rejects(waiting, { code: "ERR_IOSPAN_DEVICE_REMOVED" });
      using memory = granules(rig, 1);
      await space.map(memory);
      await unbinding(rig, rig.first, (unbound) => unbound);
      await outcome;
      assert.deepEqual(told, [rig.first]);
      assert.deepEqual(space.interfaces, [rig.second]);
      assert.equal(leaving.closed, true);
      const error = await refused("ERR_IOSPAN_DEVICE_REMOVED", () => leaving.region("bar0"));
      assert.equal(error.device, rig.first);
      await refused("ERR_IOSPAN_DEVICE_REMOVED", () => leaving.reset());
      await refused("ERR_IOSPAN_DEVICE_REMOVED", () => space.interface(rig.first));
      consistent(space, 1);
      await transfersBy(space.interface(rig.second), space, 0x42);
      await space.attach(rig.first);
      assert.equal(space.interface(rig.first).removal.aborted, false);
      consistent(space, 1);
      await transfersBy(space.interface(rig.first), space, 0x43);
      await space.close();
      assert.deepEqual(rig.openFiles(), before);
    },
    needsUnbind,
  ),

  scenario(
    "waits with giving it back for what is under way, and for whoever uses it",
    async (rig) => {
      let release = () => {};
      const held = new Promise<void>((resolve) => {
        release = resolve;
      });
      let asked = () => {};
      const wasAsked = new Promise<void>((resolve) => {
        asked = resolve;
      });
      await using space = await open(rig, [rig.first, rig.second], {
        onRemoval: () => {
          asked();
          return held;
        },
      });
      using memory = granules(rig, 8);
      let gone = false;
      await unbinding(rig, rig.first, async (unbound) => {
        void unbound.then(() => {
          gone = true;
        });
        await wasAsked;
        const size = granuleOf(rig);
        for (let index = 0; index < 8; index += 1) await space.map(memory, { offset: index * size, size });
        consistent(space, 8);
        assert.equal(gone, false);
        assert.deepEqual(space.interfaces, [rig.first, rig.second]);
        release();
      });
      assert.deepEqual(space.interfaces, [rig.second]);
      consistent(space, 8);
      for (const mapping of space.mappings) await mapping.unmap();
    },
    needsUnbind,
  ),

  scenario(
    "lets a space be closed, or the device be detached, when the kernel asks for it",
    async (rig) => {
      const before = rig.openFiles();
      const detaching: IoAddressSpace = await open(rig, [rig.first, rig.second], {
        onRemoval: ({ name }) => detaching.detach(name),
      });
      await unbinding(rig, rig.first, (unbound) => unbound);
      await refused("ERR_IOSPAN_NO_DEVICE", () => detaching.interface(rig.first));
      await detaching.close();
      const closing: IoAddressSpace = await open(rig, [rig.first, rig.second], { onRemoval: () => closing.close() });
      await unbinding(rig, rig.second, (unbound) => unbound);
      assert.equal(closing.closed, true);
      assert.deepEqual(rig.openFiles(), before);
    },
    needsUnbind,
  ),

  scenario(
    "gives the device back although whoever was told fails, and reports that when the space is closed",
    async (rig) => {
      const before = rig.openFiles();
      const doubt = new Error("not now");
      const space = await open(rig, [rig.first, rig.second], {
        onRemoval: () => {
          throw doubt;
        },
      });
      await unbinding(rig, rig.first, (unbound) => unbound);
      assert.deepEqual(space.lateFailures, [doubt]);
      const error = await refused("ERR_IOSPAN_CLOSE_INCOMPLETE", () => space.close());
      assert.ok(error.cause instanceof AggregateError);
      assert.ok(error.cause.errors.includes(doubt));
      assert.deepEqual(rig.openFiles(), before);
    },
    needsUnbind,
  ),

  scenario(
    "keeps what is limited to a device that is given back, for when it comes again",
    async (rig) => {
      await using space = await open(rig, [rig.first, rig.second]);
      using memory = granules(rig, 1);
      const one = await space.map(memory, { interfaces: [rig.first] });
      await unbinding(rig, rig.first, (unbound) => unbound);
      assert.equal(one.mapped, true);
      consistent(space, 1);
      await refused("ERR_IOSPAN_DEVICE_REMOVED", () => space.map(memory, { interfaces: [rig.first] }));
      await space.attach(rig.first);
      consistent(space, 1);
      await one.unmap();
      consistent(space, 0);
    },
    (rig) => needsUnbind(rig) ?? (isMirrored(rig) ? undefined : "a mapping is for all interfaces, or for none"),
  ),

  scenario("listens itself to the kernel's request", async (rig) => {
    await using space = await open(rig, [rig.first]);
    const device = space.interface(rig.first);
    const error = await refused("ERR_IOSPAN_BUSY", () => device.interrupt("req"));
    assert.match(error.hint, /removal/);
    assert.equal(device.removal.aborted, false);
    await refused("ERR_IOSPAN_INVALID_ARGUMENT", () => open(rig, [rig.second], { onRemoval: "no" as never }));
  }),

  scenario("lets a reset that is under way end before the device is closed", async (rig) => {
    const before = rig.openFiles();
    const space = await open(rig, [rig.first, rig.second]);
    const [first, second] = [space.interface(rig.first), space.interface(rig.second)];
    const ways = [() => space.detach(rig.first), () => space.close()];
    for (const [index, device] of [first, second].entries()) {
      const resetting = device.resettable ? device.reset() : Promise.resolve();
      const closing = ways[index]?.();
      await Promise.all([resetting, closing]);
      await refused("ERR_IOSPAN_RELEASED", () => device.reset());
    }
    assert.deepEqual(rig.openFiles(), before);
  }),

  scenario("resets the bus of a device where it has one to itself, and says why where it has not", async (rig) => {
    await using space = await open(rig, [rig.first, rig.second]);
    const device = space.interface(rig.first);
    const { devices, possible, reason } = device.hotResetScope();
    const expected = busMates(rig, rig.first);
    assert.deepEqual(devices.map(({ name }) => name).sort(), expected);
    const ours = [rig.first, rig.second];
    assert.equal(possible, expected.length > 0 && expected.every((name) => ours.includes(name)), reason);
    if (!possible) {
      const code = expected.length > 0 ? "ERR_IOSPAN_RESET_REFUSED" : "ERR_IOSPAN_NOT_SUPPORTED";
      const error = await refused(code, () => device.hotReset());
      assert.ok(error.message.includes(reason));
      return;
    }
    const { group } = findDevice(rig.machine, rig.first);
    assert.deepEqual(
      devices.find(({ name }) => name === rig.first),
      { name: rig.first, group, owned: true },
    );
    using _armed = device.interrupt("msi");
    using _buffer = space.allocate(granuleOf(rig));
    await device.hotReset();
    assert.equal(device.pciConfig?.busMaster, true);
    consistent(space, 1);
    await transfersBy(device, space, 0x66);
    await transfersBy(space.interface(rig.second), space, 0x67);
  }),

  scenario(
    "resets the functions of one device together, when both are the space's",
    async (rig) => {
      const before = rig.openFiles();
      const [one = "", other = ""] = rig.pair ?? [];
      using _one = bindToVfio(rig.machine, one);
      using _other = bindToVfio(rig.machine, other);
      const space = await open(rig, [one, rig.first]);
      const both = space.interface(one).hotResetScope();
      assert.deepEqual(both.devices.map(({ name }) => name).sort(), [one, other].sort());
      // They share a group, or are refused: whoever has the group has both.
      const shared = findDevice(rig.machine, one).group === findDevice(rig.machine, other).group;
      assert.equal(both.possible, shared, both.reason);
      if (!both.possible) {
        assert.ok(both.reason.includes(other));
        const error = await refused("ERR_IOSPAN_RESET_REFUSED", () => space.interface(one).hotReset());
        assert.ok(error.message.includes(other) && error.hint.includes(other));
      }
      await space.attach(other);
      const devices = [one, other].map((name) => space.interface(name));
      for (const device of devices) device.pciConfig?.setBusMaster(true);
      using _buffer = space.allocate(granuleOf(rig));
      await space.interface(other).hotReset();
      for (const device of devices) assert.equal(device.pciConfig?.busMaster, true);
      consistent(space, 1);
      await space.close();
      assert.deepEqual(rig.openFiles(), before);
    },
    ({ pair }) => (pair === undefined ? "the machine has no device with two functions" : undefined),
  ),

  scenario("refuses VF tokens where there is no SR-IOV, and has touched nothing", async (rig) => {
    const before = rig.openFiles();
    const { strategy } = rig;
    const named = (vfToken: string) =>
      IoAddressSpace.open(rig.machine, [{ device: rig.first, vfToken }, rig.second], { strategy });
    await refused("ERR_IOSPAN_INVALID_ARGUMENT", () => named("bd8d9d2b"));
    await refused("ERR_IOSPAN_INVALID_ARGUMENT", () => named(`${A_TOKEN} `));
    const error = await refused("ERR_IOSPAN_VF_TOKEN", () => named(A_TOKEN));
    assert.equal(error.device, rig.first);
    if (mechanismOf(rig.strategy) === "containers") assert.equal(error.errnoName, "EINVAL");
    assert.deepEqual(rig.openFiles(), before);
    await using space = await IoAddressSpace.open(rig.machine, [{ device: rig.first }], { strategy });
    await refused("ERR_IOSPAN_INVALID_ARGUMENT", () => space.attach({ device: rig.second, vfToken: "" }));
    await refused("ERR_IOSPAN_VF_TOKEN", () => space.attach({ device: rig.second, vfToken: A_TOKEN }));
    assert.deepEqual(space.interfaces, [rig.first]);
    const unsupported = await refused("ERR_IOSPAN_NOT_SUPPORTED", () => space.interface(rig.first).setVfToken(A_TOKEN));
    assert.ok(unsupported instanceof IospanError);
    await refused("ERR_IOSPAN_INVALID_ARGUMENT", () => space.interface(rig.first).setVfToken("none"));
  }),
];
