import { type BitFields, rawBits } from "./bit-fields.js";
import { PAGE_1, type Register32, type Register64, registers } from "./registers.js";

/** What the registers that are modelled take. */
const SIZE = 0x100;
/** The registers on page 1 are also at these offsets on page 0, as Arm IHI 0070, 6.2 permits. */
const ON_PAGE_1: readonly number[] = [registers.EVENTQ_PROD.offset, registers.EVENTQ_CONS.offset];

/** The values of the registers, without what reading or writing does. Offsets without a register hold 0. */
export class RegisterFile {
  readonly #words = new Uint32Array(SIZE / 4);

  /** The 32 bits at an offset. */
  get(offset: number): number {
    return this.#words[indexOf(offset)] ?? 0;
  }

  set(offset: number, value: number): void {
    const index = indexOf(offset);
    if (index < this.#words.length) this.#words[index] = value;
  }

  /** One field of a register: cheaper than decoding all of it. */
  field<F extends BitFields>(register: Register32<F> | Register64<F>, name: keyof F): number {
    const { low, width, shift } = register.fields[name] as F[keyof F];
    return rawBits(this.#words, { low: indexOf(register.offset) * 32 + low, width }) * 2 ** shift;
  }
}

/** The offset by which a register is known, whichever page it is accessed through. */
export function canonicalOffset(offset: number): number {
  return ON_PAGE_1.includes(offset + PAGE_1) ? offset + PAGE_1 : offset;
}

function indexOf(offset: number): number {
  return (ON_PAGE_1.includes(offset) ? offset - PAGE_1 : offset) >>> 2;
}
