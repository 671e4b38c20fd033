import { faint, type Line, line } from "../text/line.js";

/** A line with what is under it. */
export interface TreeItem {
  /** Makes the line, for as many columns as are left beside the guides. */
  readonly line: (width: number) => Line;
  readonly children: readonly TreeItem[];
}

/** Draws items one below the other, with guides to what is under each. */
export function drawTree(items: readonly TreeItem[], width: number, margin = ""): readonly Line[] {
  return items.flatMap((item, index) => {
    const isLast = index === items.length - 1;
    const twig = `${margin}${isLast ? "└─ " : "├─ "}`;
    const own = line(faint(twig), ...item.line(width - twig.length));
    return [own, ...drawTree(item.children, width, `${margin}${isLast ? "   " : "│  "}`)];
  });
}
