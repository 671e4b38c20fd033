import type { BitField } from "../../hw/smmu/bit-fields.js";
import { COMMAND_SIZE } from "../../hw/smmu/commands.js";

/** A command as words of 32 bits. */
export type CommandWords = Uint32Array;

const WORD_BITS = 32;

/** A command from what {@link commands} encodes. */
export function commandWords(words: readonly bigint[]): CommandWords {
  return new Uint32Array(BigUint64Array.from(words).buffer);
}

/**
 * Puts a value into a field of a new command: without bigints, since every unmap takes such commands.
 * @throws Error for a value that does not fit, which is a mistake of the driver's
 */
export function setField(words: CommandWords, { low, width, shift }: BitField, value: number): void {
  let rest = value / 2 ** shift;
  if (rest >= 2 ** width || !Number.isInteger(rest)) throw new Error(`${value} does not fit a command's field`);
  for (let bit = low; rest > 0; bit += WORD_BITS - (bit % WORD_BITS)) {
    const offset = bit % WORD_BITS;
    const word = (bit - offset) / WORD_BITS;
    const part = rest % 2 ** (WORD_BITS - offset);
    words[word] = (words[word] ?? 0) | (part << offset);
    rest = (rest - part) / 2 ** (WORD_BITS - offset);
  }
}

/** An opcode without operands. */
export function newCommand({ opcode }: { readonly opcode: number }): CommandWords {
  const words = new Uint32Array(COMMAND_SIZE / 4);
  words[0] = opcode;
  return words;
}
