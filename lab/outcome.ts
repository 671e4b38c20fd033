/** How a run in the guest ended. */
export type Outcome =
  /** The program ended by itself. */
  | { readonly kind: "exited"; readonly status: number }
  /** The time limit passed. */
  | { readonly kind: "timeout"; readonly seconds: number; readonly reached: boolean }
  /** The machine went down first: a panic, a reset, a failure before the program started. */
  | { readonly kind: "died"; readonly reached: boolean /** What QEMU said. */; readonly words: string }
  /** The user left the shell with Ctrl-]. */
  | { readonly kind: "left" };

/** Exit codes of the lab's own, chosen as `timeout` and `docker run` do, so that a program's own codes stay clear. */
export const EXIT = { died: 121, neverReached: 122, timeout: 124, failed: 125 } as const;

export function exitCode(outcome: Outcome): number {
  switch (outcome.kind) {
    case "exited":
      return outcome.status;
    case "left":
      return 0;
    case "timeout":
      return outcome.reached ? EXIT.timeout : EXIT.neverReached;
    case "died":
      return outcome.reached ? EXIT.died : EXIT.neverReached;
    default:
      return outcome satisfies never;
  }
}

export function describe(outcome: Outcome): string {
  switch (outcome.kind) {
    case "exited":
      return outcome.status === 0 ? "the program succeeded" : `the program ended with exit code ${outcome.status}`;
    case "left":
      return "left";
    case "timeout":
      return outcome.reached
        ? `the program was still running after ${outcome.seconds} s (--timeout)`
        : `the guest did not reach the program within ${outcome.seconds} s`;
    case "died": {
      const when = outcome.reached ? "while the program ran" : "before the program started";
      return `the guest went down ${when}${outcome.words && `: ${outcome.words}`}`;
    }
    default:
      return outcome satisfies never;
  }
}
