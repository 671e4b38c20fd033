import type { Lexer } from "./lexer.js";
import { readCharacter, readNumber } from "./literal.js";

type Operation = (left: bigint, right: bigint) => bigint;

const truth = (value: boolean): bigint => (value ? 1n : 0n);
const u64 = (value: bigint): bigint => BigInt.asUintN(64, value);
const isTrue = (value: bigint): boolean => value !== 0n;

/** C's binary operators on unsigned numbers of 64 bits, loosest first (dtc-parser.y). */
const LEVELS: readonly Readonly<Record<string, Operation>>[] = [
  { "||": (a, b) => truth(isTrue(a) || isTrue(b)) },
  { "&&": (a, b) => truth(isTrue(a) && isTrue(b)) },
  { "|": (a, b) => a | b },
  { "^": (a, b) => a ^ b },
  { "&": (a, b) => a & b },
  { "==": (a, b) => truth(a === b), "!=": (a, b) => truth(a !== b) },
  {
    "<": (a, b) => truth(a < b),
    ">": (a, b) => truth(a > b),
    "<=": (a, b) => truth(a <= b),
    ">=": (a, b) => truth(a >= b),
  },
  { "<<": (a, b) => (b < 64n ? a << b : 0n), ">>": (a, b) => (b < 64n ? a >> b : 0n) },
  { "+": (a, b) => a + b, "-": (a, b) => a - b },
  { "*": (a, b) => a * b, "/": (a, b) => a / b, "%": (a, b) => a % b },
];

const UNARY: Readonly<Record<string, (value: bigint) => bigint>> = {
  "-": (value) => -value,
  "~": (value) => ~value,
  "!": (value) => truth(!isTrue(value)),
};

const OPERATOR = /\|\||&&|<<|>>|<=|>=|==|!=|[|^&<>+*/%-]/y;
const MAX_NESTING = 100;

/** A number, a character or an expression in parentheses. Undefined where something else is next. */
export function readInteger(lexer: Lexer): bigint | undefined {
  return readPrimary(lexer, 0);
}

function readPrimary(lexer: Lexer, nesting: number): bigint | undefined {
  if (!lexer.accept("(")) return readNumber(lexer) ?? readCharacter(lexer);
  if (nesting >= MAX_NESTING) lexer.fail(`an expression is nested more than ${MAX_NESTING} deep`);
  const value = readConditional(lexer, nesting + 1);
  lexer.expect(")", "an expression");
  return value;
}

function readConditional(lexer: Lexer, nesting: number): bigint {
  const condition = new BinaryReader(lexer, nesting).read();
  if (!lexer.accept("?")) return condition;
  if (nesting >= MAX_NESTING) lexer.fail(`an expression is nested more than ${MAX_NESTING} deep`);
  const ifTrue = readConditional(lexer, nesting + 1);
  lexer.expect(":", "the first choice of ?");
  const ifFalse = readConditional(lexer, nesting + 1);
  return isTrue(condition) ? ifTrue : ifFalse;
}

/** Operands and binary operators, by precedence. */
class BinaryReader {
  readonly #lexer: Lexer;
  readonly #nesting: number;
  /** The operator that was read and not yet applied. */
  #operator: string | undefined;

  constructor(lexer: Lexer, nesting: number) {
    this.#lexer = lexer;
    this.#nesting = nesting;
  }

  read(level = 0): bigint {
    const operations = LEVELS[level];
    if (operations === undefined) return this.#operand();
    let left = this.read(level + 1);
    for (;;) {
      const operator = this.#operator;
      const operation = operator === undefined ? undefined : operations[operator];
      if (operation === undefined) return left;
      const { place } = this.#lexer;
      const right = this.read(level + 1);
      if (right === 0n && (operator === "/" || operator === "%")) this.#lexer.fail("division by zero", place);
      left = u64(operation(left, right));
    }
  }

  #operand(): bigint {
    const signs: string[] = [];
    for (;;) {
      const [sign] = this.#lexer.match(/[-~!]/y) ?? [];
      if (sign === undefined) break;
      signs.push(sign);
    }
    const value = readPrimary(this.#lexer, this.#nesting) ?? this.#lexer.unexpected("a number");
    this.#operator = this.#lexer.match(OPERATOR)?.[0];
    return signs.reduceRight((operand, sign) => u64(UNARY[sign]?.(operand) ?? operand), value);
  }
}
