import type { BitFields } from "../../hw/smmu/bit-fields.js";
import { CFGI_ALL_RANGE, commands } from "../../hw/smmu/commands.js";
import { CACHEABILITY_WBRA, shareabilities } from "../../hw/smmu/context-descriptor.js";
import { type Register32, registers } from "../../hw/smmu/registers.js";
import type { SmmuV3 } from "../../hw/smmu/smmu.js";
import type { CommandQueue } from "./command-queue.js";
import { commandWords } from "./command-words.js";
import type { EventQueue } from "./event-queue.js";
import type { StreamTable } from "./stream-table.js";

/** What the SMMU is to work with. */
export interface SmmuStructures {
  readonly streams: StreamTable;
  readonly commandQueue: CommandQueue;
  readonly eventQueue: EventQueue;
}

/** Takes an SMMU into service (arm-smmu-v3.c, arm_smmu_device_reset, its steps in the same order). */
export function resetSmmu(hardware: SmmuV3, { streams, commandQueue, eventQueue }: SmmuStructures): void {
  const { CR0, CR0ACK, CR1, CR2, IRQ_CTRL, IRQ_CTRLACK } = registers;
  const enable = (bits: Parameters<typeof CR0.encode>[0]) => writeAndWait(hardware, CR0, CR0ACK, CR0.encode(bits));
  enable({});
  hardware.write32(CR1.offset, CR1.encode(MEMORY_ATTRIBUTES));
  hardware.write32(CR2.offset, CR2.encode({ PTM: 1, RECINVSID: 1 }));
  streams.install(hardware);
  commandQueue.install();
  enable({ CMDQEN: 1 });
  commandQueue.issueAndSync([commandWords(commands.CFGI_STE_RANGE.encode({ Range: CFGI_ALL_RANGE }))]);
  commandQueue.issueAndSync([commandWords(commands.TLBI_NSNH_ALL.encode({}))]);
  eventQueue.install();
  enable({ CMDQEN: 1, EVENTQEN: 1 });
  writeAndWait(hardware, IRQ_CTRL, IRQ_CTRLACK, 0);
  writeAndWait(hardware, IRQ_CTRL, IRQ_CTRLACK, IRQ_CTRL.encode({ EVENTQ_IRQEN: 1, GERROR_IRQEN: 1 }));
  enable({ CMDQEN: 1, EVENTQEN: 1, SMMUEN: 1 });
}

/** Tables and queues are in memory that everybody caches. */
const MEMORY_ATTRIBUTES = {
  TABLE_SH: shareabilities.INNER,
  TABLE_OC: CACHEABILITY_WBRA,
  TABLE_IC: CACHEABILITY_WBRA,
  QUEUE_SH: shareabilities.INNER,
  QUEUE_OC: CACHEABILITY_WBRA,
  QUEUE_IC: CACHEABILITY_WBRA,
} as const;

/** Some registers take effect when another one shows the same value. */
function writeAndWait<F extends BitFields>(
  hardware: SmmuV3,
  register: Register32<F>,
  acknowledgement: Register32<F>,
  value: number,
): void {
  hardware.write32(register.offset, value);
  if (hardware.read32(acknowledgement.offset) !== value)
    throw new Error(`the SMMU does not acknowledge ${register.name} = 0x${value.toString(16)}`);
}
