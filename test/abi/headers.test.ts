import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { errno, errnoName, errnoText } from "../../src/abi/errno.js";
import { cNames } from "../../src/abi/flags.js";
import {
  errorTexts,
  evaluate,
  findCompiler,
  type Headers,
  hasHeaders,
  headerText,
  headerVersion,
  knownExpressions,
} from "./c-compiler.js";
import { coveredNames, declaredNames, missingFrom } from "./header-coverage.js";
import { type Fact, factsOf } from "./header-facts.js";
import { loadTables } from "./tables.js";

// The tables against the headers a C compiler finds here and, with IOSPAN_HEADERS=dir, against the ones in dir (what
// `dpkg-deb -x linux-libc-dev_*.deb` leaves in usr/include). Because the newest headers are rarely installed, their answers
// are also kept in linux-7.3.json, written by IOSPAN_HEADERS=dir IOSPAN_RECORD=1.

const recordedFile = new URL("./linux-7.3.json", import.meta.url);
const newestKnown: readonly [number, number] = [7, 3];
// What 6.1, the oldest headers we meet, knew of the tables when this was written. Fewer means that comparing has broken.
const fewestCompared = 400;

const tables = await loadTables();
const facts = factsOf(tables);
const compiler = findCompiler();

interface Installed {
  readonly from: string;
  readonly headers: Headers;
}

function installedHeaders(): readonly Installed[] {
  if (compiler === undefined) return [];
  const own: Installed = { from: "this machine", headers: { compiler, includes: undefined } };
  const includes = process.env["IOSPAN_HEADERS"];
  // Headers somebody names must be there; only the machine's own may be absent.
  if (includes !== undefined && !existsSync(join(includes, "linux/vfio.h"))) {
    throw new Error(`IOSPAN_HEADERS: no linux/vfio.h in ${includes}`);
  }
  const named: Installed[] = includes === undefined ? [] : [{ from: includes, headers: { compiler, includes } }];
  return [...[own].filter(({ headers }) => hasHeaders(headers)), ...named];
}

/** What labels are about, each once: structs, fields of structs that are known otherwise, constants. */
function subjects(labels: readonly string[]): readonly string[] {
  const all = new Set(labels.map((label) => label.split(" ")[1] ?? label));
  return [...all].filter((subject) => !/\./.test(subject) || !all.has(subject.replace(/\..*/, "")));
}

const installed = installedHeaders();

if (installed.length === 0) {
  describe("the headers of this machine", () => {
    it.skip(`not compared: no ${compiler === undefined ? "C compiler" : "<linux/vfio.h>"}`, () => {});
  });
}

describe.each(installed)("the headers of $from", ({ headers }) => {
  const [major, minor] = headerVersion(headers);
  const expressions = facts.map(({ expression }) => expression);
  const known = knownExpressions(headers, expressions);
  const isKnown = (expression: string): boolean => known.has(expression);
  const isCompared = (fact: Fact): boolean => isKnown(fact.expression) && fact.expected(isKnown) !== undefined;
  const compared = facts.filter(isCompared);
  const unknown = facts.filter((fact) => !isCompared(fact));
  const values = evaluate(
    headers,
    compared.map(({ expression }) => expression),
  );

  it(`agree with the tables (Linux ${major}.${minor}: ${compared.length} numbers compared)`, () => {
    expect(values).toHaveLength(compared.length);
    expect(differences(compared, values, isKnown)).toEqual([]);
    expect(compared.length).toBeGreaterThan(fewestCompared);
  });

  it.runIf(unknown.length > 0)(`do not know ${unknown.length} of the numbers, all of them newer`, () => {
    console.info(
      `not in these headers (Linux ${major}.${minor}): ${subjects(unknown.map(({ label }) => label)).join(", ")}`,
    );
    expect([major, minor], "the newest headers know everything").not.toEqual(newestKnown);
  });

  it.skipIf(major > newestKnown[0] || (major === newestKnown[0] && minor > newestKnown[1]))(
    "have nothing that the tables lack",
    () => {
      const text = headerText(headers);
      expect(declaredNames(text).length).toBeGreaterThan(150);
      expect(missingFrom(allCovered(), text)).toEqual([]);
    },
  );

  it("would show a wrong number", () => {
    const fact = compared.find(({ label }) => label === "offsetof vfio_iommu_type1_dma_map.iova");
    expect(fact).toBeDefined();
    const wrong: Fact = { ...fact!, expected: () => 20 };
    expect(differences([wrong], evaluate(headers, [wrong.expression]), () => true)).toEqual([
      "offsetof vfio_iommu_type1_dma_map.iova: the header says 16, the table 20",
    ]);
  });

  it("come with the C library whose error texts we quote", () => {
    const numbers = Object.values(errno).filter((number) => errnoText(number) !== errnoName(number));
    expect(numbers.length).toBeGreaterThan(40);
    expect(numbers.map(errnoText)).toEqual(errorTexts(headers, numbers));
  });

  it.runIf(process.env["IOSPAN_RECORD"] === "1" && major === newestKnown[0] && minor === newestKnown[1])(
    "are recorded",
    () => {
      const entries = compared.map(({ label }, index) => [label, values[index]]);
      writeFileSync(recordedFile, `${JSON.stringify(Object.fromEntries(entries), undefined, 2)}\n`);
      expect(entries.length).toBe(facts.length);
    },
  );
});

describe("the recorded headers of Linux 7.3", () => {
  it("agree with the tables, all of them", () => {
    const recorded = new Map<string, number>(Object.entries(JSON.parse(readFileSync(recordedFile, "utf8"))));
    const values = facts.map(({ label }) => recorded.get(label) ?? Number.NaN);
    expect(differences(facts, values, () => true)).toEqual([]);
    expect(facts.length).toBeGreaterThan(900);
  });
});

function differences(
  compared: readonly Fact[],
  values: readonly number[],
  known: (expression: string) => boolean,
): readonly string[] {
  return compared.flatMap((fact, index) => {
    const expected = fact.expected(known);
    return values[index] === expected ? [] : [`${fact.label}: the header says ${values[index]}, the table ${expected}`];
  });
}

function allCovered(): ReadonlySet<string> {
  return coveredNames(
    tables,
    tables.nameSets.flatMap((set) => cNames(set).map(([name]) => name)),
  );
}
