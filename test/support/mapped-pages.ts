import type { Syscalls } from "../../src/syscalls/syscalls.js";

const PAGE = 4096n;

/** The pages that are mapped through a {@link Syscalls}, whichever way they came and went. */
export class MappedPages {
  readonly #pages = new Set<bigint>();

  get count(): number {
    return this.#pages.size;
  }

  /** Addresses of the mapped pages, ascending. */
  get addresses(): bigint[] {
    return [...this.#pages].sort((a, b) => (a < b ? -1 : 1));
  }

  add(address: bigint, length: number): void {
    for (let at = address; at < address + BigInt(length); at += PAGE) this.#pages.add(at);
  }

  delete(address: bigint, length: number): void {
    for (let at = address; at < address + BigInt(length); at += PAGE) this.#pages.delete(at);
  }

  /** `inner`, with the book kept of what is mapped through it. */
  watching(inner: Syscalls): Syscalls {
    return {
      pageSize: inner.pageSize,
      mmap: (request) => {
        const address = inner.mmap(request);
        this.add(address, request.length);
        return address;
      },
      munmap: (address, length) => {
        inner.munmap(address, length);
        this.delete(address, length);
      },
      madvise: (address, length, advice) => inner.madvise(address, length, advice),
      view: (address, length) => inner.view(address, length),
      memfd: (name, flags, length) => inner.memfd(name, flags, length),
      close: (fd) => inner.close(fd),
    } satisfies Partial<Syscalls> as Syscalls;
  }
}
