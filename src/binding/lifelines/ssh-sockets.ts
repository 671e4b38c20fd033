import type { MachineReader } from "./machine-reader.js";

/** The ends of a TCP connection, by the bytes of their addresses, 4 or 16. */
export interface Connection {
  readonly local: readonly number[];
  readonly remote: readonly number[];
}

interface Socket extends Connection {
  readonly port: number;
  readonly state: string;
  readonly inode: string;
}

// include/net/tcp_states.h
const ESTABLISHED = "01";
const LISTEN = "0A";

/**
 * The ssh sessions of all users, by the server's TCP connections in this network namespace: a session in a terminal
 * multiplexer remembers the connection that it was begun by, not the one by which it is looked at now.
 */
export function readSshConnections(reader: MachineReader, sshConnection: string | undefined): readonly Connection[] {
  const sockets = ["tcp", "tcp6"].flatMap((name) =>
    reader.lines(`/proc/net/${name}`).flatMap((line) => parseSocket(line) ?? []),
  );
  const established = sockets.filter(({ state }) => state === ESTABLISHED);
  if (established.length === 0) return [];
  const inodes = serverInodes(reader);
  const listening = sockets.filter(({ state, inode }) => state === LISTEN && inodes.has(inode));
  const ports = new Set([22, Number(sshConnection?.split(" ")[3]), ...listening.map(({ port }) => port)]);
  return established.filter(({ port, local, remote }) => ports.has(port) && String(local) !== String(remote));
}

/** The server's sockets; it may have another port than the usual one. */
function serverInodes(reader: MachineReader): ReadonlySet<string> {
  const pids = reader.names("/proc").filter((name) => /^\d+$/.test(name));
  const servers = pids.filter((pid) => /^(sshd|dropbear)/.test(reader.text(`/proc/${pid}/comm`) ?? ""));
  const links = servers.flatMap((pid) =>
    reader.names(`/proc/${pid}/fd`).map((fd) => reader.link(`/proc/${pid}/fd/${fd}`) ?? ""),
  );
  return new Set(links.flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? []));
}

/** `0: 0202000A:0016 0900A8C0:C001 01 … 0 0 12345 …`: sockets with their inodes (net/ipv4/tcp_ipv4.c, get_tcp4_sock). */
function parseSocket(line: string): Socket | undefined {
  const [, local = "", remote = "", state = "", , , , , , inode = ""] = line.trim().split(/\s+/);
  const [here, there] = [addressOf(local), addressOf(remote)];
  if (here === undefined || there === undefined) return undefined;
  return { local: here, remote: there, port: Number.parseInt(local.split(":")[1] ?? "", 16), state, inode };
}

/** Words of 32 bits as the processor has them in memory; IPv4 inside IPv6 is IPv4. */
function addressOf(end: string): readonly number[] | undefined {
  const [, hex] = /^((?:[0-9A-F]{8}){1,4}):[0-9A-F]{4}$/i.exec(end) ?? [];
  const words = hex?.match(/.{8}/g);
  if (words?.length !== 1 && words?.length !== 4) return undefined;
  const bytes = words.flatMap((word) => (word.match(/../g) ?? []).map((byte) => Number.parseInt(byte, 16)).reverse());
  return /^0,0,0,0,0,0,0,0,0,0,255,255,/.test(String(bytes)) ? bytes.slice(12) : bytes;
}
