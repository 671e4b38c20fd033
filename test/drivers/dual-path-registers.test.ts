import { describe, expect, it } from "vitest";
import * as driver from "../../src/drivers/dual-path-registers.js";
import * as device from "../../src/sim/hw/dual-path-engine/descriptor.js";
import * as map from "../../src/sim/hw/dual-path-engine/registers.js";

const mask = ({ bit }: map.RegisterField) => 2 ** bit;
const masks = (fields: Readonly<Record<string, map.RegisterField>>) =>
  Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, mask(field)]));

describe("what the driver knows of the engine", () => {
  it("is where the engine has it", () => {
    const offsets = Object.entries(map.registers).map(([name, { offset }]) => [name, offset]);
    expect(driver.REGISTER).toEqual(Object.fromEntries(offsets));
    expect([driver.ID_VALUE, driver.MAJOR_VERSION]).toEqual([map.ID_VALUE, map.VERSION_VALUE >>> 16]);
    expect([driver.ALIGNMENT, driver.MOST_DESCRIPTORS]).toEqual([map.ALIGNMENT, map.MOST_DESCRIPTORS]);
    expect(driver.CAUSES).toEqual(map.errorCauses);
  });

  it("has the bits that the engine has", () => {
    const { CONTROL, STATUS, INTERRUPT_STATUS, ERROR_STATUS } = map.registers;
    expect(driver.CONTROL).toEqual(masks(CONTROL.fields));
    expect(driver.STATUS).toEqual(masks(STATUS.fields));
    expect(driver.INTERRUPT).toEqual(masks(INTERRUPT_STATUS.fields));
    expect(masks(ERROR_STATUS.fields)).toMatchObject({
      FUNCTION: driver.ERROR_STATUS.FUNCTION,
      PORT: driver.ERROR_STATUS.PORT,
    });
    const causes = map.errorCauses.reduce((all, cause) => all | map.causeMask(cause), 0);
    expect(driver.ERROR_STATUS.CAUSES).toBe(causes);
    const { COPY, FILL, ...flags } = driver.REQUEST;
    expect({ COPY, FILL }).toEqual(device.operations);
    expect(masks(device.descriptorFlags)).toMatchObject(flags);
    const { CAUSE, ...completion } = driver.COMPLETION;
    expect(masks(device.completionFlags)).toMatchObject(completion);
    expect(CAUSE).toBe(2 ** device.completionFlags.ERROR.bits - 1);
  });

  it("has descriptors of the same layout", () => {
    const layout = ({ fields }: typeof device.request | typeof device.completion) =>
      fields.map(({ name, offset, size }) => [name, offset, size]);
    expect(layout(driver.request)).toEqual(layout(device.request));
    expect(layout(driver.completion)).toEqual(layout(device.completion));
  });
});
