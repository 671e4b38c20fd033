import { cFlagNames, cValueName, type NameSet, names } from "../abi/flags.js";
import {
  MADV_DONTFORK,
  MADV_HUGEPAGE,
  MADV_POPULATE_WRITE,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_HUGE_SHIFT,
  MAP_HUGETLB,
  MAP_NORESERVE,
  MAP_POPULATE,
  MAP_PRIVATE,
  MAP_SHARED,
  MFD_CLOEXEC,
  MFD_HUGE_SHIFT,
  MFD_HUGETLB,
  O_RDWR,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from "./mmap-flags.js";

// What x86-64, arm64 and riscv64 have in common of asm-generic/mman-common.h, mman.h and fcntl.h, and linux/memfd.h.

/** Protection of mmap(2). */
export const PROT = names("PROT_*", { NONE: PROT_NONE, READ: PROT_READ, WRITE: PROT_WRITE, EXEC: 4 });

/** The kinds of mappings, in the low four bits of mmap(2)'s flags. */
export const MAP_TYPE = names("MAP_*", { SHARED: MAP_SHARED, PRIVATE: MAP_PRIVATE, SHARED_VALIDATE: 3 });

/** The other flags of mmap(2). */
export const MAP = names("MAP_*", {
  FIXED: MAP_FIXED,
  ANONYMOUS: MAP_ANONYMOUS,
  GROWSDOWN: 0x100,
  LOCKED: 0x2000,
  NORESERVE: MAP_NORESERVE,
  POPULATE: MAP_POPULATE,
  NONBLOCK: 0x10000,
  STACK: 0x20000,
  HUGETLB: MAP_HUGETLB,
  SYNC: 0x80000,
  FIXED_NOREPLACE: 0x100000,
});

/** What madvise(2) can be told. */
export const MADV = names("MADV_*", {
  NORMAL: 0,
  RANDOM: 1,
  SEQUENTIAL: 2,
  WILLNEED: 3,
  DONTNEED: 4,
  FREE: 8,
  REMOVE: 9,
  DONTFORK: MADV_DONTFORK,
  DOFORK: 11,
  MERGEABLE: 12,
  UNMERGEABLE: 13,
  HUGEPAGE: MADV_HUGEPAGE,
  NOHUGEPAGE: 15,
  DONTDUMP: 16,
  DODUMP: 17,
  WIPEONFORK: 18,
  KEEPONFORK: 19,
  COLD: 20,
  PAGEOUT: 21,
  POPULATE_READ: 22,
  POPULATE_WRITE: MADV_POPULATE_WRITE,
  DONTNEED_LOCKED: 24,
  COLLAPSE: 25,
});

/** Flags of memfd_create(2). */
export const MFD = names("MFD_*", {
  CLOEXEC: MFD_CLOEXEC,
  ALLOW_SEALING: 2,
  HUGETLB: MFD_HUGETLB,
  NOEXEC_SEAL: 8,
  EXEC: 16,
});

/** How openat(2) opens a file, in the low two bits of its flags. */
export const O_ACCMODE = names("O_*", { RDONLY: 0, WRONLY: 1, RDWR: O_RDWR });

/** The other flags of openat(2). O_DIRECTORY and its neighbours differ between architectures and are left out. */
export const O = names("O_*", {
  CREAT: 0o100,
  EXCL: 0o200,
  NOCTTY: 0o400,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  NONBLOCK: 0o4000,
  CLOEXEC: 0o2000000,
});

/** `PROT_READ|PROT_WRITE` */
export function protText(prot: number): string {
  return prot === PROT_NONE ? "PROT_NONE" : bitsText(PROT, prot);
}

/** `MAP_PRIVATE|MAP_ANONYMOUS|MAP_HUGETLB|21<<MAP_HUGE_SHIFT` */
export function mapFlagsText(flags: number): string {
  const [bits, size] = splitHuge(flags, MAP_HUGETLB, MAP_HUGE_SHIFT);
  return joined(cValueName(MAP_TYPE, bits & 0xf), bitsText(MAP, bits & ~0xf), sizeText(size, "MAP_HUGE_SHIFT"));
}

/** `MADV_DONTFORK` */
export function adviceText(advice: number): string {
  return cValueName(MADV, advice);
}

/** `MFD_CLOEXEC|MFD_HUGETLB|21<<MFD_HUGE_SHIFT` */
export function memfdFlagsText(flags: number): string {
  const [bits, size] = splitHuge(flags, MFD_HUGETLB, MFD_HUGE_SHIFT);
  return joined(bitsText(MFD, bits), sizeText(size, "MFD_HUGE_SHIFT")) || "0";
}

/** `O_RDWR|O_CLOEXEC` */
export function openFlagsText(flags: number): string {
  return joined(cValueName(O_ACCMODE, flags & 3), bitsText(O, flags & ~3));
}

/** Above the flags that ask for huge pages stands their size, as its log2. */
function splitHuge(flags: number, huge: number, shift: number): readonly [bits: number, size: number] {
  return (flags & huge) === 0 ? [flags, 0] : [flags & ((1 << shift) - 1), flags >>> shift];
}

function sizeText(size: number, shift: string): string {
  return size === 0 ? "" : `${size}<<${shift}`;
}

function bitsText(set: NameSet, bits: number): string {
  return bits === 0 ? "" : cFlagNames(set, bits >>> 0);
}

function joined(...parts: readonly string[]): string {
  return parts.filter((part) => part !== "").join("|");
}
