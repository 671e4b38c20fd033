import assert from "node:assert/strict";
import { IoAddressSpace } from "iospan";
import { consistent, refused } from "./expect.js";
import { granuleOf, granules } from "./granule.js";
import { mechanismOf } from "./mechanism.js";
import { type Rig, type Scenario, scenario } from "./rig.js";

const open = (rig: Rig, devices = [rig.first, rig.second]) =>
  IoAddressSpace.open(rig.machine, devices, { strategy: rig.strategy });

function permutations(names: readonly string[]): string[][] {
  if (names.length <= 1) return [[...names]];
  return names.flatMap((name) => permutations(names.filter((other) => other !== name)).map((rest) => [name, ...rest]));
}

export const lifecycle: readonly Scenario[] = [
  scenario("opens and closes, again and again, and leaves nothing open", async (rig) => {
    const before = rig.openFiles();
    for (let round = 0; round < 3; round += 1) {
      const space = await open(rig);
      assert.equal(space.strategy, rig.strategy);
      assert.deepEqual(space.interfaces, [rig.first, rig.second]);
      assert.ok(rig.openFiles().length > before.length);
      await space.close();
      await space.close();
      assert.equal(space.closed, true);
      assert.deepEqual(rig.openFiles(), before);
    }
  }),

  scenario("opens in every order, and detaches in every order", async (rig) => {
    const before = rig.openFiles();
    const orders = permutations([rig.first, rig.second, rig.neighbour]);
    for (const order of rig.depth === "full" ? orders : orders.slice(-1)) {
      await using space = await open(rig, order);
      using _buffer = space.allocate(2 * granuleOf(rig));
      for (const name of [...order].reverse()) {
        consistent(space, 1);
        await space.detach(name);
      }
      assert.deepEqual(rig.openFiles(), before);
    }
    assert.deepEqual(rig.openFiles(), before);
  }),

  scenario("keeps its mappings while it has no device, for the next one", async (rig) => {
    await using space = await open(rig);
    using buffer = space.allocate(granuleOf(rig));
    await space.detach(rig.first);
    await space.detach(rig.second);
    assert.equal(buffer.mapped, true);
    await refused("ERR_IOSPAN_NO_DEVICE", () => space.allocate(granuleOf(rig)));
    await space.attach(rig.second);
    await space.attach(rig.first);
    consistent(space, 1);
  }),

  scenario("takes a group that another space holds from nobody", async (rig) => {
    await using space = await open(rig, [rig.first]);
    using _buffer = space.allocate(granuleOf(rig));
    const error = await refused("ERR_IOSPAN_GROUP_BUSY", () => open(rig));
    // A device's own node can be opened by anybody; being bound twice makes no sense.
    assert.equal(error.errnoName, mechanismOf(rig.strategy) === "iommufd" ? "EINVAL" : "EBUSY");
    assert.equal(error.device, rig.first);
    consistent(space, 1);
    // What the refused one had opened before is free again.
    await (await open(rig, [rig.second])).close();
  }),

  scenario("is open only where the caller's own proof succeeds", async (rig) => {
    const before = rig.openFiles();
    const devices = [rig.first, rig.second];
    const { strategy } = rig;
    const doubt = new Error("not proven");
    const verify = (space: IoAddressSpace) => {
      assert.deepEqual(space.interfaces, devices);
      space.allocate(4096);
      throw doubt;
    };
    const error = await refused("ERR_IOSPAN_VERIFY_FAILED", () =>
      IoAddressSpace.open(rig.machine, devices, { strategy, verify }),
    );
    assert.equal(error.cause, doubt);
    assert.deepEqual(rig.openFiles(), before);
    const proof = (space: IoAddressSpace) => space.allocate(4096).free();
    await using space = await IoAddressSpace.open(rig.machine, devices, { strategy, verify: proof });
    consistent(space, 0);
  }),

  scenario("refuses devices that it cannot have, and has touched nothing", async (rig) => {
    const before = rig.openFiles();
    await refused("ERR_IOSPAN_INVALID_ARGUMENT", () => open(rig, []));
    await refused("ERR_IOSPAN_INVALID_ARGUMENT", () => open(rig, [rig.first, rig.first]));
    await refused("ERR_IOSPAN_NO_DEVICE", () => open(rig, [rig.first, "0000:ff:1f.7"]));
    const error = await refused("ERR_IOSPAN_WRONG_DRIVER", () => open(rig, [rig.first, rig.stranger]));
    assert.match(error.hint ?? "", /driver_override/);
    assert.deepEqual(rig.openFiles(), before);
  }),

  scenario("releases with the space what was allocated from it", async (rig) => {
    const space = await open(rig);
    const buffer = space.allocate(granuleOf(rig));
    const view = buffer.bytes;
    view[0] = 42;
    await space.close();
    assert.equal(buffer.mapped, false);
    assert.equal(view[0], 0, "a kept view reads zeros, not memory that is somebody else's by now");
    await refused("ERR_IOSPAN_RELEASED", () => buffer.bytes);
    await refused("ERR_IOSPAN_CLOSED", () => space.allocate(granuleOf(rig)));
    await refused("ERR_IOSPAN_CLOSED", () => space.attach(rig.first));
    await refused("ERR_IOSPAN_CLOSED", () => space.audit());
    buffer.free();
  }),

  scenario("does not let go of memory that devices still see", async (rig) => {
    await using space = await open(rig);
    using memory = granules(rig, 2);
    const mapping = await space.map(memory);
    await refused("ERR_IOSPAN_BUSY", () => memory.release());
    await mapping.unmap();
    memory.release();
    await refused("ERR_IOSPAN_RELEASED", () => memory.bytes);
    await refused("ERR_IOSPAN_RELEASED", () => space.map(memory));
    consistent(space, 0);
  }),

  scenario("lets two spaces live side by side", async (rig) => {
    await using one = await open(rig, [rig.first]);
    await using two = await open(rig, [rig.second]);
    using a = one.allocate(granuleOf(rig), { iova: 0x100000 });
    using b = two.allocate(granuleOf(rig), { iova: 0x100000 });
    assert.equal(a.iova, b.iova);
    consistent(one, 1);
    consistent(two, 1);
  }),

  scenario("waits for what is under way before it closes", async (rig) => {
    const before = rig.openFiles();
    const space = await open(rig);
    const memory = granules(rig, 64);
    const size = 8 * granuleOf(rig);
    const mapping = Promise.all(
      Array.from({ length: 8 }, (_, index) => space.map(memory, { offset: index * size, size })),
    );
    const closing = space.close();
    await refused("ERR_IOSPAN_CLOSED", async () => {
      await mapping;
      await space.map(memory);
    });
    await closing;
    memory.release();
    assert.deepEqual(rig.openFiles(), before);
  }),
];
