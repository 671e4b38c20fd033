import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Clock } from "../../../src/sim/hw/clock.js";
import { Interconnect, type InterconnectOptions, type LinkOptions } from "../../../src/sim/hw/interconnect.js";

const GB = 1e9;

function build(shared: Omit<InterconnectOptions, "clock"> = {}, ...links: readonly LinkOptions[]) {
  const clock = new Clock();
  const interconnect = new Interconnect({ clock, ...shared });
  return { clock, links: links.map((link) => interconnect.link(link)) };
}

describe("the interconnect", () => {
  it("takes no time without limits", () => {
    const { links } = build({}, {});
    expect([links[0]!.read(1e9, 100), links[0]!.send(1e9), links[0]!.land(1e9, 100)]).toEqual([0, 0, 0]);
  });

  it("takes bandwidth, latency and table walks to read", () => {
    const { links } = build({ walkLatency: 50 }, { bandwidth: GB, latency: 300 });
    expect(links[0]!.read(1000, 4)).toBe(1000 + 300 + 200);
    // The second one waits for the link, not for the first one's latency and walk.
    expect(links[0]!.read(500, 0)).toBe(1500 + 300);
  });

  it("counts from now", () => {
    const { clock, links } = build({}, { bandwidth: GB });
    links[0]!.read(1000, 0);
    clock.advance(1);
    expect(links[0]!.read(1000, 0)).toBe(1e6 + 1000);
  });

  it("has a lane for each direction", () => {
    const { links } = build({}, { bandwidth: GB, latency: 10 });
    expect([links[0]!.read(1000, 0), links[0]!.send(1000), links[0]!.send(1000)]).toEqual([1010, 1010, 2010]);
  });

  it("lets links work at the same time, as far as memory keeps up", () => {
    const bandwidth = GB;
    const free = build({}, { bandwidth }, { bandwidth });
    expect([free.links[0]!.read(1000, 0), free.links[1]!.read(1000, 0)]).toEqual([1000, 1000]);
    const narrow = build({ memoryBandwidth: GB }, { bandwidth }, { bandwidth });
    expect([narrow.links[0]!.read(1000, 0), narrow.links[1]!.read(1000, 0)]).toEqual([1000, 2000]);
    expect(narrow.links[0]!.land(1000, 0)).toBe(3000);
  });

  it("moves no byte before its turn, whatever is asked", () => {
    const access = fc.record({
      link: fc.nat(1),
      bytes: fc.integer({ min: 1, max: 10_000 }),
      pass: fc.nat(3),
    });
    fc.assert(
      fc.property(fc.array(access, { minLength: 1 }), (accesses) => {
        const { clock, links } = build({ memoryBandwidth: 3 * GB }, { bandwidth: GB }, { bandwidth: 2 * GB });
        const moved = [0, 0];
        let last = 0;
        for (const { link, bytes, pass } of accesses) {
          clock.advance(pass / 1000);
          moved[link]! += bytes;
          last = Math.max(last, links[link]!.read(bytes, 0));
        }
        const least = Math.max(moved[0]!, moved[1]! / 2, (moved[0]! + moved[1]!) / 3);
        expect(last).toBeGreaterThanOrEqual(least * (1 - 1e-12));
        expect(last).toBeLessThanOrEqual(clock.nanoseconds + (moved[0]! + moved[1]!) * (1 + 1e-12));
      }),
    );
  });

  it.each([
    ["bandwidth", { bandwidth: 0 }],
    ["bandwidth", { bandwidth: Number.NaN }],
    ["latency", { latency: -1 }],
    ["latency", { latency: Number.POSITIVE_INFINITY }],
  ])("refuses a %s that cannot be: %o", (_what, link) => {
    expect(() => build({}, link)).toThrow(expect.objectContaining({ code: "ERR_IOSPAN_INVALID_ARGUMENT" }));
  });

  it("refuses a memory or a walk that cannot be", () => {
    expect(() => build({ memoryBandwidth: -1 })).toThrow(/memory's bandwidth is -1/);
    expect(() => build({ walkLatency: -1 })).toThrow(/walk's latency is -1/);
  });
});
