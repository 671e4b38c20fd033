import type { PhysicalMemory, RegisterWindow } from "../physical-memory.js";
import { Commands } from "./command-executor.js";
import { CommandQueue } from "./command-queue.js";
import { type CachedStream, ConfigurationCache } from "./configuration-cache.js";
import { Counters, type SmmuCounters } from "./counters.js";
import { Epoch } from "./epoch.js";
import { EventQueue } from "./event-queue.js";
import { eventIds } from "./events.js";
import { Fault } from "./fault.js";
import { faultRecord } from "./fault-record.js";
import { type SmmuFeatures, smmuFeatures } from "./features.js";
import { GlobalErrors } from "./global-errors.js";
import { setIdRegisters } from "./id-registers.js";
import { Interrupts, type SmmuInterrupt } from "./interrupts.js";
import { Invalidation } from "./invalidation.js";
import { powers } from "./powers-of-two.js";
import { RecentTranslations } from "./recent-translations.js";
import { LOW_ADDRESS_LIMIT } from "./regimes.js";
import { RegisterFile } from "./register-file.js";
import { RegisterInterface } from "./register-interface.js";
import { registers } from "./registers.js";
import { StreamTable } from "./stream-table.js";
import { READ, WRITE } from "./table-walker.js";
import { STAGE_2_SHIFT, Tlb } from "./tlb.js";
import { Translator } from "./translator.js";

export type { SmmuCounters } from "./counters.js";
export type { SmmuFeatures } from "./features.js";
export type { SmmuInterrupt } from "./interrupts.js";

/** What an SMMU is soldered to. */
export interface SmmuWiring {
  readonly memory: PhysicalMemory;
  /** An edge on an interrupt wire. */
  interrupt(line: SmmuInterrupt): void;
}

/** What {@link SmmuV3.translate} gives for an access that is aborted. */
export const ABORTED = -1;

/**
 * Arm's System MMU, version 3 (Arm IHI 0070), as its driver and the devices behind it see it: registers, tables and queues in
 * memory, TLB and configuration caches that hold on to what they read until a command says otherwise.
 *
 * Modelled: the Non-secure interface with stage 1, stage 2 and both, for accesses that are unprivileged data accesses without a
 * SubstreamID. Not there, and said so by its ID registers: stalling, ATS, PRI, hardware updates of
 * descriptors, 52-bit addresses with small granules, 32-bit and 128-bit descriptors, Secure and Realm state. Not there, as
 * the architecture permits: caches of tables on the way of a walk, and of first-level stream table entries. The Leaf
 * bit of an invalidation, which spares them, makes no difference.
 */
export class SmmuV3 implements RegisterWindow {
  readonly features: SmmuFeatures;
  readonly #counters = new Counters();
  readonly #fault = new Fault();
  readonly #epoch = new Epoch();
  readonly #file = new RegisterFile();
  readonly #interface: RegisterInterface;
  readonly #tlb: Tlb;
  readonly #configurations: ConfigurationCache;
  readonly #translator: Translator;
  readonly #events: EventQueue;
  readonly #recent: RecentTranslations;
  #reach = 0;

  /** @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` for features that no SMMU can have */
  constructor(features: Partial<SmmuFeatures>, { memory, interrupt }: SmmuWiring) {
    this.features = smmuFeatures(features);
    const file = this.#file;
    const counters = this.#counters;
    const epoch = this.#epoch;
    setIdRegisters(file, this.features);
    const interrupts = new Interrupts(memory, file, this.features.msi, interrupt);
    const errors = new GlobalErrors(file, interrupts);
    this.#events = new EventQueue(memory, file, errors, interrupts, counters, this.features.eventQueueLog2);
    this.#tlb = new Tlb(this.features.tlbEntries, epoch);
    this.#recent = new RecentTranslations(epoch);
    const rules = () => ({ features: this.features, hypervisorHost: file.field(registers.CR2, "E2H") === 1 });
    const streams = new StreamTable(memory, file, this.features);
    this.#configurations = new ConfigurationCache(memory, streams, rules, this.#fault, epoch);
    this.#translator = new Translator(
      memory,
      this.#tlb,
      this.#configurations,
      this.#fault,
      counters,
      this.features.outputBits,
    );
    const commands = new Commands({
      features: this.features,
      registers: file,
      configurations: this.#configurations,
      invalidation: new Invalidation(this.#tlb, this.features),
      interrupts,
      errors,
      counters,
    });
    const queue = new CommandQueue(memory, file, errors, counters, this.features.commandQueueLog2, commands);
    this.#interface = new RegisterInterface(file, this.features, queue, epoch);
  }

  /** Bytes from its address that the last successful translation holds for: to the end of the page, block or contiguous range. */
  get reach(): number {
    return this.#reach;
  }

  /** What it did so far. The object does not change any more. */
  get counters(): SmmuCounters {
    return this.#counters.snapshot();
  }

  resetCounters(): void {
    this.#counters.reset();
  }

  /** Translations that the TLB holds now. */
  get tlbSize(): number {
    return this.#tlb.size;
  }

  /** @param offset in the registers, a multiple of 4. Where there is no register, 0 is read. */
  read32(offset: number): number {
    return this.#interface.read(offset);
  }

  /** @param offset in the registers, a multiple of 4. Where there is no register, nothing happens. */
  write32(offset: number, value: number): void {
    this.#interface.write(offset, value >>> 0);
  }

