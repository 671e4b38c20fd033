import { MappedMemory } from "../syscalls/mapped-memory.js";
import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } from "../syscalls/mmap-flags.js";
import { failuresOf, withFailures } from "../vfio/failures.js";
import { type About, unexplained } from "../vfio/refusal.js";
import type { Iommufd } from "./iommufd.js";

/**
 * Memory for the length of a call, all zeros, which the kernel writes its answer to. Whoever does not look at `buffer` leaves
 * nothing for the garbage collector.
 * @param size bytes at least
 */
export function withAnswerMemory<T>(
  { syscalls }: Iommufd,
  size: number,
  about: About,
  use: (memory: { readonly address: bigint; readonly buffer: ArrayBuffer }) => T,
): T {
  const length = Math.ceil(size / syscalls.pageSize) * syscalls.pageSize;
  const memory = mapFor(() => {
    const request = { length, prot: PROT_READ | PROT_WRITE, flags: MAP_PRIVATE | MAP_ANONYMOUS };
    return MappedMemory.map(syscalls, request);
  }, about);
  let result: T;
  try {
    result = use(memory);
  } catch (error) {
    throw withFailures(
      error,
      failuresOf(() => memory.release()),
    );
  }
  mapFor(() => memory.release(), about);
  return result;
}

function mapFor<T>(step: () => T, about: About): T {
  try {
    return step();
  } catch (error) {
    throw unexplained(error, "taking or giving back memory to ask the kernel with", about);
  }
}
