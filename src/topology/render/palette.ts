import type { GraphKind } from "./graph.js";

/** Colours of a kind of box: the field, the line around it, and the text on it. */
export interface BoxColours {
  readonly fill: string;
  readonly line: string;
  readonly text: string;
}

/** For light grounds. */
export const LIGHT: Readonly<Record<GraphKind, BoxColours>> = {
  interface: { fill: "#ede9fe", line: "#7c3aed", text: "#1e1b4b" },
  device: { fill: "#e0f2fe", line: "#0284c7", text: "#082f49" },
  bus: { fill: "#f1f5f9", line: "#64748b", text: "#0f172a" },
  iommu: { fill: "#fef3c7", line: "#d97706", text: "#451a03" },
  memory: { fill: "#dcfce7", line: "#16a34a", text: "#052e16" },
};

/** For dark grounds. */
export const DARK: Readonly<Record<GraphKind, BoxColours>> = {
  interface: { fill: "#2e1065", line: "#a78bfa", text: "#ede9fe" },
  device: { fill: "#0c2a43", line: "#38bdf8", text: "#e0f2fe" },
  bus: { fill: "#1e293b", line: "#94a3b8", text: "#f1f5f9" },
  iommu: { fill: "#451a03", line: "#fbbf24", text: "#fef3c7" },
  memory: { fill: "#052e16", line: "#4ade80", text: "#dcfce7" },
};

/** What can be read on both: lines, what is written beside them, and titles. */
export const MIDDLE = "#64748b";

/** The same where the ground is known to be dark. */
export const MIDDLE_ON_DARK = "#94a3b8";
