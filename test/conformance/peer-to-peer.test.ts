import { iommufdStrategyNames, strategyNames } from "iospan";
import { describe } from "vitest";
import { peerToPeer } from "./peer-to-peer.js";
import { runAll, simulatedRig } from "./simulated-rig.js";

const strategies = [...new Set([...strategyNames, ...iommufdStrategyNames])];

describe.each(strategies)("peer to peer, strategy %s", (strategy) => {
  runAll(peerToPeer, () => simulatedRig(strategy));
});

describe("peer to peer where the kernel exports no registers", () => {
  runAll(peerToPeer, () => simulatedRig("iommufd", { release: "6.18.1" }));
});

describe("peer to peer where the kernel's iommufd knows no dma-bufs", () => {
  runAll(peerToPeer, () => simulatedRig("iommufd", { release: "6.19.3" }));
});

describe("peer to peer where a container is an iommufd", () => {
  runAll(peerToPeer, () => simulatedRig("mirrored", { container: "iommufd" }));
});
