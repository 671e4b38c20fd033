import { afterEach, beforeEach, expect, it } from "vitest";
import { formatHolders, groupHolders } from "../../src/machine/group-holders.js";
import { linuxSyscalls } from "../../src/syscalls/linux.js";
import { SysfsKernel } from "./support/sysfs-kernel.js";
import { type SysfsTree, twoSmmuBoard } from "./support/sysfs-tree.js";

let tree: SysfsTree;
let kernel: SysfsKernel;
beforeEach(() => {
  tree = twoSmmuBoard();
  kernel = new SysfsKernel(tree);
});
afterEach(() => tree[Symbol.dispose]());

it("finds none where there is no /proc", () => {
  expect(groupHolders(kernel.machine, 9)).toEqual([]);
});

it("finds who has the group's node open, in the order of their ids", () => {
  tree.process(1000, "qemu-system-aar", { 0: "/dev/null", 5: "/dev/vfio/9" });
  tree.process(200, "nvmf_tgt", { 7: "/dev/vfio/noiommu-9", 8: "/dev/vfio/9" });
  tree.process(300, "other", { 3: "/dev/vfio/90", 4: "/dev/vfio/vfio", 5: "socket:[9]" });
  tree.file("/proc/meminfo", "");
  const holders = groupHolders(kernel.machine, 9);
  expect(holders).toEqual([
    { pid: 200, command: "nvmf_tgt" },
    { pid: 1000, command: "qemu-system-aar" },
  ]);
  expect(formatHolders(holders)).toBe("200 (nvmf_tgt), 1000 (qemu-system-aar)");
});

it("finds who has a device of the group open by its own node", () => {
  tree.process(200, "iommufd-user", { 7: "/dev/vfio/devices/vfio0" });
  tree.process(201, "other", { 7: "/dev/vfio/devices/vfio1" });
  expect(groupHolders(kernel.machine, 9)).toEqual([{ pid: 200, command: "iommufd-user" }]);
});

it("finds who kept a device's descriptor, where fdinfo says which", () => {
  tree.process(200, "keeper", { 7: "anon_inode:[vfio-device]" });
  expect(groupHolders(kernel.machine, 9)).toEqual([]);
  tree.file("/proc/200/fdinfo/7", "pos:\t0\nvfio-device-syspath: /sys/devices/pci0000:00/0000:00:02.0/0000:0a:00.0\n");
  expect(groupHolders(kernel.machine, 9)).toEqual([{ pid: 200, command: "keeper" }]);
  expect(groupHolders(kernel.machine, 8)).toEqual([]);
});

it("passes over what it may not read", () => {
  tree.process(200, "mine", { 7: "/dev/vfio/9" });
  tree.process(300, "theirs", { 7: "/dev/vfio/9" });
  const readDirectory = (path: string) => kernel.syscalls.readDirectory(path === "/proc/300/fd" ? "/denied" : path);
  tree.remove("/proc/200/comm");
  expect(groupHolders({ syscalls: { ...kernel.syscalls, ...files(), readDirectory } }, 9)).toEqual([
    { pid: 200, command: "?" },
  ]);
});

it.runIf(process.platform === "linux")("looks through this machine's processes", () => {
  expect(groupHolders({ syscalls: linuxSyscalls() }, 123456)).toEqual([]);
});

function files() {
  const { readFile, readLink } = kernel.syscalls;
  return { readFile, readLink };
}
