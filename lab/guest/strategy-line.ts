/** How a strategy did on a kernel and a machine: one line of a guest's output, which the matrix is made of. */
export interface StrategyResult {
  readonly strategy: string;
  /** `refused`: the kernel cannot, and says so as it should. */
  readonly verdict: "works" | "refused" | "fails";
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly seconds: number;
}

export function formatStrategyLine({ strategy, verdict, passed, failed, skipped, seconds }: StrategyResult): string {
  const counts = `${passed} proven, ${failed} not, ${skipped} skipped`;
  return `${strategy} ${verdict}: ${counts} (${seconds.toFixed(1)} s)`;
}

const LINE = /^(\S+) (works|refused|fails): (\d+) proven, (\d+) not, (\d+) skipped \(([\d.]+) s\)$/;

/** The result that a line tells; undefined for any other line. */
export function parseStrategyLine(line: string): StrategyResult | undefined {
  const [, strategy, verdict, passed, failed, skipped, seconds] = LINE.exec(line) ?? [];
  if (strategy === undefined) return undefined;
  return {
    strategy,
    verdict: verdict as StrategyResult["verdict"],
    passed: Number(passed),
    failed: Number(failed),
    skipped: Number(skipped),
    seconds: Number(seconds),
  };
}
