import { IospanError } from "../errors.js";
import { hex } from "../iova.js";
import type { Machine } from "../machine/machine.js";
import { MappedMemory } from "../syscalls/mapped-memory.js";
import { MAP_SHARED, PROT_READ, PROT_WRITE } from "../syscalls/mmap-flags.js";
import type { Fd } from "../syscalls/syscalls.js";
import { CallsUnderWay } from "../vfio/calls-under-way.js";
import type { Device } from "../vfio/device.js";
import { exportDmaBuf, type RegionPart } from "../vfio/dma-buf.js";
import { unexplained } from "../vfio/refusal.js";
import { Region, type RegionHandle } from "../vfio/region.js";
import type { RegionUser } from "../vfio/region-users.js";
import type { MappingRecord } from "./ledger.js";
import type { MappingSource } from "./mapping-source.js";
import { type PeerMechanism, requireMappableRegion } from "./peer-to-peer.js";

/** From this size on, IOMMUs can use larger pages than the processor's. */
const BLOCK = 2 ** 21;

/** A part of a region as it is handed to an IOMMU: an mmap of its own, or a dma-buf. */
interface Handed {
  readonly address: bigint;
  readonly file?: Fd;
  giveBack(): void;
}

/**
 * A part of a device's registers that other devices reach: what a mapping of a region maps. It has an mmap or a dma-buf of
 * its own, from when it is made until it is released, so that the mapping can be made again for a device that comes later.
 */
export class PeerRegion implements MappingSource {
  readonly region: Region;
  readonly address: bigint;
  readonly size: number;
  readonly file: Fd | undefined;
  readonly #handed: Handed;
  readonly #user: RegionUser;
  readonly #about: Pick<RegionHandle, "device" | "iommu">;
  readonly #underWay = new CallsUnderWay();
  #what = "a mapping that is being made";
  #released = false;
  #ended = false;
  #revoked = false;
  #end: (() => readonly unknown[]) | undefined;

  private constructor({ device, iommu }: RegionHandle, region: Region, size: number, handed: Handed) {
    this.#about = { device, iommu };
    this.region = region;
    this.size = size;
    this.address = handed.address;
    this.file = handed.file;
    this.#handed = handed;
    this.#user = this.#newUser();
    region.users.add(this.#user);
  }

  /**
   * @param part whole pages of the region
   * @param granule bytes that its address has to be a multiple of
   * @throws IospanError `ERR_IOSPAN_NOT_SUPPORTED`, `ERR_IOSPAN_REGION_ACCESS`, `ERR_IOSPAN_RELEASED` when the device is being
   * closed; nothing is held then.
   */
  static open(region: Region, part: RegionPart, mechanism: PeerMechanism, granule: number): PeerRegion {
    const { handle } = region;
    if (region.users.ended) throw registersGone(region.name);
    const handed = mechanism === "dma-buf" ? asDmaBuf(handle, part) : asMapping(handle, part, granule);
    return new PeerRegion(handle, region, part.size, handed);
  }

  /** The device is closed, or about to be: nothing may be mapped of it. */
  get ended(): boolean {
    return this.#ended;
  }

  /** It is a dma-buf, and its device was reset: the kernel has taken it from every IOMMU it was mapped in by then. */
  get revoked(): boolean {
    return this.#revoked;
  }

  /** Does something with the registers, which the closing of their device waits for. */
  during<T>(work: () => Promise<T>): Promise<T> {
    return this.#underWay.run(work);
  }

  /** It is mapped, until it is unmapped or its device is closed, when `end` is called. */
  mapped({ iova }: MappingRecord, end: () => readonly unknown[]): void {
    this.#what = `the mapping at IOVA ${hex(iova)}`;
    this.#end = end;
  }

  retain(): void {
    if (!this.#ended && !this.#released) return;
    throw registersGone(this.region.name);
  }

  unretain(): void {}

  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.region.users.delete(this.#user);
    try {
      this.#handed.giveBack();
    } catch (error) {
      throw unexplained(error, `giving back ${this.region.name}, which was mapped for other devices`);
    }
  }

  #newUser(): RegionUser {
    const what = () => this.#what;
    return {
      get what() {
        return what();
      },
      end: () => this.#endUse(),
      revoke: () => {
        this.#revoked = this.file !== undefined;
      },
    };
  }

  async #endUse(): Promise<readonly unknown[]> {
    this.#ended = true;
    await this.#underWay.ended();
    const failures = this.#end?.() ?? [];
    return this.#released ? failures : [stillHeld(this.region.name, this.#what, this.#about), ...failures];
  }
}

