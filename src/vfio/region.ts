import { IospanError } from "../errors.js";
import { hex } from "../iova.js";
import { PROT_READ, PROT_WRITE } from "../syscalls/mmap-flags.js";
import { type Fd, factsOf, SyscallError, type Syscalls } from "../syscalls/syscalls.js";
import { failuresOf } from "./failures.js";
import { MappedAreas, type MappedRegisters } from "./mapped-areas.js";
import { RegionUsers } from "./region-users.js";

/** A part of a region that may be mapped into the process; bytes from the region's start. */
export interface MmapArea {
  readonly offset: number;
  readonly size: number;
}

/** What the kernel says of a region. */
export interface RegionInfo {
  readonly index: number;
  /** `bar0`, `config`, …; `region0` and so on where the bus has no name for it. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Where it begins in the device's file. */
  readonly fileOffset: bigint;
  readonly readable: boolean;
  readonly writable: boolean;
  /** What may be mmapped: the whole region, the kernel's sparse areas, or nothing. */
  readonly mmapAreas: readonly MmapArea[];
}

/** What it takes to have the kernel do something with an open device's region. */
export interface RegionHandle {
  readonly syscalls: Syscalls;
  readonly fd: Fd;
  readonly device: string;
  readonly iommu: string;
  readonly region: RegionInfo;
}

type Width = 1 | 2 | 4 | 8;

/**
 * A device's region: a BAR, its configuration space, a register frame. Where the kernel allows it the registers are
 * mapped into the process, elsewhere they are read and written with pread and pwrite; either way one call is one access
 * of that width (8 bytes without a mapping may be two of 4, `drivers/vfio/pci/vfio_pci_rdwr.c`).
 * Offsets are in bytes and must be multiples of the width.
 *
 * A mapped BAR answers only while the function decodes memory (the command register's bit 1) and is powered: touching it
 * otherwise is a SIGBUS, which ends the process.
 *
 * Other devices reach it by DMA, peer to peer, where a space maps it: `space.map(region)`.
 *
 * After the device is closed every access throws `ERR_IOSPAN_RELEASED`, and nothing is mapped of it any more.
 */
export class Region implements RegionInfo {
  readonly index: number;
  readonly name: string;
  readonly size: number;
  readonly fileOffset: bigint;
  readonly readable: boolean;
  readonly writable: boolean;
  readonly mmapAreas: readonly MmapArea[];
  readonly #device: string;
  readonly #iommu: string;
  readonly #syscalls: Syscalls;
  /** @internal Who else has its registers: mappings for other devices. They end when the device is closed. */
  readonly users: RegionUsers = new RegionUsers();
  #fd: Fd | undefined;
  #mapped: MappedAreas | undefined;

  constructor(syscalls: Syscalls, { name, iommu }: { name: string; iommu: string }, fd: Fd, info: RegionInfo) {
    this.#syscalls = syscalls;
    this.#device = name;
    this.#iommu = iommu;
    this.#fd = fd;
    this.index = info.index;
    this.name = info.name;
    this.size = info.size;
    this.fileOffset = info.fileOffset;
    this.readable = info.readable;
    this.writable = info.writable;
    this.mmapAreas = info.mmapAreas;
  }

  read8(offset: number): number {
    const area = this.#readableArea(offset, 1);
    return area === undefined ? this.#pread(offset, 1).getUint8(0) : area.mmio.read8(offset - area.offset);
  }

  read16(offset: number): number {
    const area = this.#readableArea(offset, 2);
    return area === undefined ? this.#pread(offset, 2).getUint16(0, true) : area.mmio.read16(offset - area.offset);
  }

  read32(offset: number): number {
    const area = this.#readableArea(offset, 4);
    return area === undefined ? this.#pread(offset, 4).getUint32(0, true) : area.mmio.read32(offset - area.offset);
  }

  read64(offset: number): bigint {
    const area = this.#readableArea(offset, 8);
    return area === undefined ? this.#pread(offset, 8).getBigUint64(0, true) : area.mmio.read64(offset - area.offset);
  }

