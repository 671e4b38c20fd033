/** Counts the events after which a translation that was right may not be any more. Whoever remembers one also remembers the count. */
export class Epoch {
  value = 0;
}
