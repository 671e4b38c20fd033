import { faint, type Line, line, name, notice, WIDTH } from "../text/line.js";
import { lineWidth, padEnd, shorten, widthOf } from "../text/width.js";
import { wrap } from "../text/wrap.js";
import type { EngineReport, InterfaceReport, MachineReport } from "./result.js";

const BUS_NAMES = { pci: "PCIe", platform: "platform" } as const;
/** Names of platform devices come from the device tree and can be long. */
const MOST_NAME = 26;
const MOST_IOMMU = 32;

interface Row {
  readonly line: Line;
  /** The engine of the interface that is on it, if it has others as well. */
  readonly engine?: EngineReport | undefined;
}

/** The way to memory as a tree: memory, IOMMUs, interfaces, and on the right what the interfaces belong to. */
export function renderMachine(machine: MachineReport): readonly Line[] {
  const trunk: Row = { line: line("  memory") };
  const branches = machine.iommus.flatMap(({ name: iommu, compatible }, index) => {
    const isLast = index === machine.iommus.length - 1;
    const branch = line(
      faint(isLast ? "  └─ " : "  ├─ "),
      name(shorten(iommu, MOST_IOMMU)),
      faint(`  ${shorten(compatible, MOST_NAME)}`),
    );
    const behind = machine.interfaces.filter((each) => each.iommu === iommu);
    return [{ line: branch }, ...interfaceRows(behind, machine, isLast ? "     " : "  │  ")];
  });
  return bracketed([trunk, ...branches]);
}

/** What could do DMA and is not in the tree, and why. */
export function renderLeftOut({ leftOut }: MachineReport): readonly Line[] {
  return leftOut.flatMap(({ device, why }) => {
    return wrap(line(notice("  left out "), name(shorten(device, MOST_IOMMU)), `  ${why}`), WIDTH, 11);
  });
}

function interfaceRows(behind: readonly InterfaceReport[], machine: MachineReport, margin: string): readonly Row[] {
  const width = Math.min(MOST_NAME, Math.max(...machine.interfaces.map(({ device }) => widthOf(device))));
  const groupWidth = Math.max(...machine.interfaces.map(({ group }) => String(group).length));
  return behind.map(({ device, bus, group }, index) => {
    const twig = index === behind.length - 1 ? "└─ " : "├─ ";
    const engine = machine.engines.find(({ interfaces }) => interfaces.includes(device));
    const pieces = [
      faint(`${margin}${twig}group ${String(group).padEnd(groupWidth)}  `),
      name(padEnd(shorten(device, MOST_NAME), width)),
      `  ${BUS_NAMES[bus].padEnd(8)}`,
    ];
    if (isShared(engine)) return { line: line(...pieces), engine };
    return { line: line(...pieces, faint(engine?.kind === "edu" ? "  edu, a DMA engine" : "  a DMA engine")) };
  });
}

/** Each `edu` is one of its own. */
function isShared(engine: EngineReport | undefined): boolean {
  return engine?.kind === "dual-path" && engine.interfaces.length > 1;
}

/** A bracket around the interfaces of one engine, with what they are beside it; another engine's are named as that. */
function bracketed(rows: readonly Row[]): readonly Line[] {
  const engines = [...new Set(rows.flatMap(({ engine }) => engine ?? []))];
  const isInside = ({ engine }: Row) => engine !== undefined && engine === engines[0];
  const first = rows.findIndex(isInside);
  const last = rows.findLastIndex(isInside);
  const middle = Math.floor((first + last) / 2);
  const column = 1 + Math.max(...rows.slice(first, last + 1).map((row) => lineWidth(row.line)));
  return rows.map((row, index) => {
    const number = row.engine === undefined ? 0 : engines.indexOf(row.engine);
    const own = number > 0 ? [...row.line, faint(`  DMA engine ${number + 1}`)] : row.line;
    if (first < 0 || index < first || index > last) return own;
    const gap = Math.max(1, column - lineWidth(own));
    const reach = (isInside(row) ? "─" : " ").repeat(2);
    const corner = index === first ? "┐" : index === last ? "┘" : isInside(row) ? "┤" : "│";
    const label = index === middle ? " one DMA engine" : "";
    return [...own, faint(`${" ".repeat(gap)}${reach}${corner}${label}`)];
  });
}
