import { iommuTotals } from "./iommus.js";
import { knownTotals } from "./known.js";
import { mapTotals } from "./maps.js";
import { masterTotals } from "./masters.js";
import type { Total } from "./total.js";
import { treeTotals } from "./trees.js";

/** Everything that is counted. The numbers were first found with two other programs, which agreed on all of them. */
export const TOTALS: readonly Total[] = [...iommuTotals, ...masterTotals, ...mapTotals, ...treeTotals, ...knownTotals];
