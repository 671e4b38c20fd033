import type { NodeReference, ValuePart } from "./draft.js";
import { readInteger } from "./expression.js";
import type { LabelTable } from "./label-table.js";
import type { Lexer } from "./lexer.js";
import { readString } from "./literal.js";

/** A name and the colon behind it. */
export const LABEL: RegExp = /([a-zA-Z_]\w*):/y;
const REFERENCE = /&(?:([a-zA-Z_]\w*)|\{([^}\s]+)\})/y;
const MACRO = /[A-Za-z_]\w*/y;
const WIDTHS: readonly number[] = [8, 16, 32, 64];

/** `&label`, `&{/path}`. Undefined where something else is next. */
export function readReference(lexer: Lexer, kind: NodeReference["kind"]): NodeReference | undefined {
  const { place } = lexer;
  const [, label, path] = lexer.match(REFERENCE) ?? [];
  const target = label ?? path;
  return target === undefined ? undefined : { kind, target, place };
}

/** A property's value: one or more of `<…>`, `"…"`, `[…]`, `&node`, with commas between. */
export function readValue(lexer: Lexer, labels: LabelTable): readonly ValuePart[] {
  const parts: ValuePart[] = [];
  do {
    readLabels(lexer, labels);
    for (const part of readItem(lexer, labels)) parts.push(part);
    readLabels(lexer, labels);
  } while (lexer.accept(","));
  return parts;
}

function readItem(lexer: Lexer, labels: LabelTable): readonly ValuePart[] {
  const text = readString(lexer);
  if (text !== undefined) return [[...text, 0]];
  const path = readReference(lexer, "path");
  if (path !== undefined) return [path];
  if (lexer.accept("[")) return [readBytes(lexer, labels)];
  if (lexer.accept("/incbin/")) {
    return lexer.fail("/incbin/ names another file, and there is only this text", undefined, "compile it with dtc");
  }
  const bits = lexer.accept("/bits/") ? readWidth(lexer) : 32;
  if (!lexer.accept("<")) lexer.unexpected('a value: <…>, "…", […] or &node');
  return readCells(lexer, labels, bits);
}

function readWidth(lexer: Lexer): number {
  const { place } = lexer;
  const bits = Number(readInteger(lexer) ?? lexer.unexpected("a number of bits"));
  return WIDTHS.includes(bits) ? bits : lexer.fail(`/bits/ ${bits} is none of 8, 16, 32 and 64`, place);
}

function readCells(lexer: Lexer, labels: LabelTable, bits: number): readonly ValuePart[] {
  const parts: ValuePart[] = [];
  let bytes: number[] = [];
  while (!lexer.accept(">")) {
    if (readLabels(lexer, labels)) continue;
    const reference = bits === 32 ? readReference(lexer, "phandle") : undefined;
    if (reference === undefined) {
      for (const byte of readElement(lexer, bits)) bytes.push(byte);
    } else {
      parts.push(bytes, reference);
      bytes = [];
    }
  }
  return [...parts, bytes];
}

function readElement(lexer: Lexer, bits: number): readonly number[] {
  const { place } = lexer;
  const value = readInteger(lexer);
  if (value === undefined) return notAnElement(lexer, bits);
  const size = BigInt(bits);
  // A negative number is one of 64 bits whose upper bits are all set.
  if (value >> size !== 0n && BigInt.asIntN(64, value) >> size !== -1n) {
    lexer.fail(`0x${value.toString(16)} does not fit into ${bits} bits`, place);
  }
  return Array.from({ length: bits / 8 }, (_, index) => Number((value >> (size - 8n * BigInt(index + 1))) & 0xffn));
}

function notAnElement(lexer: Lexer, bits: number): never {
  const { place } = lexer;
  const [macro] = lexer.match(MACRO) ?? [];
  if (macro !== undefined) {
    const hint = "preprocess the file first, so that macros become numbers: cpp -nostdinc -undef -x assembler-with-cpp";
    return lexer.fail(`${macro} is no number`, place, hint);
  }
  return lexer.unexpected(bits === 32 ? "a number, (expression), &node or >" : "a number, (expression) or >");
}

function readBytes(lexer: Lexer, labels: LabelTable): readonly number[] {
  const bytes: number[] = [];
  while (!lexer.accept("]")) {
    if (readLabels(lexer, labels)) continue;
    const [byte] = lexer.match(/[0-9a-fA-F]{2}/y) ?? [];
    bytes.push(byte === undefined ? lexer.unexpected("two hexadecimal digits or ]") : Number.parseInt(byte, 16));
  }
  return bytes;
}

/** @returns whether there was one */
function readLabels(lexer: Lexer, labels: LabelTable): boolean {
  const { place } = lexer;
  const [, label] = lexer.match(LABEL) ?? [];
  if (label === undefined) return false;
  if (!labels.addOther(label)) lexer.fail(`the label ${label} is there twice`, place);
  readLabels(lexer, labels);
  return true;
}
