import * as fs from "node:fs";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { Folder } from "../../../src/cli/machine/folder.js";
import { twoSmmuBoard } from "../../machine/support/sysfs-tree.js";
import { refusalOf } from "../../support/errors.js";

const tree = twoSmmuBoard();
afterAll(() => tree[Symbol.dispose]());
const ENOENT = { errno: 2, message: expect.stringContaining("ENOENT") };

describe("a folder as a machine", () => {
  it("reads files, folders and links below what is /sys there, and nothing else of a sysfs alone", () => {
    const folder = new Folder(tree.host("/sys"));
    const device = "/sys/bus/pci/devices/0000:01:00.0";
    expect(folder.readFile(`${device}/vendor`)).toBe("0x1b36\n");
    expect([...folder.readBytes(`${device}/vendor`)]).toEqual([...Buffer.from("0x1b36\n")]);
    expect(folder.readLink(device)).toBe("../../../devices/pci0000:00/0000:00:02.0/0000:01:00.0");
    expect(folder.readDirectory("/sys/bus")).toEqual(["pci", "platform"]);
    expect(folder.readDirectory("/sys")).toEqual(["bus", "class", "devices", "firmware", "kernel"]);
    for (const outside of ["/proc/version", "/dev", "/system", "sys"]) {
      expect(refusalOf(() => folder.readFile(outside))).toMatchObject(ENOENT);
      expect(refusalOf(() => folder.readDirectory(outside))).toMatchObject(ENOENT);
    }
    expect(folder.status).toBeUndefined();
  });

  it("is refused as the kernel refuses", () => {
    const folder = new Folder(tree.host("/sys"));
    expect(refusalOf(() => folder.readFile("/sys/none"))).toMatchObject(ENOENT);
    expect(refusalOf(() => folder.readDirectory("/sys/none"))).toMatchObject(ENOENT);
    expect(refusalOf(() => folder.readLink("/sys/bus"))).toMatchObject({ errno: 22, syscall: "readlinkat" });
    expect(refusalOf(() => folder.readFile("/sys/bus"))).toMatchObject({ errno: 21 });
    expect(refusalOf(() => new Folder("/no/such/folder").readDirectory("/sys"))).toMatchObject(ENOENT);
  });

  it("reads nothing of this machine through a copy's links", () => {
    // What is made absolute in a copy of /sys leads to the real one.
    for (const [name, target] of [
      ["made-absolute", "/sys/kernel"],
      ["above", `${"../".repeat(40)}proc`],
    ] as const) {
      fs.symlinkSync(target, path.join(tree.host("/sys/bus"), name));
      const folder = new Folder(tree.host("/sys"));
      expect(fs.readdirSync(path.join(tree.host("/sys/bus"), name)).length).toBeGreaterThan(1);
      expect(refusalOf(() => folder.readDirectory(`/sys/bus/${name}`))).toMatchObject(ENOENT);
      const [inside = ""] = fs.readdirSync(path.join(tree.host("/sys/bus"), name));
      expect(refusalOf(() => folder.readFile(`/sys/bus/${name}/${inside}`))).toMatchObject(ENOENT);
      expect(folder.readLink(`/sys/bus/${name}`)).toBe(target);
    }
  });

  it("is this machine, with permissions", () => {
    const folder = Folder.live();
    expect(folder.readFile("/proc/sys/kernel/ostype")).toBe("Linux\n");
    expect(folder.status?.("/dev/null")).toMatchObject({ mode: fs.statSync("/dev/null").mode, uid: 0, gid: 0 });
    expect(refusalOf(() => folder.status?.("/dev/none"))).toMatchObject({ ...ENOENT, syscall: "stat" });
  });
});
