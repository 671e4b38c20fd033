import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import type { Duplex, Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { GuestOutput } from "./guest-output.js";
import type { Outcome } from "./outcome.js";
import { joinTerminal } from "./terminal.js";

/** What the lab and a guest say to each other while the guest runs. `guest/init.sh` is the other end. */
export interface Conversation {
  /** Sent to the guest when it is ready. */
  readonly script: string;
  /** Seconds for the whole run. */
  readonly timeout: number;
  /** Called when the guest is ready, before the script starts. */
  readonly onReady: () => void;
  /** For what the program prints. */
  readonly output: GuestOutput;
  /** Told what the program prints on stdout as it comes, whatever becomes of it. */
  readonly onOutput?: ((text: string) => void) | undefined;
}

/** Ten times what the slowest kernel takes on two cores. */
const BOOT_LIMIT = 180;
/** A guest that has reported the end needs a moment to switch itself off. */
const POWER_OFF_LIMIT = 10;

/** What comes first: a line of the guest's, its end, the time limit, or the user leaving the shell. */
type Heard = { readonly line: string } | "closed" | "late" | "left";

/** Plays the host's part: passes the guest's output on, sends the script when it is ready, waits for its end. */
export async function converse(
  qemu: ChildProcess,
  streams: readonly unknown[],
  closed: Promise<unknown>,
  options: Conversation,
): Promise<Outcome> {
  const [control, ...outputs] = streams as [Duplex, ...Duplex[]];
  const complaints = collectText(qemu.stderr);
  const user = connect(outputs, options);
  const listen = listenerTo(control, user.left);
  const started = performance.now();
  try {
    const bootLimit = Math.min(BOOT_LIMIT, options.timeout);
    const hello = await listen(bootLimit);
    if (typeof hello === "string") return ending(hello, false, bootLimit, complaints());

    options.onReady();
    control.write(`${Buffer.from(options.script).toString("base64")}\n`);
    const goodbye = await listen(options.timeout - (performance.now() - started) / 1000);
    if (typeof goodbye === "string") return ending(goodbye, true, options.timeout, complaints());
    await Promise.race([closed, sleep(POWER_OFF_LIMIT * 1000, undefined, { ref: false })]);
    return { kind: "exited", status: Number(goodbye.line.replace("exit ", "")) };
  } finally {
    user.release();
  }
}

function ending(heard: "closed" | "late" | "left", reached: boolean, seconds: number, words: string): Outcome {
  switch (heard) {
    case "closed":
      return { kind: "died", reached, words };
    case "late":
      return { kind: "timeout", reached, seconds };
    case "left":
      return { kind: "left" };
    default:
      return heard satisfies never;
  }
}

/** Each call waits for what comes next from the guest, at most so many seconds. */
function listenerTo(control: Duplex, left: Promise<void>): (seconds: number) => Promise<Heard> {
  // A guest that dies takes its end of the port with it: that is the end of its lines, not an error of ours.
  control.on("error", () => control.destroy());
  const lines = createInterface({ input: control })[Symbol.asyncIterator]();
  const leaving = left.then((): Heard => "left");
  return async (seconds) => {
    const timer = new AbortController();
    const late = sleep(seconds * 1000, "late" as const, { signal: timer.signal }).catch(() => "late" as const);
    const heard = lines.next().then(({ done, value }): Heard => (done ? "closed" : { line: String(value) }));
    try {
      return await Promise.race([heard, late, leaving]);
    } finally {
      timer.abort();
    }
  };
}

/** One output is the guest's terminal, two are its stdout and stderr. */
function connect(
  [first, second]: readonly Duplex[],
  { output, onOutput }: Pick<Conversation, "output" | "onOutput">,
): ReturnType<typeof joinTerminal> {
  const never = { left: new Promise<void>(() => {}), release: () => {} };
  for (const stream of [first, second]) stream?.on("error", () => stream.destroy());
  if (first === undefined) return never;
  if (second === undefined) return joinTerminal(first);
  first.pipe(output.stdout, { end: false });
  if (onOutput !== undefined) first.on("data", (chunk) => onOutput(String(chunk)));
  second.pipe(output.stderr, { end: false });
  return never;
}

function collectText(stream: Readable | null): () => string {
  let text = "";
  stream?.on("data", (chunk) => {
    text += String(chunk);
  });
  return () => text.trim();
}
