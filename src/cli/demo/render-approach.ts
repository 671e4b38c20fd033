import { bad, faint, good, type Line, line, name, notice, type Span, strong, WIDTH } from "../text/line.js";
import { bytes } from "../text/quantity.js";
import { padEnd, shorten, widthOf } from "../text/width.js";
import { wrap } from "../text/wrap.js";
import { approachTitles } from "./approaches.js";
import type { ApproachReport, DmaReport, FailureReport } from "./result.js";

/** Where the text of an approach begins, to the right of its marks and labels. */
const TEXT_COLUMN = 14;
const MOST_NAME = 26;

/** Where an approach stands among the others. */
export interface Place {
  /** From 1 on. */
  readonly number: number;
  /** Whether its proof is explained. */
  readonly explained: boolean;
}

/** What became of one approach: refused with its reason, or working with its proof. */
export function renderApproach(report: ApproachReport, { number, explained }: Place): readonly Line[] {
  const { approach, error } = report;
  const title = line(strong(`${number}  ${approach}`), faint(`  ${approachTitles[approach]}`));
  const body =
    error === null ? [...proof(report.dma), ...(explained ? legend(report.dma) : [])] : refusal(report, error);
  return [...wrap(title, WIDTH, 3), ...body, ...unexpected(report), ...messages(report)];
}

/** For each interface a line: whose bytes it read and wrote to another place, where the CPU found them. */
function proof(dma: readonly DmaReport[]): readonly Line[] {
  const interfaces = [...new Set(dma.map((each) => each.interface))];
  const width = Math.min(MOST_NAME, Math.max(0, ...interfaces.map(widthOf)));
  const other = interfaces.length > 2 ? "another's" : "the other's";
  return interfaces.flatMap((each, index) => {
    const copies = dma.filter((report) => report.interface === each);
    const whose = copies.map(({ source }) => `${source === "cpu" ? "the CPU's" : other} ✓`).join(", ");
    const size = bytes(Math.max(...copies.map((copy) => copy.bytes)));
    const who = name(padEnd(shorten(each, MOST_NAME), width));
    return labelled(index === 0 ? good("✓ works") : "", [who, `  copied ${size}: ${whose}`]);
  });
}

/** What the proof's marks mean. */
function legend(dma: readonly DmaReport[]): readonly Line[] {
  const count = new Set(dma.map((each) => each.interface)).size;
  if (count < 2) return [];
  const other = count > 2 ? "another" : "the other";
  return labelled("", [faint(`each copied what the CPU wrote, then what ${other} wrote: ✓ equal`)]);
}

function refusal({ expected, asExpected }: ApproachReport, error: FailureReport): readonly Line[] {
  const { syscall, errno, message, hint } = error;
  const mark = asExpected ? notice("✗ refused") : bad("✗ fails");
  const lines = [];
  if (errno !== null) lines.push(...labelled(mark, [strong(errno), faint(" from "), name(syscall ?? "the kernel")]));
  // The message ends with what stands above it.
  const text = message.replace(` (${syscall}: ${errno})`, "");
  lines.push(...labelled(errno === null ? mark : "", [text]));
  if (asExpected) lines.push(...labelled(faint("  why"), [expected.because]));
  else if (hint !== null) lines.push(...labelled(faint("  hint"), [hint]));
  return lines;
}

function unexpected({ asExpected, expected }: ApproachReport): readonly Line[] {
  if (asExpected) return [];
  const should = expected.works
    ? "that it works"
    : `that it is refused${expected.errno === null ? "" : ` with ${expected.errno}`}`;
  return labelled(bad("! expected"), [`${should}: ${expected.because}`]);
}

/** Linux before 6.2 says it for each domain that it tries a device with (arm-smmu-v3.c, arm_smmu_attach_dev). */
const FOREIGN_DOMAIN = "cannot attach to SMMU";

function messages({ kernelLog, works }: ApproachReport): readonly Line[] {
  const lines = kernelLog.flatMap((message, index) => labelled(index === 0 ? faint("  kernel") : "", [faint(message)]));
  if (!works || !kernelLog.some((message) => message.includes(FOREIGN_DOMAIN))) return lines;
  const meaning = "no failure: type1 tries the domain it has, then keeps another for this SMMU";
  return [...lines, ...labelled(faint("  means"), [faint(meaning)])];
}

/** Text with a mark or a label on its left. */
function labelled(label: Span | string, text: readonly (Span | string)[]): readonly Line[] {
  const [piece] = line(label);
  if (piece === undefined) return [];
  const margin = { ...piece, text: padEnd(`   ${piece.text}`, TEXT_COLUMN) };
  return wrap(line(margin, ...text), WIDTH, TEXT_COLUMN);
}
