import type { CommandQueue } from "./command-queue.js";
import type { Epoch } from "./epoch.js";
import type { SmmuFeatures } from "./features.js";
import { canonicalOffset, type RegisterFile } from "./register-file.js";
import { registers } from "./registers.js";

const { CR0, CR1, CR2, GBPA, IRQ_CTRL, GERROR, GERRORN } = registers;

const CR0_IMPLEMENTED = CR0.encode({ SMMUEN: 1, EVENTQEN: 1, CMDQEN: 1, ATSCHK: 1 });
const ENABLED = CR0.encode({ SMMUEN: 1 });
const IRQ_CTRL_IMPLEMENTED = IRQ_CTRL.encode({ GERROR_IRQEN: 1, EVENTQ_IRQEN: 1 });
const CR1_IMPLEMENTED = 0xfff;
/** What CMDQ_PROD has of a queue's position. */
const POSITION = registers.CMDQ_PROD.encode({ WR: 2 ** registers.CMDQ_PROD.fields.WR.width - 1 });
const GBPA_UPDATE = GBPA.encode({ UPDATE: 1 });

/** Where a register may be written, and what happens when it is. Those that are not here are read-only. */
type Writes = ReadonlyMap<number, (value: number) => void>;

/** What reading and writing registers does (Arm IHI 0070, 6.3). */
export class RegisterInterface {
  readonly #file: RegisterFile;
  readonly #features: SmmuFeatures;
  readonly #commands: CommandQueue;
  readonly #epoch: Epoch;
  readonly #writes: Writes;
  #isEnabled = false;

  constructor(file: RegisterFile, features: SmmuFeatures, commands: CommandQueue, epoch: Epoch) {
    this.#file = file;
    this.#features = features;
    this.#commands = commands;
    this.#epoch = epoch;
    this.#writes = new Map([...this.#control(), ...this.#tables(), ...this.#queues(), ...this.#interrupts()]);
  }

  /** CR0.SMMUEN, which every translation asks for. */
  get isEnabled(): boolean {
    return this.#isEnabled;
  }

  read(offset: number): number {
    return this.#file.get(canonicalOffset(offset));
  }

  write(offset: number, value: number): void {
    this.#writes.get(canonicalOffset(offset))?.(value);
  }

  #control(): [number, (value: number) => void][] {
    return [
      [CR0.offset, (value) => this.#writeCr0(value)],
      [CR1.offset, (value) => this.#file.set(CR1.offset, value & CR1_IMPLEMENTED)],
      [CR2.offset, (value) => this.#writeCr2(value)],
      [GBPA.offset, (value) => this.#writeGbpa(value)],
      [GERRORN.offset, (value) => this.#writeGerrorn(value)],
    ];
  }

  /** Writes while the table or queue is in use are ignored, one of the behaviours that the architecture permits. */
  #tables(): [number, (value: number) => void][] {
    const isFree = () => this.#file.field(CR0, "SMMUEN") === 0;
    const { STRTAB_BASE, STRTAB_BASE_CFG } = registers;
    return [STRTAB_BASE.offset, STRTAB_BASE.offset + 4, STRTAB_BASE_CFG.offset].map((at) => this.#plain(at, isFree));
  }

  #queues(): [number, (value: number) => void][] {
    const { CMDQ_BASE, CMDQ_PROD, CMDQ_CONS, EVENTQ_BASE, EVENTQ_PROD, EVENTQ_CONS } = registers;
    const isCommandFree = () => this.#file.field(CR0, "CMDQEN") === 0;
    const isEventFree = () => this.#file.field(CR0, "EVENTQEN") === 0;
    const produce = (value: number) => {
      this.#file.set(CMDQ_PROD.offset, value & POSITION);
      this.#commands.consume();
    };
    return [
      ...[CMDQ_BASE.offset, CMDQ_BASE.offset + 4, CMDQ_CONS.offset].map((at) => this.#plain(at, isCommandFree)),
      [CMDQ_PROD.offset, produce],
      ...[EVENTQ_BASE.offset, EVENTQ_BASE.offset + 4, EVENTQ_PROD.offset].map((at) => this.#plain(at, isEventFree)),
      this.#plain(EVENTQ_CONS.offset, () => true),
    ];
  }

  /** Where messages go can be set while none are sent. */
  #interrupts(): [number, (value: number) => void][] {
    const isQuiet = (field: "GERROR_IRQEN" | "EVENTQ_IRQEN") => () => this.#file.field(IRQ_CTRL, field) === 0;
    const control = (value: number) => {
      this.#file.set(IRQ_CTRL.offset, value & IRQ_CTRL_IMPLEMENTED);
      this.#file.set(registers.IRQ_CTRLACK.offset, value & IRQ_CTRL_IMPLEMENTED);
    };
    if (!this.#features.msi) return [[IRQ_CTRL.offset, control]];
    const messages = (base: number, field: "GERROR_IRQEN" | "EVENTQ_IRQEN") =>
      [base, base + 4, base + 8, base + 12].map((at) => this.#plain(at, isQuiet(field)));
    return [
      [IRQ_CTRL.offset, control],
      ...messages(registers.GERROR_IRQ_CFG0.offset, "GERROR_IRQEN"),
      ...messages(registers.EVENTQ_IRQ_CFG0.offset, "EVENTQ_IRQEN"),
    ];
  }

  #plain(offset: number, isWritable: () => boolean): [number, (value: number) => void] {
    return [
      offset,
      (value) => {
        if (isWritable()) this.#file.set(offset, value);
      },
    ];
  }

  #writeCr0(value: number): void {
    this.#epoch.value++;
    this.#isEnabled = (value & ENABLED) !== 0;
    this.#file.set(CR0.offset, value & CR0_IMPLEMENTED);
    this.#file.set(registers.CR0ACK.offset, value & CR0_IMPLEMENTED);
    this.#commands.consume();
  }

  #writeCr2(value: number): void {
    if (this.#file.field(CR0, "SMMUEN") === 1) return;
    const { E2H, RECINVSID, PTM } = CR2.decode(value);
    this.#file.set(CR2.offset, CR2.encode({ E2H: this.#features.hypervisor ? E2H : 0, RECINVSID, PTM }));
  }

  /** Takes effect at once, which UPDATE says by reading as 0. */
  #writeGbpa(value: number): void {
    if ((value & GBPA_UPDATE) !== 0) this.#file.set(GBPA.offset, value & ~GBPA_UPDATE);
  }

  #writeGerrorn(value: number): void {
    const { fields } = GERROR;
    const implemented = Object.values(fields).reduce((mask, { low }) => mask | (1 << low), 0);
    this.#file.set(GERRORN.offset, value & implemented);
    this.#commands.consume();
  }
}
