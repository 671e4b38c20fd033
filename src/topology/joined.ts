/** Two lists as one: what has a key in common is one thing. @internal */
export class Joined<T extends { readonly path: string }> {
  readonly items: readonly T[];
  readonly pairs: readonly (readonly [T, T])[];
  readonly #paths = new Map<string, string>();

  constructor(
    first: readonly T[],
    second: readonly T[],
    keysOf: (item: T) => readonly string[],
    join: (a: T, b: T) => T,
  ) {
    const byKey = new Map<string, T>();
    for (const item of first) for (const key of keysOf(item)) if (!byKey.has(key)) byKey.set(key, item);
    const partners = new Map<T, T>();
    const alone: T[] = [];
    for (const item of second) {
      const partner = keysOf(item)
        .map((key) => byKey.get(key))
        .find((each) => each !== undefined);
      if (partner === undefined || partners.has(partner)) alone.push(item);
      else {
        partners.set(partner, item);
        this.#paths.set(item.path, partner.path);
      }
    }
    this.pairs = [...partners];
    this.items = [
      ...first.map((item) => {
        const partner = partners.get(item);
        return partner === undefined ? item : join(item, partner);
      }),
      ...alone,
    ];
  }

  /** What the second list's path has become. */
  readonly pathOf = (path: string): string => this.#paths.get(path) ?? path;
}
