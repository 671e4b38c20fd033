import { describe, expect, it } from "vitest";
import { RegionUsers } from "../../src/vfio/region-users.js";

describe("users of a region", () => {
  it("all end, whatever one of them says or throws", () => {
    const users = new RegionUsers();
    const ended: string[] = [];
    const user = (what: string, end: () => readonly unknown[]) => ({
      what,
      end: () => {
        ended.push(what);
        return end();
      },
    });
    const thrown = new Error("thrown");
    users.add(user("a", () => ["told"]));
    users.add(
      user("b", () => {
        throw thrown;
      }),
    );
    users.add(user("c", () => []));
    expect(users.names).toEqual(["a", "b", "c"]);
    expect(users.endAll()).toEqual(["told", thrown]);
    expect([ended, users.names, users.endAll()]).toEqual([["a", "b", "c"], [], []]);
  });
});
