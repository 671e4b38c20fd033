import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { errno } from "../../../src/abi/errno.js";
import { findLifelines } from "../../../src/binding/lifelines/find-lifelines.js";
import { findDevice } from "../../../src/machine/devices.js";
import { faulty } from "../../../src/syscalls/faulty.js";
import { BindingBoard, COMPANION, DISK, DISK_HOME, FIRST, FIRST_HOME, PORT } from "../support.js";

let board: BindingBoard;
beforeEach(() => {
  board = new BindingBoard();
});
afterEach(() => board[Symbol.dispose]());

const devices = (names: readonly string[]) => names.map((name) => findDevice(board.kernel.machine, name));
const find = (names: readonly string[], sshConnection?: string) =>
  findLifelines(board.kernel.machine, devices(names), { sshConnection }).lifelines;
const messages = (...names: string[]) => find(names).map(({ message }) => message);
const cuts = (...names: string[]) => find(names).map((each) => each.cuts);

const disk = (home: string, name: string) => `${home}/nvme/${name.slice(0, 5)}/${name}`;
const mount = (...lines: string[]) =>
  board.tree.file("/proc/self/mountinfo", lines.map((line, at) => `${30 + at} 1 ${line}\n`).join(""));

/** A disk with two partitions on DISK, and one without on FIRST. */
function disks(): void {
  const path = disk(DISK_HOME, "nvme0n1");
  board.block("nvme0n1", path, { dev: "259:0" });
  board.block("nvme0n1p1", `${path}/nvme0n1p1`, { dev: "259:1", partition: "1" });
  board.block("nvme0n1p2", `${path}/nvme0n1p2`, { dev: "259:2", partition: "2" });
  board.block("nvme1n1", disk(FIRST_HOME, "nvme1n1"), { dev: "259:5" });
}

function mapped(name: string, number: string, slaves: readonly string[], attributes = {}): void {
  const path = `/sys/devices/virtual/block/${name}`;
  board.block(name, path, { dev: number, ...attributes });
  for (const slave of slaves) board.tree.link(`${path}/slaves/${slave}`, `/sys/class/block/${slave}`);
}

