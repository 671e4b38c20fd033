import type { TreeNode } from "./node.js";
import type { Property } from "./property.js";
import type { DeviceTree } from "./tree.js";

/** Text as people write it: NULs only between and behind strings that are not empty. */
const PRINTABLE = /^(?:[\t\n\r\x20-\x7e]+\0)+$/;
const ESCAPES: Readonly<Record<string, string>> = { "\t": "\\t", "\n": "\\n", "\r": "\\r", '"': '\\"', "\\": "\\\\" };

/**
 * Writes a device tree source that {@link parseSource} reads as the same tree. What a property's bytes mean is guessed, as
 * `dtc -O dts` does; references are numbers, as in a blob. The boot CPU has no place in a source.
 */
export function formatSource(tree: DeviceTree): string {
  const reservations = tree.reservations.map(({ address, size }) => `/memreserve/ ${hex(address)} ${hex(size)};\n`);
  return ["/dts-v1/;\n", ...reservations, "\n", ...nodeLines(tree.root, "/", "")].join("");
}

function nodeLines(node: TreeNode, name: string, indent: string): readonly string[] {
  const inner = `${indent}  `;
  return [
    `${indent}${node.labels.map((label) => `${label}: `).join("")}${name} {\n`,
    ...Array.from(node.properties.values(), (property) => `${inner}${formatProperty(property)}\n`),
    ...node.children.flatMap((child) => ["\n", ...nodeLines(child, child.name, inner)]),
    `${indent}};\n`,
  ];
}

function formatProperty({ name, bytes }: Property): string {
  return bytes.length === 0 ? `${name};` : `${name} = ${formatValue(bytes)};`;
}

function formatValue(bytes: Uint8Array): string {
  const text = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  if (PRINTABLE.test(text)) return text.slice(0, -1).split("\0").map(quoted).join(", ");
  if (bytes.length % 4 !== 0) return `[${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ")}]`;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const cells = Array.from({ length: bytes.length / 4 }, (_, index) => hex(view.getUint32(4 * index)));
  return `<${cells.join(" ")}>`;
}

function quoted(text: string): string {
  return `"${text.replaceAll(/[\t\n\r"\\]/g, (character) => ESCAPES[character] ?? character)}"`;
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
