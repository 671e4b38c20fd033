/**
 * A queue's producer or consumer is at an index and, in the bit above it, has a flag that changes with each wrap
 * (Arm IHI 0070, 3.5.1). This is the position after one.
 */
export function nextPosition(position: number, log2Size: number): number {
  return (position + 1) & ((2 << log2Size) - 1);
}

/** The index in a position. */
export function positionIndex(position: number, log2Size: number): number {
  return position & ((1 << log2Size) - 1);
}

/** Index and wrap flag, without the bits above them. */
export function positionOf(value: number, log2Size: number): number {
  return value & ((2 << log2Size) - 1);
}

/** Whether there is no room: the same index in different rounds. */
export function isQueueFull(producer: number, consumer: number, log2Size: number): boolean {
  return producer !== consumer && positionIndex(producer, log2Size) === positionIndex(consumer, log2Size);
}
