import { firstLevel, type Granule, MAX_CONCATENATED_TABLES, tableShape } from "../../hw/smmu/page-descriptor.js";

/** How a domain's page tables are laid out. */
export interface TableGeometry {
  readonly stage: 1 | 2;
  readonly granule: Granule;
  /** log2 of the granule. */
  readonly pageBits: number;
  /** Address bits that one level resolves. */
  readonly indexBits: number;
  /** For each level, log2 of the bytes that one entry covers. */
  readonly levelBits: readonly number[];
  /** Pages and blocks that it uses, ascending. */
  readonly pageSizes: readonly number[];
  /** Bits of an IOVA. */
  readonly inputBits: number;
  /** Bits of a physical address. */
  readonly outputBits: number;
  /** The level of the first table, which may be several side by side in stage 2, and may be a part of one. */
  readonly firstLevel: number;
  /** Entries of the first table. */
  readonly firstEntries: number;
}

/** What page tables have to do with. */
export interface TableRequest {
  readonly stage: 1 | 2;
  /** What the SMMU can, ascending. */
  readonly pageSizes: readonly number[];
  /** Bytes of the processor's pages. */
  readonly cpuPageSize: number;
  readonly inputBits: number;
  readonly outputBits: number;
}

/** Only the 64 KiB granule has room in its entries for addresses beyond 48 bits. */
const BITS_OF_SMALL_GRANULES = 48;

/** Decides on granule, sizes and levels (drivers/iommu/io-pgtable-arm.c, arm_lpae_restrict_pgsizes and arm_lpae_alloc_pgtable). */
export function tableGeometry(request: TableRequest): TableGeometry {
  const granule = chooseGranule(request);
  const shape = tableShape(granule);
  const most = granule === 65536 ? 52 : BITS_OF_SMALL_GRANULES;
  const inputBits = Math.min(request.inputBits, most);
  const first = chooseFirstTable(request, granule, inputBits);
  return {
    stage: request.stage,
    granule,
    pageBits: shape.pageBits,
    indexBits: shape.indexBits,
    levelBits: shape.levelBits,
    pageSizes: sizesOf(granule, first.firstLevel).filter((size) => request.pageSizes.includes(size)),
    inputBits,
    outputBits: Math.min(request.outputBits, most),
    ...first,
  };
}

/** Bitmap. */
export function pageSizeBitmap({ pageSizes }: TableGeometry): bigint {
  return pageSizes.reduce((bitmap, size) => bitmap | BigInt(size), 0n);
}

/** Bytes of the pages and blocks that tables of a granule can have, ascending; 4 TiB needs output addresses of 52 bits. */
export function sizesOf(granule: Granule, first = 0): readonly number[] {
  const { levelBits, leaves } = tableShape(granule);
  const levels = levelBits.filter((_, level) => level >= first && leaves[level] === true);
  return levels.map((bits) => 2 ** bits).reverse();
}

/** The processor's page size if possible, so that its pages are the IOMMU's; else the next smaller one, else the next larger one. */
function chooseGranule({ pageSizes, cpuPageSize }: TableRequest): Granule {
  const granules = ([4096, 16384, 65536] as const).filter((granule) => pageSizes.includes(granule));
  const small = granules.filter((granule) => granule <= cpuPageSize).at(-1);
  const chosen = small ?? granules[0];
  if (chosen === undefined) throw new Error("an SMMU without a translation granule");
  return chosen;
}

function chooseFirstTable(
  { stage, outputBits }: TableRequest,
  granule: Granule,
  inputBits: number,
): Pick<TableGeometry, "firstLevel" | "firstEntries"> {
  const { levelBits, indexBits } = tableShape(granule);
  const level = firstLevel(granule, inputBits);
  const entries = 2 ** (inputBits - (levelBits[level] ?? 0));
  if (stage === 1 || entries > MAX_CONCATENATED_TABLES || !mustConcatenate(granule, level, outputBits))
    return { firstLevel: level, firstEntries: entries };
  return { firstLevel: level + 1, firstEntries: entries * 2 ** indexBits };
}

/** Whether a stage 2 walk has to begin a level lower, with several tables side by side (arm_lpae_concat_mandatory). */
function mustConcatenate(granule: Granule, level: number, outputBits: number): boolean {
  return level === 0 || (granule === 16384 && level === 1 && outputBits === 40);
}
