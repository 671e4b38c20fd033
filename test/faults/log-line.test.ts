import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { logLine } from "../../src/faults/log-line.js";

const MESSAGE = "arm-smmu-v3 arm-smmu-v3.0.auto: \t0x0000020000000010";
const NO_TIME = undefined;
const DATE = "Mon Nov 23 01:57:35 2026";

describe("a line of a kernel log", () => {
  it.each([
    ["nothing", "", NO_TIME],
    ["dmesg", "[   12.345678] ", { text: "12.345678", uptime: 12.345678 }],
    ["dmesg of a machine that runs for long", "[1234567.345678] ", { text: "1234567.345678", uptime: 1234567.345678 }],
    ["dmesg -T", `[${DATE}] `, { text: DATE, uptime: undefined }],
    ["dmesg -T on a day of one digit", "[Sun Nov  1 01:57:35 2026] ", { text: "Sun Nov  1 01:57:35 2026" }],
    ["dmesg -r", "<3>[   12.345678] ", { text: "12.345678", uptime: 12.345678 }],
    ["dmesg -x", "kern  :err   : [   12.345678] ", { text: "12.345678", uptime: 12.345678 }],
    ["dmesg -t -r", "<3>", NO_TIME],
    ["dmesg --time-format iso", "2026-11-23T01:57:35,123456+00:00 ", { text: "2026-11-23T01:57:35,123456+00:00" }],
    ["CONFIG_PRINTK_CALLER", "[   12.345678][  T123] ", { text: "12.345678", uptime: 12.345678 }],
    ["journalctl -k", "Nov 23 01:57:35 board kernel: ", { text: "Nov 23 01:57:35", uptime: undefined }],
    ["journalctl -k -o short-iso", "2026-11-23T01:57:35+0000 board kernel: ", { text: "2026-11-23T01:57:35+0000" }],
    ["journalctl -k -o short-monotonic", "[   12.345678] board kernel: ", { text: "12.345678", uptime: 12.345678 }],
    ["syslog", "Nov  3 01:57:35 board kernel: [   12.345678] ", { text: "12.345678", uptime: 12.345678 }],
    ["/dev/kmsg", "3,1234,12345678,-;", { text: "12.345678", uptime: 12.345678 }],
    ["/dev/kmsg with a caller", "3,1234,345,-,caller=T1;", { text: "0.000345", uptime: 0.000345 }],
  ])("is understood as %s has it", (_, prefix, time) => {
    const line = logLine(`${prefix}${MESSAGE}`, 7);
    expect(line.text).toBe(MESSAGE);
    expect(line.number).toBe(7);
    if (time === undefined) expect(line.time).toBeUndefined();
    else expect(line.time).toMatchObject(time);
  });

  it("has its tabs back from /dev/kmsg and from rsyslog, and no carriage return", () => {
    expect(logLine("3,1,2,-;a: \\x090x0", 1).text).toBe("a: \t0x0");
    expect(logLine("Nov 23 01:57:35 h kernel: [  1.000000] a: #0110x0\r", 1).text).toBe("a: \t0x0");
  });

  it("may be anything", () => {
    fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => typeof logLine(text, 1).text === "string"));
  });
});
