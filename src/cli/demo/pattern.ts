/**
 * Bytes that look random and are the same in every run.
 * @param seed another seed, other bytes.
 */
export function pattern(length: number, seed: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4));
  // Marsaglia's xorshift32, which has no way out of 0.
  let state = Math.imul(seed + 1, 0x9e3779b1) || 1;
  for (let index = 0; index < words.length; index += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
  }
  return new Uint8Array(words.buffer, 0, length);
}
