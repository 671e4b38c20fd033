import { describe, expect, it } from "vitest";
import { RegionUsers } from "../../src/vfio/region-users.js";

function fresh() {
  const users = new RegionUsers();
  const log: string[] = [];
  const add = (what: string, end: () => Promise<readonly unknown[]>) =>
    users.add({
      what,
      end: () => {
        log.push(`end ${what}`);
        return end();
      },
      revoke: () => log.push(`revoke ${what}`),
    });
  return { users, log, add };
}

describe("users of a region", () => {
  it("all end, whatever one of them says or throws", async () => {
    const { users, log, add } = fresh();
    const thrown = new Error("thrown");
    add("a", async () => ["told", "twice"]);
    add("b", () => Promise.reject(thrown));
    add("c", async () => []);
    expect([users.names, users.ended, users.failures]).toEqual([["a", "b", "c"], false, []]);
    await users.endAll();
    expect(log).toEqual(["end a", "end b", "end c"]);
    expect([users.names, users.ended, users.failures]).toEqual([[], true, ["told", "twice", thrown]]);
  });

  it("are waited for by everybody who ends them, and told once", async () => {
    const { users, log, add } = fresh();
    let resolve = (_failures: readonly unknown[]) => {};
    add("slow", () => new Promise((done) => (resolve = done)));
    const ended: string[] = [];
    const both = ["first", "second"].map(async (who) => {
      await users.endAll();
      ended.push(who);
    });
    await Promise.resolve();
    expect([users.ended, ended]).toEqual([true, []]);
    resolve([]);
    await Promise.all(both);
    expect([ended, log]).toEqual([["first", "second"], ["end slow"]]);
  });

  it("are all told of a reset, while there are any", async () => {
    const { users, log, add } = fresh();
    add("a", async () => []);
    add("b", async () => []);
    users.revokeAll();
    await users.endAll();
    users.revokeAll();
    expect(log).toEqual(["revoke a", "revoke b", "end a", "end b"]);
  });
});
