import { type IncludeResolver, Lexer } from "./source/lexer.js";
import { Parser } from "./source/parser.js";
import { Resolver } from "./source/resolve.js";
import { DeviceTree } from "./tree.js";

export type { IncludeResolver } from "./source/lexer.js";

/** Options of {@link parseSource}. */
export interface SourceOptions {
  /** What the file is called in messages. */
  readonly file?: string;
  /** Gives the text of a file that `/include/` names; without it `/include/` is refused. */
  readonly include?: IncludeResolver;
}

/**
 * Reads a device tree source (`.dts`, Devicetree Specification 0.4, chapter 6), as dtc does: labels, references and their
 * phandles, extension and deletion of nodes, expressions, line markers of cpp. Overlays, `/incbin/` and what only cpp
 * understands are refused.
 * @throws IospanError `ERR_IOSPAN_DEVICE_TREE` with line, column and node.
 */
export function parseSource(text: string, { file, include }: SourceOptions = {}): DeviceTree {
  const lexer = new Lexer({ name: file, text }, include);
  const draft = new Parser(lexer).parse();
  const root = new Resolver(lexer, draft).resolve();
  return new DeviceTree({ root, reservations: draft.reservations, bootCpu: 0 });
}