  read64(offset: number): bigint {
    return (BigInt(this.read32(offset + 4)) << 32n) | BigInt(this.read32(offset));
  }

  write64(offset: number, value: bigint): void {
    this.write32(offset, Number(value & 0xffff_ffffn));
    this.write32(offset + 4, Number((value >> 32n) & 0xffff_ffffn));
  }

  /** A bus access: 4 or 8 bytes that are aligned. Others are not supported: they read zeros (Arm IHI 0070, 6.2). */
  read(offset: number, into: Uint8Array): void {
    into.fill(0);
    if (!isRegisterAccess(offset, into.length)) return;
    const view = new DataView(into.buffer, into.byteOffset, into.length);
    for (let at = 0; at < into.length; at += 4) view.setUint32(at, this.read32(offset + at), true);
  }

  /** As {@link read}; what is not supported is ignored. */
  write(offset: number, from: Uint8Array): void {
    if (!isRegisterAccess(offset, from.length)) return;
    const view = new DataView(from.buffer, from.byteOffset, from.length);
    for (let at = 0; at < from.length; at += 4) this.write32(offset + at, view.getUint32(at, true));
  }

  /**
   * Where an access of a device goes.
   * @param address up to 2^53; {@link translateWide} takes all
   * @returns the physical address, or {@link ABORTED} when the SMMU aborts the access; if it is to be recorded, the event is
   */
  translate(streamId: number, address: number, write: boolean): number {
    this.#counters.translations++;
    const permission = write ? WRITE : READ;
    const recent = this.#recent.find(streamId, address, permission);
    if (recent < 0) {
      const low = address < LOW_ADDRESS_LIMIT ? address : address - LOW_ADDRESS_LIMIT;
      return this.#translate(streamId, low, low === address ? 0 : 1, permission);
    }
    this.#counters.tlbHits++;
    this.#reach = this.#recent.reach;
    return recent;
  }

  /** As {@link translate}, for addresses of 64 bits. */
  translateWide(streamId: number, address: bigint, write: boolean): number {
    const low = Number(BigInt.asUintN(52, address));
    const top = Number(BigInt.asUintN(12, address >> 52n));
    if (top === 0) return this.translate(streamId, low, write);
    this.#counters.translations++;
    return this.#translate(streamId, low, top, write ? WRITE : READ);
  }

  /**
   * @param low address bits 51 to 0
   * @param top address bits 63 to 52
   */
  #translate(streamId: number, low: number, top: number, permission: number): number {
    if (!this.#interface.isEnabled) return this.#disabled(low, top);
    const stream = this.#configurations.stream(streamId);
    if (stream === undefined) return this.#abort(streamId, low, top, permission);
    return this.#translateStream(stream, streamId, low, top, permission);
  }

  #translateStream(stream: CachedStream, streamId: number, low: number, top: number, permission: number): number {
    const { configuration } = stream;
    switch (configuration.action) {
      case "abort":
        return ABORTED;
      case "refuse":
        this.#fault.set(configuration.event);
        return this.#abort(streamId, low, top, permission);
      case "bypass":
        if (this.#isOutput(low, top)) return this.#pass(low);
        this.#fault.set(eventIds.F_ADDR_SIZE);
        return this.#abort(streamId, low, top, permission);
      case "translate": {
        const { context, stage2 } = configuration;
        const slot = this.#translator.translate(stream, context, stage2, low, top, permission);
        return slot < 0 ? this.#abort(streamId, low, top, permission) : this.#finish(slot, streamId, low, top);
      }
      default:
        return configuration satisfies never;
    }
  }

  #finish(slot: number, streamId: number, low: number, top: number): number {
    const start = this.#tlb.startOf(slot);
    const size = powers[this.#tlb.sizeBitsOf(slot)] as number;
    const target = this.#tlb.targetOf(slot);
    // Not after a walk: what is used once does not pay for being remembered.
    if (top === 0 && this.#translator.wasHit) {
      const permissions = this.#tlb.permissionsOf(slot);
      this.#recent.remember(streamId, low, start, size, target, permissions & (permissions >> STAGE_2_SHIFT));
    }
    this.#reach = start + size - low;
    return target + low - start;
  }

  /** CR0.SMMUEN is 0: GBPA says what becomes of everything, and no event is recorded. */
  #disabled(low: number, top: number): number {
    const isAborted = this.#file.field(registers.GBPA, "ABORT") === 1 || !this.#isOutput(low, top);
    return isAborted ? ABORTED : this.#pass(low);
  }

  #isOutput(low: number, top: number): boolean {
    return top === 0 && low < (powers[this.features.outputBits] as number);
  }

  #pass(address: number): number {
    this.#reach = (powers[this.features.outputBits] as number) - address;
    return address;
  }

  #abort(streamId: number, low: number, top: number, permission: number): number {
    const fault = this.#fault;
    const isSilenced =
      fault.event === eventIds.C_BAD_STREAMID ? this.#file.field(registers.CR2, "RECINVSID") === 0 : !fault.recorded;
    if (!isSilenced) this.#events.record(faultRecord(fault, streamId, low, top, permission));
    return ABORTED;
  }
}

function isRegisterAccess(offset: number, length: number): boolean {
  return (length === 4 || length === 8) && offset % length === 0;
}
