import { encodeEvent, rawLines } from "../../faults/support/event-log.js";

/** What a log may hold: a fault from each driver, one of them twice, and what says that some were lost. */
export const FAULTS_LOG: readonly string[] = [
  "[    1.000000] Booting",
  ...rawLines(encodeEvent({ id: 0x10, streamId: 0x200, inputAddress: 0x6000_0000n, read: true, class: 2 })),
  ...rawLines(encodeEvent({ id: 0x10, streamId: 0x200, inputAddress: 0x6000_0000n, read: true, class: 2 })),
  "arm-smmu 9050000.iommu: Unhandled context fault: fsr=0x402, iova=0x60000000, fsynr=0x2, cbfrsynra=0x200, cb=0",
  "DMAR: [DMA Write NO_PASID] Request device [0000:00:02.0] fault addr 0x1000 [fault reason 0x05] x",
  "AMD-Vi: Event logged [IO_PAGE_FAULT device=0000:02:00.0 domain=0x0001 address=0x1000 flags=0x0020]",
  "arm-smmu-v3 a.iommu: EVTQ overflow detected -- events lost",
  "dmar_fault: 12 callbacks suppressed",
];