  write8(offset: number, value: number): void {
    const area = this.#writableArea(offset, 1, value);
    if (area !== undefined) area.mmio.write8(offset - area.offset, value);
    else this.#pwrite(offset, 1, (view) => view.setUint8(0, value));
  }

  write16(offset: number, value: number): void {
    const area = this.#writableArea(offset, 2, value);
    if (area !== undefined) area.mmio.write16(offset - area.offset, value);
    else this.#pwrite(offset, 2, (view) => view.setUint16(0, value, true));
  }

  write32(offset: number, value: number): void {
    const area = this.#writableArea(offset, 4, value);
    if (area !== undefined) area.mmio.write32(offset - area.offset, value);
    else this.#pwrite(offset, 4, (view) => view.setUint32(0, value, true));
  }

  write64(offset: number, value: bigint): void {
    const area = this.#writableArea(offset, 8, value);
    if (area !== undefined) area.mmio.write64(offset - area.offset, value);
    else this.#pwrite(offset, 8, (view) => view.setBigUint64(0, value, true));
  }

  /**
   * A copy of `length` bytes from `offset`, read through the device's file: for configuration space, ROMs and dumps.
   * @throws IospanError `ERR_IOSPAN_REGION_ACCESS` when the kernel gives fewer bytes.
   */
  read(offset: number, length: number): Uint8Array {
    this.#checkRange(offset, length);
    const bytes = new Uint8Array(length);
    this.#transfer("pread", bytes, offset);
    return bytes;
  }

  /** @internal @throws IospanError `ERR_IOSPAN_RELEASED` once the device is closed. */
  get handle(): RegionHandle {
    return {
      syscalls: this.#syscalls,
      fd: this.#openFd(),
      device: this.#device,
      iommu: this.#iommu,
      region: this,
    };
  }

  /**
   * @internal The device's part: takes the registers away from everybody who still holds the region, before the device is
   * closed. Mappings for other devices are ended and waited for before ({@link RegionUsers.endAll}), since their mmap keeps the
   * device open in the kernel; here they are only begun to be ended, where nobody did.
   * @returns what went wrong, with them, too.
   */
  close(): readonly unknown[] {
    if (this.#fd === undefined) return [];
    this.#fd = undefined;
    void this.users.endAll();
    const mapped = this.#mapped;
    this.#mapped = undefined;
    return [...this.users.failures, ...failuresOf(() => mapped?.release())];
  }

  #readableArea(offset: number, width: Width): MappedRegisters | undefined {
    if (!this.readable) throw this.#forbidden("read");
    return this.#area(offset, width);
  }