describe("file systems and swap", () => {
  it("are found on a partition, and named by all their mount points", () => {
    disks();
    mount(
      "259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw",
      "259:2 /data /srv/a\\040b rw - ext4 /dev/nvme0n1p2 rw",
      "259:5 / /other rw - ext4 /dev/nvme1n1 rw",
    );
    expect(messages(DISK)).toEqual([`/ and /srv/a b are mounted from /dev/nvme0n1p2, which is on ${DISK}`]);
    expect(find([DISK])).toMatchObject([{ kind: "mount", device: DISK, cuts: true }]);
    expect(messages(COMPANION, PORT)).toEqual([]);
  });

  it("are found below device mapper and RAID, through all layers", () => {
    disks();
    mapped("md0", "9:0", ["nvme0n1p2", "nvme1n1"]);
    mapped("dm-0", "254:0", ["md0"], { "dm/name": "vg-root", "dm/uuid": "LVM-xyz" });
    mount("254:0 / / rw - xfs /dev/mapper/vg-root rw");
    expect(messages(DISK)).toEqual([
      `/ is mounted from /dev/mapper/vg-root, which is on ${DISK} (by dm-0, md0, nvme0n1p2)`,
    ]);
    expect(messages(FIRST)).toEqual([
      `/ is mounted from /dev/mapper/vg-root, which is on ${FIRST} (by dm-0, md0, nvme1n1)`,
    ]);
  });

  it("are found on a partition of a RAID", () => {
    disks();
    mapped("md0", "9:0", ["nvme1n1"]);
    board.block("md0p1", "/sys/devices/virtual/block/md0/md0p1", { dev: "259:9", partition: "1" });
    mount("259:9 / / rw - ext4 /dev/md0p1 rw");
    expect(messages(FIRST)).toEqual([`/ is mounted from /dev/md0p1, which is on ${FIRST} (by md0, nvme1n1)`]);
  });

  it("outlive one of two paths, and no more than one", () => {
    const subsystem = "/sys/devices/virtual/nvme-subsystem/nvme-subsys0";
    board.block("nvme0n1", `${subsystem}/nvme0n1`, { dev: "259:0" });
    for (const [name, home] of [
      ["nvme0", DISK_HOME],
      ["nvme1", FIRST_HOME],
    ] as const) {
      board.tree.file(`${home}/nvme/${name}/state`, "live\n");
      board.tree.link(`${subsystem}/${name}`, `${home}/nvme/${name}`);
    }
    mount("259:0 / / rw - ext4 /dev/nvme0n1 rw");
    expect(messages(DISK)).toEqual([
      `/ is mounted from /dev/nvme0n1, which is on ${DISK} (by nvme0); it goes on over another path`,
    ]);
    expect(cuts(DISK)).toEqual([false]);
    expect(cuts(DISK, FIRST)).toEqual([true]);
    board.tree.file(`${FIRST_HOME}/nvme/nvme1/state`, "connecting\n");
    expect(cuts(DISK)).toEqual([true]);
  });

  it("know the alternatives of a multipath map from the parts of another", () => {
    disks();
    mapped("dm-3", "254:3", ["nvme0n1", "nvme1n1"], { "dm/name": "mpatha", "dm/uuid": "mpath-3600" });
    mount("254:3 / /data rw - ext4 /dev/mapper/mpatha rw");
    expect(cuts(DISK)).toEqual([false]);
    expect(cuts(DISK, FIRST)).toEqual([true]);
  });

  it("are found on each disk of a btrfs, whose number is nobody's", () => {
    disks();
    board.tree.directory("/sys/fs/btrfs/features");
    for (const member of ["nvme0n1p1", "nvme1n1"])
      board.tree.link(`/sys/fs/btrfs/some-uuid/devices/${member}`, `/sys/class/block/${member}`);
    mount("0:31 /@ / rw - btrfs /dev/nvme0n1p1 rw,subvol=/@");
    expect(messages(DISK)).toEqual([`/ is mounted from /dev/nvme0n1p1, which is on ${DISK}`]);
    expect(messages(FIRST)).toEqual([`/ is mounted from /dev/nvme0n1p1, which is on ${FIRST} (by nvme1n1)`]);
  });

  it("are told to be on a member of an array, as long as the array can spare it", () => {
    disks();
    mapped("md0", "9:0", ["nvme0n1p2", "nvme1n1"], { "md/level": "raid1", "md/raid_disks": "2", "md/degraded": "0" });
    mapped("dm-0", "254:0", ["md0"], { "dm/name": "vg-root" });
    mount("254:0 / / rw - xfs /dev/mapper/vg-root rw");
    const root = "/ is mounted from /dev/mapper/vg-root";
    expect(messages(DISK)).toEqual([
      `${root}; a member of the redundant array md0 is on ${DISK} (by dm-0, md0, nvme0n1p2)`,
    ]);
    expect(cuts(DISK)).toEqual([true]);
    expect(messages(DISK, FIRST)[0]).toContain(`${root}, which is on`);
    board.tree.file("/sys/devices/virtual/block/md0/md/degraded", "1\n");
    expect(messages(DISK)[0]).toContain(`${root}, which is on`);
    board.tree.file("/sys/devices/virtual/block/md0/md/degraded", "0\n");
    board.tree.file("/sys/devices/virtual/block/md0/md/level", "raid0\n");
    expect(messages(DISK)[0]).toContain(`${root}, which is on`);
  });

  it("are told to be on a member of a mirrored btrfs", () => {
    disks();
    for (const member of ["nvme0n1p1", "nvme1n1"])
      board.tree.link(`/sys/fs/btrfs/some-uuid/devices/${member}`, `/sys/class/block/${member}`);
    for (const type of ["data", "metadata", "system"])
      board.tree.directory(`/sys/fs/btrfs/some-uuid/allocation/${type}/raid1`);
    mount("0:31 /@ / rw - btrfs /dev/nvme0n1p1 rw,subvol=/@");
    expect(messages(FIRST)).toEqual([
      `/ is mounted from /dev/nvme0n1p1; a member of the redundant array btrfs is on ${FIRST} (by nvme1n1)`,
    ]);
    expect(messages(DISK, FIRST)[0]).toContain(", which is on");
    board.tree.directory("/sys/fs/btrfs/some-uuid/allocation/metadata/dup");
    expect(messages(FIRST)[0]).toContain(", which is on");
  });

  it("may be on any disk that has nothing else on it, where ZFS has named none", () => {
    disks();
    mount("0:40 / / rw - zfs tank/root rw", "259:2 / /boot rw - ext4 /dev/nvme0n1p2 rw");
    expect(find([FIRST])).toEqual([
      {
        kind: "mount",
        device: FIRST,
        cuts: true,
        message: `/ is mounted from a ZFS, which does not tell its disks: /dev/nvme1n1 of ${FIRST} may be one`,
      },
    ]);
    expect(messages(DISK)).toEqual([`/boot is mounted from /dev/nvme0n1p2, which is on ${DISK}`]);
  });

  it("are found on disks that ZFS has taken", () => {
    disks();
    board.tree.file(`${disk(DISK_HOME, "nvme0n1")}/nvme0n1p1/uevent`, "DEVTYPE=partition\nPARTNAME=zfs-0a1b\n");
    mount("0:40 / / rw - zfs tank/root rw");
    expect(messages(DISK)[0]).toMatch(
      /^\/ is mounted from tank\/root \(ZFS, .*which is on 0000:21:00.0 \(by nvme0n1p1\)$/,
    );
    expect(messages(FIRST)).toEqual([]);
  });

  it("are found below a loop device's file", () => {
    disks();
    board.block("loop0", "/sys/devices/virtual/block/loop0", { dev: "7:0", "loop/backing_file": "/srv/images/a.img" });
    mount("259:2 / /srv rw - ext4 /dev/nvme0n1p2 rw", "7:0 / /mnt ro - squashfs /dev/loop0 ro");
    expect(messages(DISK)).toContain(`/mnt is mounted from /dev/loop0, which is on ${DISK} (by nvme0n1p2)`);
  });

  it("of other namespaces count, too", () => {
    disks();
    mount("0:1 / / rw - tmpfs none rw");
    board.tree.literalLink("/proc/self/ns/mnt", "mnt:[1]");
    board.tree.literalLink("/proc/812/ns/mnt", "mnt:[2]");
    board.tree.file("/proc/812/mountinfo", "77 1 259:5 / /volume rw - ext4 /dev/nvme1n1 rw\n");
    expect(messages(FIRST)).toEqual([`/volume is mounted from /dev/nvme1n1, which is on ${FIRST}`]);
  });

  it("may be swap, on a disk or in a file", () => {
    disks();
    mount("259:5 / / rw - ext4 /dev/nvme1n1 rw");
    board.tree.file(
      "/proc/swaps",
      "Filename\t\t\t\tType\t\tSize\tUsed\tPriority\n/dev/nvme0n1p1 partition 1 0 -2\n/var/swap file 1 0 -3\n",
    );
    expect(messages(DISK)).toEqual([`swap is on /dev/nvme0n1p1, which is on ${DISK}`]);
    expect(find([FIRST]).map(({ kind }) => kind)).toEqual(["mount", "swap"]);
  });

  it("may be a hypervisor's folder", () => {
    board.thing("/sys/bus/virtio/devices/virtio3", `${DISK_HOME}/virtio3`, { mount_tag: "project\0" });
    mount("0:33 / /project ro - 9p project ro,trans=virtio");
    expect(messages(DISK)).toEqual([`/project is mounted from the hypervisor's folder project, which is on ${DISK}`]);
  });

  it("hang on a device that has a driver only", () => {
    board.block("nvme9n1", "/sys/devices/pci0000:00/0000:00:02.0/0000:02:00.0/block/nvme9n1", { dev: "259:20" });
    mount("259:20 / / rw - ext4 /dev/nvme9n1 rw");
    expect(messages("0000:02:00.0")).toEqual([]);
  });
});

describe("the network", () => {
  const DEFAULT = "eth0\t00000000\t0202000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n";
  const route = (lines: string) => board.tree.file("/proc/net/route", `Iface\tDestination\tGateway \tFlags\n${lines}`);
  const card = (name: string, path: string) => board.thing(`/sys/class/net/${name}`, path);

  it("is cut with the card that the default route is by", () => {
    card("eth0", `${DISK_HOME}/net/eth0`);
    route(DEFAULT);
    expect(messages(DISK)).toEqual([`the default route is by eth0, which is on ${DISK}`]);
    expect(messages(FIRST)).toEqual([]);
  });

  it("is cut through a VLAN on a bond", () => {
    card("eth0", `${DISK_HOME}/net/eth0`);
    card("eth1", `${FIRST_HOME}/net/eth1`);
    card("bond0", "/sys/devices/virtual/net/bond0");
    card("bond0.7", "/sys/devices/virtual/net/bond0.7");
    for (const lower of ["eth0", "eth1"])
      board.tree.link(`/sys/devices/virtual/net/bond0/lower_${lower}`, `/sys/class/net/${lower}`);
    board.tree.link("/sys/devices/virtual/net/bond0.7/lower_bond0", "/sys/devices/virtual/net/bond0");
    route(DEFAULT.replace("eth0", "bond0.7"));
    expect(messages(FIRST)).toEqual([`the default route is by bond0.7, which is on ${FIRST} (over bond0, eth1)`]);
  });

  it("has IPv6's default route, but not the one that refuses", () => {
    card("eth0", `${DISK_HOME}/net/eth0`);
    const zero = "0".repeat(32);
    const line = (flags: string, name: string) =>
      `${zero} 00 ${zero} 00 fe800000000000000000000000000002 00000400 00000001 00000000 ${flags} ${name}\n`;
    board.tree.file("/proc/net/ipv6_route", line("00200200", "eth0"));
    expect(messages(DISK)).toEqual([]);
    board.tree.file("/proc/net/ipv6_route", line("00000003", "eth0"));
    expect(messages(DISK)).toEqual([`the default route is by eth0, which is on ${DISK}`]);
  });

  it("has the ssh session of whoever asks, though sudo hides it", () => {
    card("eth0", `${DISK_HOME}/net/eth0`);
    card("eth5", `${FIRST_HOME}/net/eth5`);
    // 192.168.7.0/24 by eth5; the rest of the world by eth0.
    route(`${DEFAULT}eth5\t0007A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n`);
    const session = `this ssh session, from 192.168.7.9, is by eth5, which is on ${FIRST}`;
    expect(find([FIRST], "192.168.7.9 5555 192.168.7.1 22").map(({ message }) => message)).toEqual([session]);
    expect(messages(FIRST)).toEqual([]);
    board.tree.file("/proc/self/status", "Name:\tnode\nPPid:\t300\n");
    board.tree.file("/proc/300/status", "Name:\tsudo\nPPid:\t200\n");
    board.tree.file("/proc/200/status", "Name:\tbash\nPPid:\t1\n");
    board.tree.file("/proc/200/environ", "HOME=/root\0SSH_CONNECTION=192.168.7.9 5555 192.168.7.1 22\0");
    expect(messages(FIRST)).toEqual([session]);
  });

  it("has file systems of other machines", () => {
    card("eth0", `${DISK_HOME}/net/eth0`);
    route("eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n");
    mount("0:50 / / rw - nfs4 10.0.2.2:/root rw,vers=4.2,addr=10.0.2.2");
    expect(messages(DISK)).toEqual([`/ is mounted from 10.0.2.2:/root by eth0, which is on ${DISK}`]);
  });

  it("has a Ceph by each way to its monitors", () => {
    card("eth0", `${DISK_HOME}/net/eth0`);
    route("eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n");
    const where = `by eth0, which is on ${DISK}`;
    mount("0:50 / /c rw - ceph admin@1234.fs=/ rw,name=admin,mon_addr=192.168.9.1:6789/10.0.2.7:3300");
    expect(messages(DISK)).toEqual([`/c is mounted from admin@1234.fs=/ ${where}`]);
    mount("0:50 / /c rw - ceph 10.0.2.6:6789,10.0.2.7:6789:/ rw,name=admin");
    expect(messages(DISK)).toEqual([`/c is mounted from 10.0.2.6:6789,10.0.2.7:6789:/ ${where}`]);
  });

  it("has disks of other machines, by iSCSI and NVMe", () => {
    card("eth0", `${DISK_HOME}/net/eth0`);
    card("eth5", `${FIRST_HOME}/net/eth5`);
    route("eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n");
    const session = "/sys/devices/platform/host2/session1";
    const connection = `${session}/connection1:0/iscsi_connection/connection1:0`;
    board.thing("/sys/class/iscsi_connection/connection1:0", connection, { persistent_address: "10.0.2.5" });
    board.block("sda", `${session}/target2:0:0/2:0:0:1/block/sda`, { dev: "8:0" });
    const controller = "/sys/devices/virtual/nvme-fabrics/ctl/nvme3";
    const address = "traddr=10.0.2.6,trsvcid=4420,host_iface=eth5,src_addr=10.0.9.2";
    board.thing("/sys/class/nvme/nvme3", controller, { transport: "tcp", address });
    board.block("nvme3n1", `${controller}/nvme3n1`, { dev: "259:30" });
    mount("8:0 / /a rw - ext4 /dev/sda rw", "259:30 / /b rw - ext4 /dev/nvme3n1 rw");
    const iscsi = `the iSCSI session session1 with 10.0.2.5, over eth0 of ${DISK}`;
    expect(find([DISK])).toMatchObject([
      { kind: "mount", device: DISK, cuts: true, message: `/a is mounted from /dev/sda, which is on ${iscsi}` },
      { kind: "network-mount", device: DISK, cuts: false, message: `there is ${iscsi}` },
    ]);
    expect(messages(FIRST)).toEqual([
      `/b is mounted from /dev/nvme3n1, which is on nvme3 at 10.0.2.6 (NVMe over TCP), over eth5 of ${FIRST}`,
      `there is nvme3 at 10.0.2.6 (NVMe over TCP), over eth5 of ${FIRST}`,
    ]);
    expect(messages(PORT)).toEqual([]);
  });

  it("has disks that do not say how they are reached", () => {
    card("eth0", `${DISK_HOME}/net/eth0`);
    board.block("nbd0", "/sys/devices/virtual/block/nbd0", { dev: "43:0" });
    mount("43:0 / /n rw - ext4 /dev/nbd0 rw");
    const unread = () => findLifelines(board.kernel.machine, devices([DISK])).unread;
    expect(unread()).toEqual([]);
    board.tree.file(`${DISK_HOME}/net/eth0/operstate`, "up\n");
    expect(unread()).toEqual(["/dev/nbd0 (by which network interface is not known)"]);
  });

  it("may be below a tunnel, and may be in use by routes of other tables", () => {
    card("wg0", "/sys/devices/virtual/net/wg0");
    card("eth0", `${DISK_HOME}/net/eth0`);
    route(DEFAULT.replace("eth0", "wg0"));
    board.tree.file(`${DISK_HOME}/net/eth0/operstate`, "down\n");
    expect(find([DISK])).toEqual([]);
    board.tree.file(`${DISK_HOME}/net/eth0/operstate`, "up\n");
    expect(find([DISK])).toEqual([
      {
        kind: "route",
        device: DISK,
        cuts: false,
        message: `the default route is by wg0, of which it is not known whether it goes over eth0 of ${DISK}`,
      },
    ]);
    route("");
    expect(find([DISK])).toEqual([
      { kind: "route", device: DISK, cuts: false, message: `the network interface eth0 of ${DISK} is up` },
    ]);
  });

  it("is cut below Open vSwitch's own interfaces", () => {
    card("br-ex", "/sys/devices/virtual/net/br-ex");
    card("ovs-system", "/sys/devices/virtual/net/ovs-system");
    card("eth0", `${DISK_HOME}/net/eth0`);
    board.tree.file(`${DISK_HOME}/net/eth0/carrier`, "1\n");
    board.tree.link(`${DISK_HOME}/net/eth0/master`, "/sys/devices/virtual/net/ovs-system");
    route(DEFAULT.replace("eth0", "br-ex"));
    expect(find([DISK])).toMatchObject([
      { cuts: true, message: `the default route is by br-ex, which is on ${DISK} (over ovs-system, eth0)` },
    ]);
  });

  it("may be another namespace's", () => {
    board.tree.file(`${DISK_HOME}/class`, "0x020000\n");
    expect(find([DISK])).toMatchObject([
      { cuts: false, message: expect.stringContaining("another network namespace") },
    ]);
    card("eth0", `${DISK_HOME}/virtio0/net/eth0`);
    expect(find([DISK])).toEqual([]);
  });

  it("has the ssh sessions of others, by the server's sockets", () => {
    card("eth0", `${DISK_HOME}/net/eth0`);
    card("eth5", `${FIRST_HOME}/net/eth5`);
    // This machine is 192.168.7.1 on eth5 and fd00::1 on eth0.
    route(`${DEFAULT}eth5\t0007A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n`);
    const socket = (local: string, remote: string, state: string, inode: number) =>
      `   0: ${local} ${remote} ${state} 00000000:00000000 00:00000000 00000000     0        0 ${inode} 1 0 20 4 30 10 -1\n`;
    const title = "  sl  local_address rem_address   st\n";
    const own = "0107A8C0:0016";
    const here = socket(own, own, "01", 8);
    const away = socket("0107A8C0:01BB", "0907A8C0:C001", "01", 9);
    board.tree.file("/proc/net/tcp", title + here + away);
    expect(messages(FIRST)).toEqual([]);
    board.tree.file("/proc/net/tcp", title + here + away + socket(own, "0907A8C0:C001", "01", 10));
    expect(find([FIRST])).toEqual([
      {
        kind: "session",
        device: FIRST,
        cuts: true,
        message: `an ssh session, from 192.168.7.9, is by eth5, which is on ${FIRST}`,
      },
    ]);
    expect(find([FIRST], "192.168.7.9 5555 192.168.7.1 22").map(({ message }) => message)).toEqual([
      `this ssh session, from 192.168.7.9, is by eth5, which is on ${FIRST}`,
    ]);
    // A server on port 2222, known by its process.
    const [fd1, fd9, none] = ["000000FD000000000000000001000000", "000000FD000000000000000009000000", "0".repeat(32)];
    const listening = socket(`${none}:08AE`, `${none}:0000`, "0A", 77);
    board.tree.file("/proc/net/tcp6", title + listening + socket(`${fd1}:08AE`, `${fd9}:C002`, "01", 78));
    board.tree.file("/proc/net/if_inet6", "fd000000000000000000000000000001 02 40 00 80     eth0\n");
    const v6 = () => messages(DISK).filter((each) => each.includes("ssh"));
    expect(v6()).toEqual([]);
    board.tree.process(640, "sshd", { 3: "socket:[77]" });
    expect(v6()).toEqual([`an ssh session, from fd00::9, is by eth0, which is on ${DISK}`]);
  });

  it("goes with a physical function's virtual ones", () => {
    const virtual = "/sys/devices/pci0000:20/0000:21:10.0";
    board.tree.link(`${DISK_HOME}/virtfn0`, virtual);
    card("eth0", `${virtual}/net/eth0`);
    route(DEFAULT);
    expect(messages(DISK)).toEqual([
      `the default route is by eth0, which is on 0000:21:10.0, a virtual function of ${DISK}`,
    ]);
  });
});

describe("consoles, screens and keyboards", () => {
  const home = `/sys/devices/platform/${PORT}`;

  it("are found on serial lines, when they are enabled", () => {
    board.thing("/sys/class/tty/ttyAMA0", `${home}/${PORT}:0/tty/ttyAMA0`);
    board.tree.file("/proc/consoles", "ttyAMA0              -W- (EC   a)  204:64\n");
    expect(messages(PORT)).toEqual([`the kernel's console is ttyAMA0, which is on ${PORT}`]);
    board.tree.file("/proc/consoles", "ttyAMA0              -W- ( C   a)  204:64\n");
    expect(messages(PORT)).toEqual([]);
    board.tree.file("/sys/class/tty/console/active", "tty0 ttyAMA0\n");
    expect(messages(PORT)).toHaveLength(1);
  });

  it("are found on virtio ports, whose line is nobody's child", () => {
    board.thing("/sys/class/virtio-ports/vport1p0", `${DISK_HOME}/virtio1/virtio-ports/vport1p0`);
    board.thing("/sys/class/tty/hvc0", "/sys/devices/virtual/tty/hvc0");
    board.tree.file("/proc/consoles", "hvc0                 -W- (EC p  )  229:0\n");
    expect(messages(DISK)).toEqual([`the kernel's console is hvc0, which is on ${DISK}`]);
  });

  it("are drawn on frame buffers, the device's own or the firmware's", () => {
    board.thing("/sys/class/graphics/fb0", `${DISK_HOME}/graphics/fb0`);
    expect(messages(DISK)).toEqual([`the screen fb0 is on ${DISK}`]);
    board.thing("/sys/class/graphics/fb1", "/sys/devices/platform/simple-framebuffer.0/graphics/fb1");
    board.tree.file(`${FIRST_HOME}/boot_vga`, "1\n");
    expect(messages(FIRST)).toEqual([`the screen fb1 (simple-framebuffer.0) is drawn in the memory of ${FIRST}`]);
  });

  it("are a note, for a keyboard", () => {
    board.thing("/sys/class/input/input4", `${DISK_HOME}/usb1/1-1/input/input4`, {
      name: "Keys",
      "capabilities/ev": "120013",
    });
    board.thing("/sys/class/input/input5", `${DISK_HOME}/usb1/1-2/input/input5`, {
      name: "Mouse",
      "capabilities/ev": "17",
    });
    expect(find([DISK])).toEqual([
      { kind: "keyboard", device: DISK, cuts: false, message: `the keyboard "Keys" is on ${DISK}` },
    ]);
  });
});

describe("what the machine works by", () => {
  it("is an IOMMU", () => {
    const parent = "/sys/devices/platform/c000000.smmuv3";
    board.tree.link("/sys/bus/platform/devices/c000000.smmuv3", parent);
    board.tree.link(`${parent}/driver`, "/sys/bus/platform/drivers/arm-smmu-v3");
    expect(find(["c000000.smmuv3"])).toMatchObject([{ kind: "iommu", cuts: true }]);
  });

  it("is an interrupt controller, a central one more than another", () => {
    const node = `/sys/firmware/devicetree/base/${PORT}`;
    board.tree.file(`${node}/interrupt-controller`, "");
    expect(find([PORT])).toMatchObject([{ kind: "interrupt-controller", cuts: false }]);
    board.tree.file(`${node}/msi-controller`, "");
    expect(find([PORT])).toMatchObject([{ kind: "interrupt-controller", cuts: true }]);
  });

  it("is what others need, with all that hangs on those", () => {
    disks();
    mount("259:2 / / rw - ext4 /dev/nvme0n1p2 rw");
    const link = "/sys/devices/virtual/devlink/platform:port--pci:disk";
    board.tree.file(`${link}/status`, "active\n");
    board.tree.file(`${link}/sync_state_only`, "0\n");
    board.tree.link(`${link}/consumer`, DISK_HOME);
    board.tree.link(`/sys/devices/platform/${PORT}/consumer:pci:${DISK}`, link);
    expect(messages(PORT)).toEqual([
      `/ is mounted from /dev/nvme0n1p2, which is on ${DISK}, which needs ${PORT}`,
      `${DISK} needs ${PORT}, and the kernel takes its driver (nvme) from it first`,
    ]);
    expect(cuts(PORT)).toEqual([true, false]);
    board.tree.file(`${link}/status`, "not tracked\n");
    expect(messages(PORT)).toEqual([]);
  });

  it("is a node that a process has open", () => {
    disks();
    board.tree.file(`${disk(DISK_HOME, "nvme0n1")}/uevent`, "MAJOR=259\nDEVNAME=nvme0n1\n");
    board.tree.link("/sys/dev/block/259:0", disk(DISK_HOME, "nvme0n1"));
    board.thing("/sys/dev/char/10:130", `${DISK_HOME}/watchdog/watchdog0`, { uevent: "DEVNAME=watchdog0" });
    board.thing("/sys/dev/char/81:0", `${DISK_HOME}/video4linux/video0`, { uevent: "DEVNAME=video0" });
    board.tree.process(4711, "qemu", { 3: "/dev/nvme0n1", 4: "/dev/nvme0n1" });
    board.tree.process(1, "systemd", { 9: "/dev/watchdog0" });
    board.tree.process(99, "camera", { 9: "/dev/video0" });
    expect(find([DISK])).toMatchObject([
      { cuts: true, message: `/dev/nvme0n1 of ${DISK} is open in process 4711 (qemu)` },
      { cuts: false, message: `/dev/video0 of ${DISK} is open in process 99 (camera)` },
    ]);
  });

  it("is a node of what was built on its disk, which a process has open", () => {
    disks();
    mapped("dm-0", "254:0", ["nvme0n1p2"], { "dm/name": "vg-guest" });
    mapped("dm-3", "254:3", ["nvme0n1p1", "nvme1n1"], { "dm/name": "mpatha", "dm/uuid": "mpath-3600" });
    board.tree.process(4711, "qemu", { 3: "/dev/dm-0" });
    board.tree.process(4712, "qemu", { 3: "/dev/mapper/mpatha" });
    expect(find([DISK])).toMatchObject([
      {
        cuts: true,
        message: `/dev/mapper/vg-guest of ${DISK} (by dm-0, nvme0n1p2) is open in process 4711 (qemu)`,
      },
      {
        cuts: false,
        message: `/dev/mapper/mpatha of ${DISK} (by dm-3, nvme0n1p1) is open in process 4712 (qemu); it goes on over another path`,
      },
    ]);
  });

  it("may be a part of what nobody is known to use", () => {
    disks();
    mapped("dm-0", "254:0", ["nvme0n1p2"], { "dm/name": "vg-spare" });
    board.tree.link(`${disk(DISK_HOME, "nvme0n1")}/nvme0n1p2/holders/dm-0`, "/sys/devices/virtual/block/dm-0");
    expect(find([DISK])).toMatchObject([
      {
        cuts: false,
        message: `/dev/nvme0n1p2 of ${DISK} is a part of /dev/mapper/vg-spare, of which no use was found`,
      },
    ]);
    mount("254:0 / /data rw - ext4 /dev/mapper/vg-spare rw");
    expect(find([DISK]).map(({ kind }) => kind)).toEqual(["mount"]);
  });
});

it("names what could not be read, and judges the rest", () => {
  disks();
  mount("259:2 / / rw - ext4 /dev/nvme0n1p2 rw");
  board.tree.file("/proc/swaps", "");
  const syscalls = faulty(board.kernel.syscalls);
  const found = devices([DISK]);
  syscalls.fault = { nth: 1, errno: errno.EACCES, match: ({ path }) => path === "/proc/swaps" };
  const report = findLifelines({ syscalls }, found);
  expect(report.unread).toEqual(["/proc/swaps (EACCES)"]);
  expect(report.lifelines).toHaveLength(1);
});
