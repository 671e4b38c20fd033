/** Where the record of bindings is kept: a file of the machine's, or a test's memory. */
export interface RecordStore {
  /** Its name for messages: `/run/iospan/bindings.json`. */
  readonly file: string;
  /** Undefined where there is none. */
  read(): string | undefined;
  /** Replaces it, whole or not at all. */
  write(text: string): void;
  /**
   * Keeps others out until disposed.
   * @throws IospanError `ERR_IOSPAN_BUSY` while somebody else has it.
   */
  lock(): Disposable;
}

/** A store that forgets: for rehearsals. */
export function memoryStore(file: string, text?: string): RecordStore {
  let kept = text;
  return {
    file,
    read: () => kept,
    write: (next) => {
      kept = next;
    },
    lock: () => ({ [Symbol.dispose]() {} }),
  };
}
