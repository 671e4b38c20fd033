import { PhysicalMemory } from "../../../../src/sim/hw/physical-memory.js";
import { wordsToBytes } from "../../../../src/sim/hw/smmu/bit-fields.js";
import { commands } from "../../../../src/sim/hw/smmu/commands.js";
import { contextDescriptor } from "../../../../src/sim/hw/smmu/context-descriptor.js";
import { type DecodedEvent, decodeEvent, EVENT_SIZE } from "../../../../src/sim/hw/smmu/events.js";
import { registers } from "../../../../src/sim/hw/smmu/registers.js";
import { type SmmuFeatures, type SmmuInterrupt, SmmuV3 } from "../../../../src/sim/hw/smmu/smmu.js";
import { streamConfigs, streamTableEntry } from "../../../../src/sim/hw/smmu/stream-table-entry.js";

export const STREAM = 0x100;
/** Stream table, linear unless a test sets another one up. */
const STREAM_BITS = 9;
export const COMMANDS_LOG2 = 4;
export const EVENTS_LOG2 = 3;

type Values<L extends { encode(values: never): unknown }> = Parameters<L["encode"]>[0];

/** An SMMU with memory, set up as a driver would: queues and a stream table are there, everything is enabled. */
export class Rig {
  readonly memory: PhysicalMemory;
  readonly smmu: SmmuV3;
  readonly interrupts: SmmuInterrupt[] = [];
  readonly streamTable: number;
  readonly commandQueue: number;
  readonly eventQueue: number;
  readonly #context: number;
  #producer = 0;
  #consumer = 0;
  /** Called with each interrupt. */
  onInterrupt: (line: SmmuInterrupt) => void = () => {};

  constructor(features: Partial<SmmuFeatures> = {}, memory = new PhysicalMemory(4096)) {
    this.memory = memory;
    this.smmu = new SmmuV3(features, {
      memory,
      interrupt: (line) => {
        this.interrupts.push(line);
        this.onInterrupt(line);
      },
    });
    this.streamTable = memory.reserve(64 << STREAM_BITS, 64 << STREAM_BITS)!;
    this.commandQueue = memory.reserve(16 << COMMANDS_LOG2)!;
    this.eventQueue = memory.reserve(32 << EVENTS_LOG2)!;
    this.#context = memory.reserve(64)!;
    const { smmu } = this;
    smmu.write64(registers.STRTAB_BASE.offset, BigInt(this.streamTable));
    smmu.write32(registers.STRTAB_BASE_CFG.offset, registers.STRTAB_BASE_CFG.encode({ LOG2SIZE: STREAM_BITS }));
    const commandBase = registers.CMDQ_BASE.encode({ ADDR: this.commandQueue, LOG2SIZE: COMMANDS_LOG2 });
    smmu.write64(registers.CMDQ_BASE.offset, commandBase);
    const eventBase = registers.EVENTQ_BASE.encode({ ADDR: this.eventQueue, LOG2SIZE: EVENTS_LOG2 });
    smmu.write64(registers.EVENTQ_BASE.offset, eventBase);
    smmu.write32(registers.CR2.offset, registers.CR2.encode({ RECINVSID: 1 }));
    smmu.write32(registers.IRQ_CTRL.offset, registers.IRQ_CTRL.encode({ GERROR_IRQEN: 1, EVENTQ_IRQEN: 1 }));
    this.enable();
  }

  enable(): void {
    this.smmu.write32(registers.CR0.offset, registers.CR0.encode({ SMMUEN: 1, EVENTQEN: 1, CMDQEN: 1 }));
  }

  disable(): void {
    this.smmu.write32(registers.CR0.offset, 0);
  }

  /** Puts commands into the queue, one write of CMDQ_PROD each. */
  submit(...words: bigint[][]): void {
    for (const command of words) {
      const index = this.#producer % 2 ** COMMANDS_LOG2;
      this.memory.write(this.commandQueue + index * 16, wordsToBytes(command));
      this.#producer = (this.#producer + 1) % 2 ** (COMMANDS_LOG2 + 1);
      this.smmu.write32(registers.CMDQ_PROD.offset, this.#producer);
    }
  }

  get producer(): number {
    return this.#producer;
  }

  /** Takes the new events out of the queue. */
  events(): DecodedEvent[] {
    const { WR } = registers.EVENTQ_PROD.decode(this.smmu.read32(registers.EVENTQ_PROD.offset));
    const events: DecodedEvent[] = [];
    const bytes = new Uint8Array(EVENT_SIZE);
    while (this.#consumer !== WR) {
      this.memory.read(this.eventQueue + (this.#consumer % 2 ** EVENTS_LOG2) * EVENT_SIZE, bytes);
      events.push(decodeEvent(bytes));
      this.#consumer = (this.#consumer + 1) % 2 ** (EVENTS_LOG2 + 1);
    }
    const { OVFLG } = registers.EVENTQ_PROD.decode(this.smmu.read32(registers.EVENTQ_PROD.offset));
    const consumed = registers.EVENTQ_CONS.encode({ RD: this.#consumer, OVACKFLG: OVFLG });
    this.smmu.write32(registers.EVENTQ_CONS.offset, consumed);
    return events;
  }

  /** The names of the new events. */
  eventNames(): (string | undefined)[] {
    return this.events().map(({ name }) => name);
  }

  writeSte(streamId: number, values: Values<typeof streamTableEntry>): void {
    this.memory.write(this.streamTable + streamId * 64, wordsToBytes(streamTableEntry.encode(values)));
  }

  /** Writes an STE and has its cached copy dropped. */
  setSte(streamId: number, values: Values<typeof streamTableEntry>): void {
    this.writeSte(streamId, values);
    this.submit(commands.CFGI_STE.encode({ SID: streamId, Leaf: 1 }));
  }

  writeCd(values: Values<typeof contextDescriptor>, at = this.#context): void {
    this.memory.write(at, wordsToBytes(contextDescriptor.encode(values)));
  }

  /** Has a stream translated by stage 1. @param cd what differs from a table of 4 KiB pages for 48 bits */
  setStage1(
    streamId: number,
    cd: Values<typeof contextDescriptor>,
    ste: Values<typeof streamTableEntry> = {},
    at = this.#context,
  ): void {
    this.writeCd({ V: 1, AA64: 1, T0SZ: 16, EPD1: 1, IPS: 5, R: 1, A: 1, ASID: 1, ...cd }, at);
    this.setSte(streamId, { V: 1, Config: streamConfigs.STAGE_1, S1ContextPtr: at, S1DSS: 2, ...ste });
  }

  /** Has a stream translated by stage 2. */
  setStage2(streamId: number, ste: Values<typeof streamTableEntry>): void {
    this.setSte(streamId, { V: 1, Config: streamConfigs.STAGE_2, S2AA64: 1, S2R: 1, S2PS: 5, S2VMID: 1, ...ste });
  }

  read(address: number, streamId = STREAM): number {
    return this.smmu.translate(streamId, address, false);
  }

  write(address: number, streamId = STREAM): number {
    return this.smmu.translate(streamId, address, true);
  }
}
