import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  HEADER,
  type LastingBinding,
  lastingBindings,
  persistenceNotes,
  persistentFiles,
  persistentPaths,
  udevRule,
} from "../../src/binding/persistence.js";
import { findDevice } from "../../src/machine/devices.js";
import { BindingBoard, COMPANION, DISK, FIRST, PORT } from "./support.js";

const board = new BindingBoard();
const folder = mkdtempSync(path.join(tmpdir(), "iospan-rules-"));
afterAll(() => {
  board[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

function lasting(name: string, driver: string): LastingBinding {
  const device = findDevice(board.kernel.machine, name);
  return { device, driver, pci: device.pci };
}

describe("udev rules", () => {
  it("hold for one device at its address, and take it from no driver", () => {
    expect(udevRule(lasting(DISK, "vfio-pci"))).toBe(
      'ACTION=="add", SUBSYSTEM=="pci", KERNEL=="0000:21:00.0", ATTR{vendor}=="0x1b36", ATTR{device}=="0x0010", ' +
        'ATTR{driver_override}="vfio-pci", RUN{builtin}+="kmod load vfio-pci", ' +
        "RUN{program}+=\"/bin/sh -c 'if [ ! -e /sys/bus/pci/devices/$kernel/driver ]; then echo $kernel > /sys/bus/pci/drivers_probe; fi'\"",
    );
    expect(udevRule(lasting(PORT, "vfio-platform"))).not.toContain("ATTR{vendor}");
  });

  it("match a name with characters that mean something by any character", () => {
    const { device, ...rest } = lasting(PORT, "vfio-platform");
    expect(udevRule({ ...rest, device: { ...device, name: 'a"b[c]*' } })).toContain('KERNEL=="a?b?c??"');
  });

  it("pass udev's own check", ({ skip }) => {
    const version = spawnSync("udevadm", ["verify", "--help"], { encoding: "utf8" });
    if (version.error !== undefined || version.status !== 0) skip("there is no udevadm with verify (systemd 254) here");
    for (const each of [lasting(DISK, "vfio-pci"), lasting(PORT, "vfio-platform")]) {
      const file = path.join(folder, `05-iospan-${each.device.bus}.rules`);
      writeFileSync(file, `${udevRule(each)}\n`);
      const { status, stderr, stdout } = spawnSync("udevadm", ["verify", file], { encoding: "utf8" });
      expect(status, stderr + stdout).toBe(0);
    }
  });
});

describe("an initramfs", () => {
  const notes = (...names: string[]) => {
    const planned = names.map((name) => ({ device: findDevice(board.kernel.machine, name), driver: "vfio-pci" }));
    const [first] = lastingBindings(board.kernel.machine, planned);
    return first === undefined ? "" : persistenceNotes(first).join("\n");
  };

  it("is told no IDs that another device of the machine has, too", () => {
    expect(notes(DISK)).toContain("1b36:0010 is also what 0000:01:00.0, 0000:01:00.1 have, which would go to VFIO");
    expect(notes(DISK)).not.toContain("ids=");
  });

  it("is told IDs that no other device has, and how that is taken back", () => {
    const text = notes(DISK, FIRST, COMPANION);
    expect(text).toContain("options vfio-pci ids=1b36:0010");
    expect(text).toContain("rm /etc/modprobe.d/iospan.conf; update-initramfs -u");
    expect(text).toContain("rm /etc/dracut.conf.d/iospan.conf; dracut -f");
  });
});

describe("files", () => {
  it("begin with the line by which they are known, and have names of a device each", () => {
    const files = persistentFiles(lasting(DISK, "vfio-pci"));
    expect(files.map(({ path: name }) => name)).toEqual([
      "/etc/udev/rules.d/05-iospan-0000-21-00.0.rules",
      "/etc/modules-load.d/iospan-0000-21-00.0.conf",
    ]);
    expect(files.map(({ path: name }) => name)).toEqual(persistentPaths(DISK));
    expect(files.every(({ text }) => text.startsWith(HEADER) && text.endsWith("\n"))).toBe(true);
    expect(files[1]?.text.split("\n")[1]).toBe("vfio-pci");
  });
});
