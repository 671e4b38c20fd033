import { instance } from "@viz-js/viz";
import { IospanError } from "../../errors.js";
import { DARK, MIDDLE_ON_DARK } from "../../topology/render/palette.js";

/** What Graphviz draws boxes with. */
const SHAPES = ["polygon", "path", "ellipse", "polyline"];

/**
 * Draws a picture in Graphviz's language, with Graphviz as WebAssembly, as an SVG that needs no other file and can be read on
 * light and on dark grounds.
 */
export async function drawSvg(dot: string): Promise<string> {
  const { status, output, errors } = (await instance()).render(dot, { format: "svg" });
  if (status !== "success") {
    const why = errors.map(({ message }) => message.trim()).join("; ");
    throw new IospanError("ERR_IOSPAN_PICTURE", `Graphviz cannot draw the picture: ${why}`, {
      hint: "draw it elsewhere: iospan topology --format dot | dot -Tsvg; or take fewer devices, by --device or --iommu",
    });
  }
  return styled(output);
}

const FONTS = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace";

/**
 * With fonts that are as wide as the one it was laid out for, and colours for dark grounds, which Graphviz has no words for;
 * without its reference to a DTD, and the tooltips by which it names boxes as the DOT does.
 */
function styled(svg: string): string {
  const [, start = "", rest = ""] = /(<svg [^>]*>)([\s\S]*)$/.exec(svg) ?? [];
  const [title = ""] = /<title>[^<]*<\/title>/.exec(rest) ?? [];
  const drawn = rest
    .replaceAll(/<title>[^<]*<\/title>\n?/g, "")
    .replaceAll(/<!--[\s\S]*?-->\n?/g, "")
    // Only comments cannot have them as they are.
    .replaceAll("&#45;", "-")
    .replaceAll(/ font-family="[^"]*"/g, ` font-family="${FONTS}"`);
  return `${start}\n${title}\n<style>${darkStyle()}</style>${drawn}`;
}

function darkStyle(): string {
  const rules = Object.entries(DARK).map(([kind, { fill, line, text }]) => {
    const shapes = SHAPES.map((shape) => `.${kind} ${shape}`).join(",");
    return `${shapes}{fill:${fill};stroke:${line}}.${kind} text{fill:${text}}`;
  });
  const texts = `.edge text,.cluster text,.graph>text{fill:${MIDDLE_ON_DARK}}`;
  const lines = `.edge path,.edge polygon,.group path{stroke:${MIDDLE_ON_DARK}}.edge polygon{fill:${MIDDLE_ON_DARK}}`;
  return `@media (prefers-color-scheme:dark){${rules.join("")}${texts}${lines}}`;
}
