import fc from "fast-check";
import { IoAddressSpace, type Mapping } from "iospan";
import { describe, expect, it } from "vitest";
import { edus, proveDma } from "./dma-proof.js";
import { consistent } from "./expect.js";
import { type ManyMachine, manyMachine, mappedIn, nothingLeft, type Seat } from "./many-machine.js";

/** What a random user of a space does. */
type Deed =
  | { readonly kind: "attach" | "detach"; readonly which: number }
  | { readonly kind: "map"; readonly pages: number }
  | { readonly kind: "unmap"; readonly which: number }
  | { readonly kind: "prove" };

const which = fc.nat(7);
const deed: fc.Arbitrary<Deed> = fc.oneof(
  fc.record({ kind: fc.constantFrom("attach" as const, "detach" as const), which }),
  fc.record({ kind: fc.constant("map" as const), pages: fc.integer({ min: 1, max: 4 }) }),
  fc.record({ kind: fc.constant("unmap" as const), which }),
  fc.constant({ kind: "prove" as const }),
);
const seats: fc.Arbitrary<readonly Seat[]> = fc.array(
  fc.record({ smmu: fc.nat(3), bus: fc.constantFrom("pci" as const, "platform" as const) }),
  { minLength: 1, maxLength: 8 },
);

/** Does it, and keeps count of what should be there. */
class RandomUser {
  readonly #many: ManyMachine;
  readonly #space: IoAddressSpace;
  readonly #attached: Set<string>;
  readonly #mappings: Mapping[] = [];

  constructor(many: ManyMachine, space: IoAddressSpace) {
    this.#many = many;
    this.#space = space;
    this.#attached = new Set(space.interfaces);
  }

  async do(wanted: Deed): Promise<void> {
    if (wanted.kind === "attach" || wanted.kind === "detach") await this.#move(wanted.kind, wanted.which);
    else if (wanted.kind === "map") this.#map(wanted.pages);
    else if (wanted.kind === "unmap") await this.#mappings.splice(wanted.which, 1)[0]?.unmap();
    else if (this.#attached.size > 0) await proveDma(this.#many.machine, this.#space, edus(this.#space));
    this.#check();
  }

  async #move(kind: "attach" | "detach", index: number): Promise<void> {
    const { names } = this.#many;
    const name = names[index % names.length] ?? "";
    if (this.#attached.has(name) === (kind === "attach")) return;
    await this.#space[kind](name);
    if (kind === "attach") this.#attached.add(name);
    else this.#attached.delete(name);
  }

  #map(pages: number): void {
    if (this.#attached.size > 0) this.#mappings.push(this.#space.allocate(pages * 4096, { hugePages: "no" }));
  }

  #check(): void {
    const { kernel, iommuOf } = this.#many;
    consistent(this.#space, this.#mappings.length);
    expect([...this.#space.interfaces].sort()).toEqual([...this.#attached].sort());
    const iommus = new Set([...this.#attached].map(iommuOf));
    const expected = this.#mappings.length === 0 ? [] : [...iommus].sort();
    expect([...mappedIn(kernel)].sort()).toEqual(expected);
  }
}

describe("random users of one to eight interfaces", () => {
  it.each(["mirrored", "shared-container", "iommufd"] as const)("are served by %s", async (strategy) => {
    await fc.assert(
      fc.asyncProperty(seats, fc.array(deed, { minLength: 1, maxLength: 12 }), async (places, deeds) => {
        const many = manyMachine(places);
        {
          await using space = await IoAddressSpace.open(many.machine, many.names, { strategy });
          const user = new RandomUser(many, space);
          for (const each of deeds) await user.do(each);
        }
        nothingLeft(many.kernel);
      }),
      { numRuns: 30 },
    );
  });
});
