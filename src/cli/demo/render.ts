import { faint, type Line, line, strong, WIDTH } from "../text/line.js";
import { trimEnd, wrap } from "../text/wrap.js";
import { renderApproach } from "./render-approach.js";
import { renderComparison } from "./render-comparison.js";
import { renderLeftOut, renderMachine } from "./render-machine.js";
import { renderSpace } from "./render-space.js";
import { renderThroughput } from "./render-throughput.js";
import { renderVerdict } from "./render-verdict.js";
import type { DemoResult } from "./result.js";

/** The result as lines, none wider than {@link WIDTH}; a part that has nothing to say is left out. */
export function render(result: DemoResult): readonly Line[] {
  const { machine, approaches } = result;
  // What its marks mean is told once.
  const explained = approaches.find(({ works }) => works);
  const parts: readonly (readonly Line[])[] = [
    [
      line(strong(machine.chip), faint(`  simulated Linux ${machine.release}`)),
      ...renderMachine(machine),
      ...renderLeftOut(machine),
    ],
    renderSpace(machine),
    ...approaches.map((approach, index) =>
      renderApproach(approach, { number: index + 1, explained: approach === explained }),
    ),
    renderComparison(approaches),
    renderThroughput(result),
    renderVerdict(result),
  ];
  const shown = parts.filter((part) => part.length > 0);
  return shown
    .flatMap((part) => [...part, []])
    .slice(0, -1)
    .flatMap((each) => wrap(trimEnd(each), WIDTH));
}
