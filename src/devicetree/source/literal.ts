import type { Lexer } from "./lexer.js";

const NUMBER = /(0[xX][0-9a-fA-F]+|[0-9]+)(?:ULL|UL|U|LL|L)?(?![\w.])/y;
const CHARACTER = /'((?:[^'\\\n]|\\[^\n])+)'/y;
const STRING = /"((?:[^"\\]|\\[\s\S])*)"/y;
const ESCAPE = /\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|([\s\S]))/g;
const CONTROL: Readonly<Record<string, number>> = { a: 7, b: 8, t: 9, n: 10, v: 11, f: 12, r: 13 };

/** A number as C writes it: `0x10`, `020`, `16UL`. Undefined where something else is next. */
export function readNumber(lexer: Lexer): bigint | undefined {
  const { place } = lexer;
  const [, digits] = lexer.match(NUMBER) ?? [];
  if (digits === undefined) return undefined;
  const isOctal = /^0[0-9]/.test(digits);
  if (isOctal && /[89]/.test(digits)) lexer.fail(`${digits} begins as an octal number and is none`, place);
  const value = BigInt(isOctal ? `0o${digits.slice(1)}` : digits);
  return value < 2n ** 64n ? value : lexer.fail(`${digits} does not fit into 64 bits`, place);
}

/** A character constant: `'a'`, `'\n'`. */
export function readCharacter(lexer: Lexer): bigint | undefined {
  const { place } = lexer;
  const [, text] = lexer.match(CHARACTER) ?? [];
  if (text === undefined) return undefined;
  const [byte, ...more] = unescaped(text);
  return byte === undefined || more.length > 0 ? lexer.fail(`'${text}' is not one byte`, place) : BigInt(byte);
}

/** A string constant, as its bytes without the NUL at the end. */
export function readString(lexer: Lexer): readonly number[] | undefined {
  const [, text] = lexer.match(STRING) ?? [];
  return text === undefined ? undefined : unescaped(text);
}

/** C's escapes; what is not ASCII becomes UTF-8. */
function unescaped(text: string): readonly number[] {
  const pieces: Iterable<number>[] = [];
  let done = 0;
  for (const sequence of text.matchAll(ESCAPE)) {
    pieces.push(new TextEncoder().encode(text.slice(done, sequence.index)), bytesOf(sequence));
    done = sequence.index + sequence[0].length;
  }
  pieces.push(new TextEncoder().encode(text.slice(done)));
  return pieces.flatMap((piece) => [...piece]);
}

function bytesOf([, octal, hexadecimal, character = ""]: RegExpExecArray): Iterable<number> {
  if (octal !== undefined) return [Number.parseInt(octal, 8) & 0xff];
  if (hexadecimal !== undefined) return [Number.parseInt(hexadecimal, 16)];
  const control = CONTROL[character];
  return control === undefined ? new TextEncoder().encode(character) : [control];
}
