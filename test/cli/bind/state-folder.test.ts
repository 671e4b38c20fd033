import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HEADER } from "../../../src/binding/persistence.js";
import { EtcFiles } from "../../../src/cli/bind/etc-files.js";
import { stateFolder } from "../../../src/cli/bind/state-folder.js";
import { errorOf } from "../../support/errors.js";

let parent: string;
let folder: string;
beforeEach(() => {
  parent = mkdtempSync(path.join(tmpdir(), "iospan-state-"));
  folder = path.join(parent, "iospan");
});
afterEach(() => rmSync(parent, { recursive: true }));

describe("the record's folder", () => {
  it("keeps what is written, for all to read, and nothing beside it", () => {
    const store = stateFolder(folder);
    expect(store.read()).toBeUndefined();
    store.write("one");
    store.write("two");
    expect(store.read()).toBe("two");
    expect(readdirSync(folder)).toEqual(["bindings.json"]);
    expect(statSync(folder).mode & 0o777).toBe(0o755);
    expect(statSync(store.file).mode & 0o777).toBe(0o644);
  });

  it("is locked by one at a time", () => {
    const store = stateFolder(folder);
    {
      using _lock = store.lock();
      const error = errorOf(() => store.lock());
      expect(error.code).toBe("ERR_IOSPAN_BUSY");
      expect(error.message).toContain(String(process.pid));
    }
    store.lock()[Symbol.dispose]();
    expect(readdirSync(folder)).toEqual([]);
  });

  it("is not kept by a process that has died", () => {
    const store = stateFolder(folder);
    store.write("");
    // Beyond the highest number that Linux gives a process (include/linux/threads.h, PID_MAX_LIMIT).
    for (const holder of ["4194305\n", "", "nobody"]) {
      writeFileSync(path.join(folder, "lock"), holder);
      store.lock()[Symbol.dispose]();
    }
    expect(readdirSync(folder)).toEqual(["bindings.json"]);
  });

  it("says so when it cannot be written", () => {
    writeFileSync(folder, "a file in its place");
    const error = errorOf(() => stateFolder(folder).write(""));
    expect(error.code).toBe("ERR_IOSPAN_SYSCALL");
    expect(error.message).toContain("bindings.json");
  });
});

describe("files in /etc", () => {
  const mine = { path: "/etc/udev/rules.d/05-iospan-a.rules", text: `${HEADER} for a\nx\n` };
  const other = { path: "/etc/modules-load.d/iospan-a.conf", text: `${HEADER} for a\ny\n` };
  const read = (name: string) => readFileSync(path.join(parent, name), "utf8");

  it("are written, brought back and removed", () => {
    const etc = new EtcFiles(parent);
    const undo = etc.write([mine, other]);
    expect(read(mine.path)).toBe(mine.text);
    const again = etc.write([{ ...mine, text: `${HEADER}, again\n` }]);
    again();
    expect(read(mine.path)).toBe(mine.text);
    undo();
    expect(() => read(mine.path)).toThrow("ENOENT");
    etc.write([mine]);
    expect(etc.remove([mine.path, other.path])).toEqual([mine.path]);
    expect(readdirSync(path.join(parent, "etc/udev/rules.d"))).toEqual([]);
  });

  it("that others wrote stay as they are", () => {
    const etc = new EtcFiles(parent);
    etc.write([other]);
    writeFileSync(path.join(parent, other.path), "somebody's\n");
    for (const attempt of [() => etc.write([mine, other]), () => etc.remove([mine.path, other.path])])
      expect(errorOf(attempt).code).toBe("ERR_IOSPAN_BUSY");
    expect(read(other.path)).toBe("somebody's\n");
    expect(() => read(mine.path)).toThrow("ENOENT");
  });
});
