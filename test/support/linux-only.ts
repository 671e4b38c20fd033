import * as fs from "node:fs";
import { beforeEach } from "vitest";

/** Whether `linuxSyscalls()` can work here. */
export const onLinux: boolean = process.platform === "linux" && ["x64", "arm64", "riscv64"].includes(process.arch);

/** Skips every test of the enclosing block where there is no such Linux, and says so. */
export function needsLinux(): void {
  beforeEach((context) => context.skip(!onLinux, `needs 64-bit Linux; this is ${process.platform} on ${process.arch}`));
}

/** The descriptors this process has open, as text: number and what is behind it. */
export function openFds(): string[] {
  return fs.readdirSync("/proc/self/fd").flatMap((name) => {
    try {
      return [`${name} ${fs.readlinkSync(`/proc/self/fd/${name}`)}`];
    } catch {
      return []; // the descriptor of the listing itself
    }
  });
}

/** Whether any byte from `address` on is mapped in this process. */
export function isMapped(address: bigint, length: number): boolean {
  return mappedRanges().some(({ start, end }) => start < address + BigInt(length) && end > address);
}

function mappedRanges(): { start: bigint; end: bigint }[] {
  const lines = fs.readFileSync("/proc/self/maps", "utf8").trimEnd().split("\n");
  return lines.map((line) => {
    const [start, end] = line.slice(0, line.indexOf(" ")).split("-");
    return { start: BigInt(`0x${start}`), end: BigInt(`0x${end}`) };
  });
}
