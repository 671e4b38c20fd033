import { afterEach, describe, expect, it, vi } from "vitest";
import { Report } from "../../boards/report.js";

describe("a report", () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  function printed(use: (report: Report) => void): { readonly text: string; readonly code: number } {
    let text = "";
    vi.spyOn(process.stdout, "write").mockImplementation((chunk) => {
      text += String(chunk);
      return true;
    });
    const report = new Report();
    use(report);
    const code = report.finish();
    return { text, code };
  }

  it("has a line for each check, and the count last", () => {
    const { text, code } = printed((report) => {
      report.check("boards", undefined, "1712");
      report.check("all are read", undefined);
      report.note("# by the way");
    });
    expect(text).toBe("ok - boards: 1712\nok - all are read\n# by the way\n2 passed, 0 failed\n");
    expect(code).toBe(0);
  });

  it("fails with one that does not hold", () => {
    const { text, code } = printed((report) => {
      report.check("boards", "3, should be 4", "3");
      report.check("others", undefined);
    });
    expect(text).toBe("not ok - boards: 3, should be 4\nok - others\n1 passed, 1 failed\n");
    expect(code).toBe(1);
  });
});