  #writableArea(offset: number, width: Width, value: number | bigint): MappedRegisters | undefined {
    if (!this.writable) throw this.#forbidden("written");
    this.#checkValue(value, width * 8);
    return this.#area(offset, width);
  }

  #area(offset: number, width: Width): MappedRegisters | undefined {
    if (!Number.isSafeInteger(offset) || offset < 0 || offset + width > this.size)
      throw this.#outOfRange(offset, width);
    if (offset % width !== 0) throw this.#misaligned(offset, width);
    try {
      return this.#areas().at(offset, width);
    } catch (error) {
      throw this.#refused(error, "mmap");
    }
  }

  /** Negative values pass where they fit: JavaScript's bit operators give them (`1 << 31`, `~mask`). */
  #checkValue(value: number | bigint, bits: number): void {
    const integer = bits === 64 ? typeof value === "bigint" : Number.isInteger(value);
    if (integer && value >= -(2 ** (bits - 1)) && value < 2 ** bits) return;
    throw new IospanError(
      "ERR_IOSPAN_INVALID_ARGUMENT",
      `${value} is no ${bits}-bit value for ${this.name} of ${this.#device}`,
      {
        device: this.#device,
        iommu: this.#iommu,
        hint: `it must be ${bits === 64 ? "a bigint" : "an integer"} from -2^${bits - 1} to 2^${bits}-1`,
      },
    );
  }

  #checkRange(offset: number, length: number): void {
    const valid = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
    if (!valid || offset + length > this.size) throw this.#outOfRange(offset, length);
  }

  #areas(): MappedAreas {
    if (this.#mapped === undefined) {
      const prot = (this.readable ? PROT_READ : 0) | (this.writable ? PROT_WRITE : 0);
      const mapping = { fd: this.#openFd(), prot, base: this.fileOffset };
      this.#mapped = new MappedAreas(this.#syscalls, this.mmapAreas, mapping);
    }
    return this.#mapped;
  }

  #pread(offset: number, width: Width): DataView {
    const bytes = new Uint8Array(width);
    this.#transfer("pread", bytes, offset);
    return new DataView(bytes.buffer);
  }

  #pwrite(offset: number, width: Width, set: (view: DataView) => void): void {
    const bytes = new Uint8Array(width);
    set(new DataView(bytes.buffer));
    this.#transfer("pwrite", bytes, offset);
  }

  #transfer(call: "pread" | "pwrite", bytes: Uint8Array, offset: number): void {
    const fd = this.#openFd();
    let done: number;
    try {
      done = this.#syscalls[call](fd, bytes, this.fileOffset + BigInt(offset));
    } catch (error) {
      throw this.#refused(error, call);
    }
    // A register that was transferred in part is no value at all.
    if (done !== bytes.length) throw this.#short(offset, bytes.length, done);
  }

  #openFd(): Fd {
    if (this.#fd !== undefined) return this.#fd;
    throw new IospanError("ERR_IOSPAN_RELEASED", `${this.#device} is closed; ${this.name} cannot be accessed`, {
      device: this.#device,
      iommu: this.#iommu,
      hint: "open the device again and take its regions anew",
    });
  }

  #outOfRange(offset: number, length: number): IospanError {
    const range = `${length} bytes at ${Number.isSafeInteger(offset) ? hex(offset) : offset}`;
    return new IospanError("ERR_IOSPAN_REGION_RANGE", `${range} do not lie in ${this.name} of ${this.#device}`, {
      device: this.#device,
      iommu: this.#iommu,
      hint: `${this.name} is ${hex(this.size)} bytes long`,
    });
  }

  #misaligned(offset: number, width: Width): IospanError {
    const message = `a ${width * 8}-bit access at ${hex(offset)} of ${this.name} of ${this.#device} is not aligned`;
    return new IospanError("ERR_IOSPAN_REGION_ACCESS", message, {
      device: this.#device,
      iommu: this.#iommu,
      hint: `use an offset that is a multiple of ${width}, or narrower accesses`,
    });
  }

  /** A processor that is refused by its page table ends the process. */
  #forbidden(done: string): IospanError {
    return new IospanError("ERR_IOSPAN_REGION_ACCESS", `${this.name} of ${this.#device} cannot be ${done}`, {
      device: this.#device,
      iommu: this.#iommu,
      hint: "the kernel says so; region.readable and region.writable tell",
    });
  }

  #short(offset: number, wanted: number, done: number): IospanError {
    const message = `${done} of ${wanted} bytes at ${hex(offset)} of ${this.name} of ${this.#device} were transferred`;
    return new IospanError("ERR_IOSPAN_REGION_ACCESS", message, {
      device: this.#device,
      iommu: this.#iommu,
      hint: "the device's kernel driver does not pass this access on; try another width",
    });
  }

  #refused(error: unknown, call: string): unknown {
    if (!(error instanceof SyscallError)) return error;
    return new IospanError("ERR_IOSPAN_REGION_ACCESS", `${call} of ${this.name} of ${this.#device}: ${error.message}`, {
      ...factsOf(error),
      device: this.#device,
      iommu: this.#iommu,
      hint: "the region may be disabled: check the PCI command register (memory space) and the power state",
    });
  }
}
