const USUAL = 0x4020_1000n;

/**
 * Bytes of the smallest page that Linux makes an IOMMU's tables of: the processor's if the IOMMU has it, else the largest
 * that is smaller, else the smallest that is larger (drivers/iommu/io-pgtable-arm.c, arm_lpae_restrict_pgsizes).
 * @param pageSizes the IOMMU's, as a bitmap; 4 KiB, 2 MiB and 1 GiB where absent.
 */
export function granuleOf(processorPage: number, pageSizes: bigint = USUAL): number {
  const smaller = pageSizes & BigInt(2 * processorPage - 1);
  if (smaller !== 0n) return 2 ** (smaller.toString(2).length - 1);
  return Number(pageSizes & -pageSizes);
}
