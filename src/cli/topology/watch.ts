import { setTimeout } from "node:timers/promises";
import type { OutputStream } from "../streams.js";

/** How often is looked whether something has changed; a person who plugs and binds notices no less. */
const PERIOD_MS = 1000;
const CLEAR_SCREEN = "\u001b[H\u001b[2J\u001b[3J";

/** How {@link watch} goes on. */
export interface WatchControl {
  /** Ends it. */
  readonly signal?: AbortSignal | undefined;
  readonly periodMs?: number | undefined;
}

/**
 * Writes a text, and again whenever it has become another one: a terminal is cleared before, elsewhere one follows the other.
 * @param show makes the text anew.
 */
export async function watch(
  show: () => string | Promise<string>,
  stdout: OutputStream,
  control: WatchControl = {},
): Promise<void> {
  const { signal, periodMs = PERIOD_MS } = control;
  let shown: string | undefined;
  while (signal?.aborted !== true) {
    const text = await show();
    if (text !== shown) stdout.write(stdout.isTTY === true ? CLEAR_SCREEN + text : text);
    shown = text;
    // The end of the wait by the signal is the end, and no failure.
    await setTimeout(periodMs, undefined, { signal }).catch(() => {});
  }
}
