import type { InterruptPins } from "../device-model.js";

/** The interrupt registers of one interface. */
export class InterruptBank {
  readonly #pins: InterruptPins;
  #pending = 0;
  #enabled = 0;

  constructor(pins: InterruptPins) {
    this.#pins = pins;
  }

  /** INTERRUPT_STATUS. */
  get pending(): number {
    return this.#pending;
  }

  /** INTERRUPT_ENABLE. */
  get enabled(): number {
    return this.#enabled;
  }

  set enabled(bits: number) {
    const before = this.#active;
    this.#enabled = bits;
    this.#drive((this.#active & ~before) !== 0);
  }

  /** Something happened. */
  raise(bits: number): void {
    const before = this.#active;
    this.#pending |= bits;
    this.#drive((this.#active & ~before) !== 0);
  }

  /** The driver has seen it. A message for what is left keeps it from being missed. */
  acknowledge(bits: number): void {
    this.#pending &= ~bits;
    this.#drive(true);
  }

  reset(): void {
    this.#pending = 0;
    this.#enabled = 0;
    this.#pins.setLevel(false);
  }

  get #active(): number {
    return this.#pending & this.#enabled;
  }

  /** @param news whether a message is due where messages are in use */
  #drive(news: boolean): void {
    const active = this.#active !== 0;
    this.#pins.setLevel(active && !this.#pins.msiEnabled);
    if (active && news && this.#pins.msiEnabled) this.#pins.msi(0);
  }
}
