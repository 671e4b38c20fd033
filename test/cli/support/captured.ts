import { run } from "../../../src/cli/run.js";

/** What a command wrote, and how it ended. */
export interface Captured {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What is different from two files and an empty environment. */
export interface Surroundings {
  readonly env?: Readonly<Record<string, string>>;
  /** Whether both streams are terminals. */
  readonly terminal?: boolean;
  /** Of the terminal; 120 where nothing is said. */
  readonly columns?: number;
}

/** Runs the command line in this process. */
export async function capture(
  argv: readonly string[],
  { env = {}, terminal = false, columns = 120 }: Surroundings = {},
): Promise<Captured> {
  const [stdout, stderr] = [stream(terminal, columns), stream(terminal, columns)];
  const exitCode = await run(argv, { stdout, stderr, env });
  return { exitCode, stdout: stdout.text(), stderr: stderr.text() };
}

function stream(terminal: boolean, columns: number) {
  const written: string[] = [];
  return {
    isTTY: terminal,
    columns: terminal ? columns : undefined,
    write: (text: string) => written.push(text),
    text: () => written.join(""),
  };
}