function asDmaBuf(handle: RegionHandle, part: RegionPart): Handed {
  const file = exportDmaBuf(handle, part);
  // BARs begin at multiples of their size, so this is how the registers lie physically.
  return { address: BigInt(part.offset), file, giveBack: () => handle.syscalls.close(file) };
}

function asMapping(handle: RegionHandle, part: RegionPart, granule: number): Handed {
  const { syscalls, fd, device, iommu, region } = handle;
  requireMappable(handle, part);
  const prot = (region.readable ? PROT_READ : 0) | (region.writable ? PROT_WRITE : 0);
  const offset = region.fileOffset + BigInt(part.offset);
  const isBlock = part.size >= BLOCK && part.offset % BLOCK === 0;
  const alignment = Math.max(syscalls.pageSize, granule, isBlock ? BLOCK : 0);
  try {
    const request = { fd, prot, flags: MAP_SHARED, length: part.size, offset };
    const memory = MappedMemory.mapAligned(syscalls, request, alignment);
    return { address: memory.address, giveBack: () => memory.release() };
  } catch (error) {
    throw unexplained(error, `mapping ${region.name} of ${device} into the process`, { device, iommu });
  }
}

function requireMappable({ device, iommu, region }: RegionHandle, { offset, size }: RegionPart): void {
  const { mmapAreas } = region;
  if (mmapAreas.some((area) => offset >= area.offset && offset + size <= area.offset + area.size)) return;
  const areas = mmapAreas.map((area) => `${hex(area.size)} at ${hex(area.offset)}`).join(", ");
  throw new IospanError(
    "ERR_IOSPAN_NOT_SUPPORTED",
    `${hex(size)} bytes at ${hex(offset)} of ${region.name} of ${device} are not in one part that can be mapped`,
    { device, iommu, hint: `what can be mapped of it: ${areas}` },
  );
}

/** @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for a region of another machine, and for what is no region. */
export function requireSameMachine(region: Region, { syscalls }: Machine): void {
  if (!(region instanceof Region)) throw noRegion();
  const { device, syscalls: own } = region.handle;
  const [theirs, ours] = [own.kernel, syscalls.kernel];
  if (theirs === undefined || ours === undefined || theirs === ours) return;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `${region.name} is of another machine's ${device}`, {
    hint: "open the device on the machine that the space was opened on",
  });
}

function noRegion(): IospanError {
  return new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", "only a Region of a device is mapped peer to peer", {
    hint: 'space.interface(name).region("bar0") gives one',
  });
}

/** @throws also `ERR_IOSPAN_NOT_SUPPORTED` for a region that is never mapped, `ERR_IOSPAN_REGION_ACCESS` for access that it does not allow. */
export function requirePeer(region: Region, machine: Machine, access: MappingRecord["access"]): void {
  requireSameMachine(region, machine);
  requireMappableRegion(region.handle);
  const wanted = typeof access === "string" ? [access] : [...access.values()];
  const denied = wanted.find((each) => (each !== "read" && !region.writable) || (each !== "write" && !region.readable));
  if (denied === undefined) return;
  const { device, iommu } = region.handle;
  throw new IospanError("ERR_IOSPAN_REGION_ACCESS", `${region.name} of ${device} cannot be mapped for "${denied}"`, {
    ...{ device, iommu },
    hint: "region.readable and region.writable say what the kernel allows",
  });
}

/** @throws IospanError `ERR_IOSPAN_BUSY` naming a mapping of the device's registers. */
export function requireNoPeers(device: Device): void {
  for (const { index, name } of device.regions) {
    const [what] = device.region(index).users.names;
    if (what === undefined) continue;
    throw new IospanError("ERR_IOSPAN_BUSY", `${name} of ${device.name} is mapped for other devices: ${what}`, {
      device: device.name,
      iommu: device.iommu,
      hint: "unmap it first",
    });
  }
}

/** The device was closed while its registers were being mapped. @param cause what the kernel said to that */
export function registersGone(name: string, cause?: unknown): IospanError {
  return new IospanError("ERR_IOSPAN_RELEASED", `the device of ${name} was closed`, {
    hint: "open the device again and take its regions anew",
    cause,
  });
}

/** The device is closed, but a mapping that could not be ended has its registers. */
function stillHeld(name: string, what: string, { device, iommu }: Pick<RegionHandle, "device" | "iommu">): IospanError {
  return new IospanError("ERR_IOSPAN_BUSY", `${name} of ${device} is still held, by ${what} for other devices`, {
    ...{ device, iommu },
    hint: "close the space that has mapped it: until then the kernel keeps the device open",
  });
}
