import { describe } from "vitest";
import { peerToPeer } from "./peer-to-peer.js";
import { runAll } from "./run-all.js";
import { simulatedRig } from "./simulated-rig.js";

// The last kernel without dma-bufs of registers, and the first with; conformance.test.ts runs these with every strategy.

describe("peer to peer where the kernel exports no registers", () => {
  runAll(peerToPeer, () => simulatedRig("iommufd", { release: "6.18.1" }));
});

describe("peer to peer on the first kernel that exports registers", () => {
  runAll(peerToPeer, () => simulatedRig("iommufd", { release: "6.19.3" }));
});
