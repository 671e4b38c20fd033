import { runOnChips } from "./chip-scenarios.js";
import { chipNames, isUnequal } from "./simulated-chip.js";

// Chips whose IOMMUs differ by themselves or are made to, and kernels with other pages.

const KIB = 1024;
const UNEQUAL_GRANULES = "unequal-granules";

runOnChips([
  ...chipNames.filter(isUnequal).map((chip) => ({
    name: `chips/${chip}.dts`,
    chip,
    ...(chip === UNEQUAL_GRANULES && { refused: ["shared-container", "iommufd"] as const }),
  })),
  {
    name: `chips/${UNEQUAL_GRANULES}.dts and a kernel with pages of 64 KiB`,
    chip: UNEQUAL_GRANULES,
    options: { pageSize: 64 * KIB },
    rig: { secondHasMsi: true },
  },
  {
    name: "chips/two-pcie.dts, one SMMU with stage 2 and one without range invalidation",
    chip: "two-pcie",
    changes: "&smmu0 { iospan,stage = <2>; }; &smmu1 { iospan,no-range-invalidation; };",
  },
  {
    name: "chips/two-pcie.dts with SMMUs and a kernel of 16 KiB",
    chip: "two-pcie",
    changes: "&smmu0 { iospan,granules-kib = <16>; }; &smmu1 { iospan,granules-kib = <16>; };",
    options: { pageSize: 16 * KIB },
    rig: { granule: 16 * KIB },
  },
]);
