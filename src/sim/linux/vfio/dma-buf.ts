import type { Decoded } from "../../../abi/codec.js";
import { dmaBuf, regionDmaRange, VFIO_DEVICE_FEATURE_OPERATION } from "../../../abi/vfio-feature.js";
import { VFIO_PCI_REGION_INDEX } from "../../../abi/vfio-region.js";
import type { Frame } from "../drivers/device.js";
import { OpenFile } from "../files/open-file.js";
import type { PageSource } from "../files/page-source.js";
import { Revocation } from "../files/revocation.js";
import type { Extent } from "../mm/memory-object.js";
import type { Process } from "../process.js";
import type { Profile } from "../profile.js";
import { refuse } from "../refusal.js";

const { GET, SET, PROBE } = VFIO_DEVICE_FEATURE_OPERATION;

/** What exporting needs of the kernel and of the device. */
export interface DmaBufParts {
  readonly process: Process;
  readonly profile: Profile;
  readonly pageSize: number;
  frame(index: number): Frame | undefined;
  /** The function decodes memory. */
  isEnabled(): boolean;
}

/** A PCI function's registers as dma-bufs (drivers/vfio/pci/vfio_pci_dmabuf.c). */
export class DmaBufs {
  readonly #parts: DmaBufParts;
  readonly #files = new Set<DmaBufFile>();

  constructor(parts: DmaBufParts) {
    this.#parts = parts;
  }

  /**
   * VFIO_DEVICE_FEATURE_DMA_BUF (vfio_pci_core_feature_dma_buf).
   * @param data what follows the feature's header
   */
  feature(flags: number, data: Uint8Array): number {
    if (!this.#parts.profile.exportsRegisters) refuse("ENOTTY");
    if ((flags & SET) !== 0) refuse("EINVAL");
    if ((flags & PROBE) !== 0) return 0;
    if ((flags & GET) === 0 || data.length < dmaBuf.size) refuse("EINVAL");
    const request = dmaBuf.decode(data);
    if (request.nr_ranges === 0 || request.flags !== 0) refuse("EINVAL");
    const isBar = request.region_index < VFIO_PCI_REGION_INDEX.ROM;
    const frame = (isBar ? this.#parts.frame(request.region_index) : undefined) ?? refuse("ENODEV");
    return this.#export(frame, rangesOf(request, data));
  }

  /** Takes the registers from whoever has them, or lets them be attached anew (vfio_pci_dma_buf_move). */
  move(revoked: boolean): void {
    for (const file of this.#files) file.move(revoked);
  }

  /** The device is closed: it gives nothing any more (vfio_pci_dma_buf_cleanup). */
  cleanup(): void {
    this.move(true);
    this.#files.clear();
  }

  #export(frame: Frame, ranges: readonly Range[]): number {
    const { process, profile, pageSize, isEnabled } = this.#parts;
    for (const { offset, length } of ranges) {
      if (length === 0n || offset % BigInt(pageSize) !== 0n || length % BigInt(pageSize) !== 0n) refuse("EINVAL");
    }
    const extents = ranges.map(({ offset, length }) => {
      if (offset + length > BigInt(frame.size)) refuse("EINVAL");
      return { address: frame.physicalAddress + Number(offset), length: Number(length) };
    });
    const released = (file: DmaBufFile) => this.#files.delete(file);
    const file = new DmaBufFile(extents, { isRevoked: !isEnabled(), canBeMapped: profile.mapsDmaBufs, released });
    const fd = process.fds.install(file);
    this.#files.add(file);
    return fd;
  }
}

type Range = Decoded<typeof regionDmaRange>;

function rangesOf({ nr_ranges }: Decoded<typeof dmaBuf>, data: Uint8Array): readonly Range[] {
  const { size } = regionDmaRange;
  if (data.length < dmaBuf.size + nr_ranges * size) refuse("EFAULT");
  return Array.from({ length: nr_ranges }, (_, index) => regionDmaRange.decode(data, dmaBuf.size + index * size));
}

/** A dma-buf of registers. It does not keep the device open. */
export class DmaBufFile extends OpenFile {
  readonly path = "/dmabuf:";
  readonly #extents: readonly Extent[];
  readonly #canBeMapped: boolean;
  readonly #released: (file: DmaBufFile) => void;
  readonly #attachments = new Set<Revocation>();
  #isRevoked: boolean;

  constructor(
    extents: readonly Extent[],
    about: {
      readonly isRevoked: boolean;
      readonly canBeMapped: boolean;
      readonly released: (file: DmaBufFile) => void;
    },
  ) {
    super();
    this.#extents = extents;
    this.#isRevoked = about.isRevoked;
    this.#canBeMapped = about.canBeMapped;
    this.#released = about.released;
  }

  protected release(): void {
    this.#released(this);
  }

  move(revoked: boolean): void {
    if (revoked === this.#isRevoked) return;
    this.#isRevoked = revoked;
    for (const attachment of this.#attachments) attachment.revoke();
    this.#attachments.clear();
  }

  /** dma_buf_mmap_internal: the exporter has no mmap. */
  override mmap(): never {
    return refuse("EINVAL");
  }

  /** iopt_alloc_dmabuf_pages. Iommufd can do with one range only (vfio_pci_dma_buf_iommufd_map). */
  override pageSource(start: number, length: number): PageSource {
    if (!this.#canBeMapped) return super.pageSource(start, length);
    const size = this.#extents.reduce((sum, extent) => sum + extent.length, 0);
    if (start + length > size) refuse("EINVAL");
    if (this.#isRevoked) refuse("ENODEV");
    const [extent] = this.#extents;
    if (extent === undefined || this.#extents.length > 1) return refuse("EOPNOTSUPP");
    const revocation = new Revocation();
    this.#attachments.add(revocation);
    this.hold();
    return {
      start,
      isFile: false,
      offersRegisters: true,
      revocation,
      touch: (from, to) => [{ address: extent.address + start + from, length: to - from, isRam: false }],
      released: () => {
        this.#attachments.delete(revocation);
        this.put();
      },
    };
  }
}
