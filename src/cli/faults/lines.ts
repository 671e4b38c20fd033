import type { FollowOptions } from "./kmsg.js";

/** A part of a log, as it comes. */
export type Chunk = Uint8Array | string;

/** A record's lines are printed at once; what has not come after this will not come. */
const PAUSE_MS = 250;
/** No log has lines like that; what is beyond is left out, so that no file takes all memory. */
const LONGEST = 2 ** 16;

/**
 * A log's lines, without their ends. When it is followed, undefined stands for a pause, and the lines end with the signal.
 */
export async function* linesOf(
  chunks: AsyncIterable<Chunk>,
  options: FollowOptions,
): AsyncGenerator<string | undefined> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of options.follow ? withPauses(chunks, options.signal) : chunks) {
    if (chunk === undefined) {
      yield undefined;
      continue;
    }
    const lines = (rest + (typeof chunk === "string" ? chunk : decoder.decode(chunk, { stream: true }))).split("\n");
    rest = (lines.pop() ?? "").slice(0, LONGEST);
    yield* lines;
  }
  if (rest !== "") yield rest;
}

/** The chunks, and undefined whenever none has come for a while; until the signal. */
async function* withPauses(chunks: AsyncIterable<Chunk>, signal: AbortSignal): AsyncGenerator<Chunk | undefined> {
  const iterator = chunks[Symbol.asyncIterator]();
  let next = iterator.next();
  while (!signal.aborted) {
    const result = await withinPause(next, signal);
    if (result === undefined) {
      yield undefined;
      continue;
    }
    if (result.done) return;
    yield result.value;
    next = iterator.next();
  }
  // Whatever it is waiting for, nobody waits for it any more.
  next.catch(() => {});
  iterator.return?.()?.catch(() => {});
}

/** What comes first: the next chunk, or, as undefined, a pause or the signal. */
async function withinPause<T>(next: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  const over = new AbortController();
  const pause = new Promise<undefined>((resolve) => {
    const end = () => resolve(undefined);
    const timer = setTimeout(end, PAUSE_MS);
    signal.addEventListener("abort", end, { signal: over.signal });
    over.signal.addEventListener("abort", () => clearTimeout(timer));
  });
  try {
    return await Promise.race([next, pause]);
  } finally {
    over.abort();
  }
}
