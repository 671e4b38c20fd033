import { inspect } from "node:util";

/** How many proofs were made so far. */
export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** Tells each proof as it is made, and counts them. */
export class Proofs {
  readonly #brief: boolean;
  #passed = 0;
  #skipped = 0;
  #failed = 0;

  /** @param options `brief`: those that succeed are counted only. */
  constructor({ brief = false }: { readonly brief?: boolean } = {}) {
    this.#brief = brief;
  }

  get tally(): Tally {
    return { passed: this.#passed, failed: this.#failed, skipped: this.#skipped };
  }

  /** Runs a proof. What it returns is the line that tells it; else its name is. */
  async prove(name: string, run: () => Promise<unknown>): Promise<void> {
    const start = performance.now();
    try {
      const sentence = await run();
      this.#passed += 1;
      // A sentence tells what was measured, so it is told in any case.
      if (this.#brief && typeof sentence !== "string") return;
      console.log(`  ok   ${typeof sentence === "string" ? `${name}: ${sentence}` : name} ${elapsed(start)}`);
    } catch (error) {
      this.#failed += 1;
      console.log(`  FAIL ${name} ${elapsed(start)}\n${indented(inspect(error))}`);
    }
  }

  skip(name: string, reason: string): void {
    this.#skipped += 1;
    if (!this.#brief) console.log(`  --   ${name}: ${reason}`);
  }

  /** The last line, and the process's exit code. */
  summarize(): void {
    const skipped = this.#skipped === 0 ? "" : `, ${this.#skipped} skipped`;
    console.log(`\n${this.#passed} passed, ${this.#failed} failed${skipped}`);
    const nothing = this.#passed === 0 && this.#failed === 0;
    // A name that was mistyped must not look like a success.
    if (nothing) console.log("nothing was proven: no proof of that name runs here");
    if (nothing || this.#failed > 0) process.exitCode = 1;
  }
}

function elapsed(start: number): string {
  return `(${Math.round(performance.now() - start)} ms)`;
}

function indented(text: string): string {
  return text.replaceAll(/^/gm, "       ");
}
