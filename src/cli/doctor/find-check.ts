import type { Check } from "../../doctor/check.js";
import { checks } from "../../doctor/checks.js";
import { IospanError } from "../../errors.js";
import { nearMisses } from "../../machine/device-name.js";

/**
 * The check that is meant: its id, in whatever case, with or without `IOSPAN-` in front.
 * @throws IospanError `ERR_IOSPAN_INVALID_ARGUMENT` where there is none.
 */
export function findCheck(text: string): Check {
  const wanted = plain(text);
  const found = checks.find(({ id }) => plain(id) === wanted);
  if (found !== undefined) return found;
  const near = nearMisses(
    wanted,
    checks.map(({ id }) => plain(id)),
  );
  const guess = near.length === 0 ? "" : `; did you mean ${near.map((each) => `IOSPAN-${each}`).join(" or ")}?`;
  throw new IospanError("ERR_IOSPAN_INVALID_ARGUMENT", `there is no check ${JSON.stringify(text)}${guess}`, {
    hint: "iospan doctor --list shows them all",
  });
}

function plain(text: string): string {
  return text
    .trim()
    .toUpperCase()
    .replaceAll("_", "-")
    .replace(/^IOSPAN-/, "");
}
