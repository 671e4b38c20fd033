import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Proofs } from "../../lab/guest/proofs.js";

const said: string[] = [];

beforeEach(() => {
  said.length = 0;
  vi.spyOn(console, "log").mockImplementation((line) => said.push(line));
});

afterEach(() => {
  process.exitCode = undefined;
  vi.restoreAllMocks();
});

it.each([
  ["one that passed", async (proofs: Proofs) => proofs.prove("a", async () => {}), undefined],
  [
    "one that failed",
    async (proofs: Proofs) => {
      await proofs.prove("a", async () => {});
      await proofs.prove("b", () => Promise.reject(new Error("no")));
    },
    1,
  ],
  ["none", async () => {}, 1],
  ["only skipped ones", async (proofs: Proofs) => proofs.skip("a", "not here"), 1],
])("tells by the exit code what came of the proofs: %s", async (_, make, code) => {
  const proofs = new Proofs();
  await make(proofs);
  proofs.summarize();
  expect(process.exitCode).toBe(code);
  expect(said.some((line) => line.includes("nothing was proven"))).toBe(code === 1 && !said.join().includes("FAIL"));
});
