import { describe, expect, it } from "vitest";
import { errno } from "../../src/abi/errno.js";
import { bindDevices } from "../../src/binding/bind-devices.js";
import type { BindingWorld } from "../../src/binding/binding-world.js";
import { Memory } from "../../src/binding/remembered.js";
import { unbindDevices } from "../../src/binding/unbind-devices.js";
import { IospanError } from "../../src/errors.js";
import { type FaultySyscalls, faulty } from "../../src/syscalls/faulty.js";
import { BindingBoard, DISK, PORT } from "./support.js";

// Whichever write fails, drivers are as before, and what the record says is true.

const devices = [DISK, "0000:02:00.0", PORT];
const request = { devices };
const ENOUGH = 40;

function faultyWorld(board: BindingBoard): { world: BindingWorld; syscalls: FaultySyscalls } {
  const syscalls = faulty(board.kernel.syscalls);
  return { world: { machine: { syscalls }, store: board.store }, syscalls };
}

/** Nothing that is on VFIO is forgotten, and nothing is said to be there that is not. */
function expectTrue(board: BindingBoard, bound: boolean): void {
  const places = new Memory(board.kernel.machine, board.store).all.map(({ place }) => place);
  expect(places).toEqual(bound ? devices.map(() => "held") : []);
}

describe.each(["EIO", "EBUSY", "EINVAL", "ENODEV"] as const)("writes that fail with %s", (name) => {
  it("leave every device where it was when binding", () => {
    let failures = 0;
    for (let nth = 1, struck = true; struck && nth < ENOUGH; nth++) {
      using board = new BindingBoard();
      const before = board.tree.snapshot();
      const { world, syscalls } = faultyWorld(board);
      syscalls.fault = { nth, errno: errno[name], match: (call) => call.name === "write-file" };
      try {
        bindDevices(world, request);
      } catch (error) {
        failures += 1;
        expect(error, `write ${nth}`).toBeInstanceOf(IospanError);
        expect(board.tree.snapshot(), `write ${nth}`).toEqual(before);
        expectTrue(board, false);
      }
      struck = syscalls.failed !== undefined;
    }
    expect(failures).toBeGreaterThan(4);
  });

  it("leave every device where it was when unbinding, and it can be tried again", () => {
    let failures = 0;
    for (let nth = 1, struck = true; struck && nth < ENOUGH; nth++) {
      using board = new BindingBoard();
      const before = board.tree.snapshot();
      bindDevices(board.world, request);
      const bound = board.tree.snapshot();
      const { world, syscalls } = faultyWorld(board);
      syscalls.fault = { nth, errno: errno[name], match: (call) => call.name === "write-file" };
      try {
        unbindDevices(world, request);
      } catch (error) {
        failures += 1;
        expect(error, `write ${nth}`).toBeInstanceOf(IospanError);
        expect(board.tree.snapshot(), `write ${nth}`).toEqual(bound);
        expectTrue(board, true);
        unbindDevices(board.world, request);
      }
      struck = syscalls.failed !== undefined;
      expect(board.tree.snapshot(), `write ${nth}`).toEqual(before);
      expectTrue(board, false);
    }
    expect(failures).toBeGreaterThan(4);
  });
});

it("any call about drivers and devices that fails leaves every device where it was, or bound", () => {
  let failures = 0;
  for (let nth = 1, struck = true; struck && nth < 600; nth++) {
    using board = new BindingBoard();
    const before = board.tree.snapshot();
    const { world, syscalls } = faultyWorld(board);
    // What lifelines are looked for by may fail: it is told as unread.
    syscalls.fault = { nth, errno: errno.EIO, match: ({ path = "" }) => path.startsWith("/sys/bus/") };
    try {
      bindDevices(world, request);
      expectTrue(board, true);
    } catch (error) {
      failures += 1;
      expect(error, `call ${nth}`).toBeInstanceOf(IospanError);
      expect(board.tree.snapshot(), `call ${nth}`).toEqual(before);
      expectTrue(board, false);
    }
    struck = syscalls.failed !== undefined;
  }
  expect(failures).toBeGreaterThan(20);
});

it.each([1, 2, 3])("a record whose write %i fails leaves every device where it was", (nth) => {
  using board = new BindingBoard();
  const before = board.tree.snapshot();
  let written = 0;
  const full = () => new IospanError("ERR_IOSPAN_SYSCALL", "the disk is full", { hint: "make room" });
  const store = {
    ...board.store,
    write: (text: string) => {
      written += 1;
      // The third is the one that takes back what the first said.
      if (written === nth || (nth === 3 && written === 2)) throw full();
      board.store.write(text);
    },
  };
  const world = { machine: board.kernel.machine, store };
  expect(() => bindDevices(world, request)).toThrow("the disk is full");
  expect(board.tree.snapshot()).toEqual(before);
  const places = new Memory(board.kernel.machine, board.store).all.map(({ place }) => place);
  expect(places.filter((place) => place !== "back")).toEqual([]);
});

it("a record that cannot be written leaves devices bound when unbinding", () => {
  using board = new BindingBoard();
  bindDevices(board.world, request);
  const bound = board.tree.snapshot();
  const write = () => {
    throw new IospanError("ERR_IOSPAN_SYSCALL", "the disk is full", { hint: "make room" });
  };
  const world = { machine: board.kernel.machine, store: { ...board.store, write } };
  expect(() => unbindDevices(world, request)).toThrow("the disk is full");
  expect(board.tree.snapshot()).toEqual(bound);
  expectTrue(board, true);
});
