import type { MachineReader } from "./machine-reader.js";
import { parseAddress, samePrefix } from "./network-address.js";

/** A route that packets take. */
export interface Route {
  readonly interface: string;
  /** 4 or 16 bytes. */
  readonly destination: readonly number[];
  /** Bits of the destination that count: 0 for the default route. */
  readonly prefix: number;
  readonly metric: number;
}

// include/uapi/linux/route.h
const RTF_UP = 0x1;
const RTF_REJECT = 0x200;

/** The main routes, of IPv4 (net/ipv4/fib_trie.c, fib_route_seq_show) and IPv6 (net/ipv6/route.c). */
export function readRoutes(reader: MachineReader): readonly Route[] {
  const ipv4 = reader.lines("/proc/net/route").flatMap((line) => ipv4Route(line) ?? []);
  const ipv6 = reader.lines("/proc/net/ipv6_route").flatMap((line) => ipv6Route(line) ?? []);
  return [...ipv4, ...ipv6].filter((route) => route.interface !== "lo");
}

/** `eth0 00000000 0202000A 0003 0 0 100 00000000 0 0 0`: addresses are numbers as the processor has them in memory. */
function ipv4Route(line: string): Route | undefined {
  const [name, destination, , flags, , , metric, mask] = line.trim().split(/\s+/);
  const [to, bits] = [littleEndian(destination), littleEndian(mask)];
  if (name === undefined || to === undefined || bits === undefined || !isUsed(flags)) return undefined;
  return { interface: name, destination: to, prefix: onesIn(bits), metric: Number(metric) };
}

/** `00…00 00 00…00 00 fe80…01 00000400 00000001 00000000 00000003 eth0` */
function ipv6Route(line: string): Route | undefined {
  const [destination = "", prefix = "", , , , metric = "", , , flags, name] = line.trim().split(/\s+/);
  if (name === undefined || !/^[0-9a-f]{32}$/.test(destination) || !isUsed(flags)) return undefined;
  const bytes = (destination.match(/../g) ?? []).map((byte) => Number.parseInt(byte, 16));
  return {
    interface: name,
    destination: bytes,
    prefix: Number.parseInt(prefix, 16),
    metric: Number.parseInt(metric, 16),
  };
}

function isUsed(flags = ""): boolean {
  const bits = Number.parseInt(flags, 16);
  return (bits & RTF_UP) !== 0 && (bits & RTF_REJECT) === 0;
}

function littleEndian(text = ""): readonly number[] | undefined {
  if (!/^[0-9A-F]{8}$/i.test(text)) return undefined;
  return (text.match(/../g) ?? []).map((byte) => Number.parseInt(byte, 16)).reverse();
}

function onesIn(bytes: readonly number[]): number {
  return bytes.reduce((sum, byte) => sum + byte.toString(2).replaceAll("0", "").length, 0);
}

/** The interfaces that have a default route. */
export function defaultInterfaces(routes: readonly Route[]): readonly string[] {
  return [...new Set(routes.filter(({ prefix }) => prefix === 0).map((route) => route.interface))];
}

/**
 * The interface by which packets to an address leave; undefined for an address without a route, text that is no address, and
 * this machine's own loopback, whose routes are in another table.
 */
export function interfaceTo(routes: readonly Route[], text: string): string | undefined {
  const zone = /%(.+)$/.exec(text)?.[1];
  if (zone !== undefined) return zone;
  return wayTo(routes, parseAddress(text));
}

/** {@link interfaceTo} for the bytes of an address. */
export function wayTo(routes: readonly Route[], address: readonly number[] | undefined): string | undefined {
  if (address === undefined || isLoopback(address)) return undefined;
  const fitting = routes.filter(({ destination, prefix }) => samePrefix(destination, address, prefix));
  return fitting.toSorted((a, b) => b.prefix - a.prefix || a.metric - b.metric)[0]?.interface;
}

function isLoopback(address: readonly number[]): boolean {
  return address.length === 4 ? address[0] === 127 : samePrefix(address, [...new Array<number>(15).fill(0), 1], 128);
}

/**
 * The interface that has an address of this machine's: by the list of IPv6's (net/ipv6/addrconf.c, if6_seq_show), and for
 * IPv4, of whose there is none, by the network that the address is in.
 */
export function interfaceWith(
  reader: MachineReader,
  routes: readonly Route[],
  address: readonly number[],
): string | undefined {
  if (address.length === 4)
    return wayTo(
      routes.filter(({ prefix }) => prefix > 0),
      address,
    );
  const hex = address.map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const line = reader.lines("/proc/net/if_inet6").find((each) => each.startsWith(`${hex} `));
  return line?.trim().split(/\s+/)[5];
}
