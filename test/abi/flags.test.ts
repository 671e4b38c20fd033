import fc from "fast-check";
import { describe, expect, expectTypeOf, it } from "vitest";
import { cFlagNames, cNames, cValueName, flagNames, names, valueName } from "../../src/abi/flags.js";
import { hwInfo } from "../../src/abi/iommufd-hw-info.js";
import { option } from "../../src/abi/iommufd-object.js";
import { VFIO_DMA_MAP_FLAG } from "../../src/abi/vfio-container.js";
import { deviceFeature, VFIO_DEVICE_FEATURE_INDEX, VFIO_DEVICE_FEATURE_OPERATION } from "../../src/abi/vfio-feature.js";
import { VFIO_PCI_REGION_INDEX } from "../../src/abi/vfio-region.js";

describe("flagNames", () => {
  it("names bits, and shows the rest as hex", () => {
    expect(flagNames(VFIO_DMA_MAP_FLAG, 0)).toBe("0");
    expect(flagNames(VFIO_DMA_MAP_FLAG, 3)).toBe("READ|WRITE");
    expect(flagNames(VFIO_DMA_MAP_FLAG, 0xb)).toBe("READ|WRITE|0x8");
    expect(flagNames(VFIO_DMA_MAP_FLAG, 0x8000_0000)).toBe("0x80000000");
    expect(flagNames(VFIO_DMA_MAP_FLAG, 2n ** 63n + 1n)).toBe("READ|0x8000000000000000");
  });

  it("loses no bit", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (value) => {
        const parts = flagNames(VFIO_DMA_MAP_FLAG, value).split("|");
        const bits = new Map<string, number>(Object.entries(VFIO_DMA_MAP_FLAG));
        const sum = parts.reduce((total, part) => total + BigInt(bits.get(part) ?? part), 0n);
        expect(sum).toBe(value);
      }),
    );
  });

  it("takes a name of several bits only when all are set", () => {
    const set = names("X_*", { BOTH: 3, FOUR: 4 });
    expect(flagNames(set, 1)).toBe("0x1");
    expect(flagNames(set, 7)).toBe("BOTH|FOUR");
  });
});

describe("valueName", () => {
  it("names a value or shows it", () => {
    expect(valueName(VFIO_PCI_REGION_INDEX, 7)).toBe("CONFIG");
    expect(valueName(VFIO_PCI_REGION_INDEX, 9)).toBe("9");
  });
});

describe("whole C names", () => {
  it("stand where the short ones would", () => {
    expect(cFlagNames(VFIO_DMA_MAP_FLAG, 0xb)).toBe("VFIO_DMA_MAP_FLAG_READ|VFIO_DMA_MAP_FLAG_WRITE|0x8");
    expect(cFlagNames(VFIO_DMA_MAP_FLAG, 0)).toBe("0");
    expect(cValueName(VFIO_PCI_REGION_INDEX, 7)).toBe("VFIO_PCI_CONFIG_REGION_INDEX");
    expect(cValueName(VFIO_PCI_REGION_INDEX, 9)).toBe("9");
  });
});

describe("name sets", () => {
  it("know their C names and keep their literal types", () => {
    expect(cNames(VFIO_PCI_REGION_INDEX)).toContainEqual(["VFIO_PCI_BAR0_REGION_INDEX", 0]);
    expect(Object.keys(VFIO_DMA_MAP_FLAG)).toEqual(["READ", "WRITE", "VADDR"]);
    expectTypeOf(VFIO_PCI_REGION_INDEX.CONFIG).toEqualTypeOf<7>();
  });
});

describe("fields that hold names", () => {
  it("print them, also in 64-bit and narrow fields", () => {
    const info = hwInfo.decode(hwInfo.encode({ dev_id: 1, out_data_type: 2, out_capabilities: 5 }));
    expect(hwInfo.print(info)).toBe(
      "{size=40, flags=0, dev_id=1, data_len=0, data_uptr=0x0, out_data_type=ARM_SMMUV3, out_max_pasid_log2=0, " +
        "out_capabilities=DIRTY_TRACKING|PCI_PASID_PRIV}",
    );
    const set = option.decode(option.encode({ option_id: 1, op: 0, object_id: 3 }));
    expect(option.print(set)).toBe("{size=24, option_id=HUGE_PAGES, op=SET, object_id=3, val64=0x0}");
  });

  it("print a feature as operation and index", () => {
    const flags = VFIO_DEVICE_FEATURE_OPERATION.SET | VFIO_DEVICE_FEATURE_INDEX.BUS_MASTER;
    expect(deviceFeature.print({ argsz: 12, flags })).toBe("{argsz=12, flags=SET|BUS_MASTER}");
    expect(deviceFeature.print({ argsz: 8, flags: 99 })).toBe("{argsz=8, flags=0|99}");
  });
});
