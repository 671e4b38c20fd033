import fc from "fast-check";
import { expect, it } from "vitest";
import { type BindingRecord, formatRecord, parseRecord } from "../../src/binding/binding-record.js";
import { MachineReader } from "../../src/binding/lifelines/machine-reader.js";
import { mountOf, parseMounts } from "../../src/binding/lifelines/mounts.js";
import { defaultInterfaces, interfaceTo, readRoutes } from "../../src/binding/lifelines/routes.js";
import { readSshConnections } from "../../src/binding/lifelines/ssh-sockets.js";
import { IospanError } from "../../src/errors.js";

const named = fc.stringMatching(/^[\w:.-]{1,20}$/).filter((text) => text !== "." && text !== "..");
const maybe = fc.option(named, { nil: null });
const entry = fc.record({
  device: named,
  bus: fc.constantFrom("pci" as const, "platform" as const),
  driver: named,
  previousDriver: maybe,
  previousOverride: maybe,
  state: fc.constantFrom("intended" as const, "bound" as const),
});
const record: fc.Arbitrary<BindingRecord> = fc.record({ bootId: fc.uuid(), entries: fc.array(entry) });

it("a record is read as it was written, in its own boot", () => {
  fc.assert(
    fc.property(record, (each) => {
      expect(parseRecord(formatRecord(each), each.bootId, "file")).toEqual(each);
      expect(parseRecord(formatRecord(each), "another boot", "file").entries).toEqual([]);
    }),
  );
});

it("a record that was tampered with is read, or refused in words", () => {
  fc.assert(
    fc.property(record, fc.nat(), fc.string({ maxLength: 3 }), (each, where, text) => {
      const written = formatRecord(each);
      const at = where % written.length;
      try {
        const { entries } = parseRecord(written.slice(0, at) + text + written.slice(at + 1), each.bootId, "file");
        // They become parts of paths.
        for (const { device, driver } of entries) expect(`${device}${driver}`).not.toMatch(/[/\n\0]/);
      } catch (error) {
        expect(error).toBeInstanceOf(IospanError);
      }
    }),
  );
});

it("mount points are read as they are, whatever is in their names", () => {
  const escaped = (text: string) =>
    text.replaceAll(/[\\ \t\n]/g, (each) => `\\${each.charCodeAt(0).toString(8).padStart(3, "0")}`);
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), fc.array(fc.stringMatching(/^[a-z]+:\d+$/)), (text, optional) => {
      fc.pre(!text.includes("\r"));
      const line = `30 1 259:2 / ${escaped(`/${text}`)} rw ${optional.map((each) => `${each} `).join("")}- ext4 /dev/a rw`;
      expect(parseMounts([line])).toMatchObject([
        { point: `/${text}`, number: "259:2", type: "ext4", source: "/dev/a" },
      ]);
    }),
  );
});

it("lines that are none are left out", () => {
  fc.assert(
    fc.property(fc.array(fc.string()), (lines) => {
      expect(parseMounts(lines.map((each) => each.replaceAll(" - ", "-")))).toEqual([]);
    }),
  );
});

it("a file is on what was mounted last, nearest above it", () => {
  const mounts = parseMounts(
    ["/", "/srv", "/srv/a", "/srv"].map((point, at) => `${at} 1 8:${at} / ${point} rw - ext4 /dev/sd${at} rw`),
  );
  const sourceOf = (file: string) => mountOf(mounts, file)?.source;
  expect(["/srv/a/x", "/srv/b", "/srvx", "/srv"].map(sourceOf)).toEqual([
    "/dev/sd2",
    "/dev/sd3",
    "/dev/sd0",
    "/dev/sd3",
  ]);
});

it("the longest prefix decides the way, and the metric between equals", () => {
  const row = (name: string, to: string, mask: string, metric: number, flags = "0001") =>
    `${name}\t${to}\t00000000\t${flags}\t0\t0\t${metric}\t${mask}\t0\t0\t0`;
  const text = [
    "Iface\tDestination\tGateway\tFlags",
    row("slow", "00000000", "00000000", 600, "0003"),
    row("fast", "00000000", "00000000", 100, "0003"),
    row("net", "0000000A", "000000FF", 0),
    row("host", "0200000A", "FFFFFFFF", 0, "0005"),
    row("dead", "0300000A", "FFFFFFFF", 0, "0205"),
  ].join("\n");
  const files = {
    readFile: (path: string) => (path === "/proc/net/route" ? text : ""),
    readDirectory: () => [],
    readLink: () => "",
  };
  const routes = readRoutes(new MachineReader({ syscalls: files }));
  expect(defaultInterfaces(routes)).toEqual(["slow", "fast"]);
  expect(
    ["10.0.0.2", "10.0.0.3", "1.2.3.4", "fe80::1%wlan0", "nowhere", "127.0.0.1", "::1"].map((to) =>
      interfaceTo(routes, to),
    ),
  ).toEqual(["host", "net", "fast", "wlan0", undefined, undefined, undefined]);
});

it("sockets are read from what is one, and anything else is left out", () => {
  const hex = (length: number) => fc.stringMatching(new RegExp(`^[0-9A-F]{${length}}$`));
  const files = (text: string) => ({
    readFile: (path: string) => (path === "/proc/net/tcp" ? text : ""),
    readDirectory: () => [],
    readLink: () => "",
  });
  const peers = (text: string) => readSshConnections(new MachineReader({ syscalls: files(text) }), undefined);
  fc.assert(
    fc.property(fc.array(fc.string()), (lines) => {
      expect(peers(lines.join("\n"))).toEqual([]);
    }),
  );
  fc.assert(
    fc.property(hex(8), hex(8), hex(4), (local, remote, port) => {
      fc.pre(local !== remote);
      const found = peers(`  0: ${local}:0016 ${remote}:${port} 01 0:0 0:0 0 0 0 4711 1`);
      const bytes = (text: string) => [...Buffer.from(text, "hex").reverse()];
      expect(found).toMatchObject([{ local: bytes(local), remote: bytes(remote) }]);
    }),
  );
});
