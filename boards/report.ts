/** Prints `ok` and `not ok` lines and counts them. */
export class Report {
  #passed = 0;
  #failed = 0;

  /** One assertion. @param problem what is wrong, if anything is; `measured` is shown in any case. */
  check(what: string, problem: string | undefined, measured = ""): void {
    if (problem === undefined) this.#passed++;
    else this.#failed++;
    const words = problem === undefined ? [`ok - ${what}`, measured] : [`not ok - ${what}`, problem];
    this.note(words.filter((each) => each !== "").join(": "));
  }

  note(text: string): void {
    process.stdout.write(`${text}\n`);
  }

  /** The last line. @returns the exit code */
  finish(): number {
    this.note(`${this.#passed} passed, ${this.#failed} failed`);
    return this.#failed === 0 ? 0 : 1;
  }
}
