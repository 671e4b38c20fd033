/** Subjects in which the strategies differ; a quick run goes through the others once. */
const differing: readonly string[] = ["attach", "audit", "dma"];

/** What takes long, mostly waiting for transfers and resets, and goes further into what a shorter scenario shows too. */
const long: readonly string[] = [
  "dma: after every change both engines still see the same",
  "dma: a device attached later may do what the mappings allow, and no more",
  "dma: a mapping that one interface may write to is read-only for the other",
  "dma: what one engine wrote, the other reads",
  "closing: keeps to the order of closing, and leaves no step out, when a step fails",
  "closing: a transfer under way when the space closes does not reach the memory any more",
  "lifecycle: opens in every order, and detaches in every order",
  "dma: an IOVA that is mapped anew shows the new memory, not the old",
  "attach: attaches wholly or not at all, wherever the kernel refuses",
];

/** Whether a quick run leaves a scenario to `--full`, so that it answers within half a minute. */
export function isLeftToFull(subject: string, title: string, isFirstStrategy: boolean): boolean {
  return long.includes(title) || (!isFirstStrategy && !differing.includes(subject));
}
