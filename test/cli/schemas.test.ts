import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import { Ajv2020 } from "ajv/dist/2020.js";
import { afterAll, describe, expect, it, vi } from "vitest";
import { EtcFiles } from "../../src/cli/bind/etc-files.js";
import { runBind } from "../../src/cli/bind/run.js";
import { runUnbind } from "../../src/cli/bind/run-unbind.js";
import { stateFolder } from "../../src/cli/bind/state-folder.js";
import { saveSurvey } from "../../src/cli/machine-source.js";
import { packageFile, shippedChips } from "../../src/cli/package-files.js";
import { BindingBoard, PORT } from "../binding/support.js";
import { capture } from "./support/captured.js";
import { FAULTS_LOG } from "./support/faults-log.js";

type Schemas = Readonly<Record<string, object>>;
const tool = new URL("../../tools/schemas.mjs", import.meta.url).href;
const { schemas, fileOf }: { schemas: (how?: { strict: boolean }) => Schemas; fileOf: (schema: object) => string } =
  await import(tool);

// Made once, since it takes seconds.
const strict = schemas({ strict: true });
const ajv = new Ajv2020({ strict: true, allowUnionTypes: true, allErrors: true });
const covered = new Set<string>();

/** What a document has that its schema does not know, or lacks. */
function errorsOf(name: string, document: unknown): unknown {
  covered.add(name);
  const validate = ajv.getSchema(`${name}.schema.json`) ?? ajv.compile(strict[name]!);
  return validate(document) ? [] : validate.errors;
}

async function json(argv: readonly string[]): Promise<unknown> {
  return JSON.parse((await capture(argv)).stdout);
}

const folder = mkdtempSync(path.join(tmpdir(), "iospan-schemas-"));
afterAll(() => rmSync(folder, { recursive: true }));
const log = path.join(folder, "kernel.log");
writeFileSync(log, FAULTS_LOG.map((line) => `${line}\n`).join(""));

const shipped = readdirSync(packageFile("schemas")).sort();

describe("schemas", () => {
  it("are what their types make now: npm run schemas", () => {
    const made = Object.entries(schemas()).map(([name, schema]) => [`${name}.schema.json`, fileOf(schema)] as const);
    expect(made.map(([name]) => name).sort()).toEqual(shipped);
    for (const [name, content] of made)
      expect(readFileSync(packageFile(`schemas/${name}`), "utf8"), name).toBe(content);
  });

  it.each(shipped)("%s is a schema of draft 2020-12, and lets later versions add members", (name) => {
    const schema = JSON.parse(readFileSync(packageFile(`schemas/${name}`), "utf8"));
    expect(schema.$schema).toBe("https://json-schema.org/draft/2020-12/schema");
    new Ajv2020({ strict: true, allowUnionTypes: true }).compile(schema);
    expect(JSON.stringify(schema)).not.toContain('"additionalProperties":false');
    expect(JSON.stringify(schema)).not.toContain("{@");
  });

  it("say what members are", () => {
    const text = readFileSync(packageFile("schemas/topology.schema.json"), "utf8");
    expect(text).toContain("The last address inside.");
    expect(text).toContain('"pattern": "^0x[0-9a-f]+$"');
  });
});

describe("what commands print", () => {
  it.each(shippedChips())("topology of %s", async (chip) => {
    expect(errorsOf("topology", await json(["topology", "--device-tree", chip, "--json"]))).toEqual([]);
  });

  it("topology of this machine", async () => {
    expect(errorsOf("topology", await json(["topology", "--json"]))).toEqual([]);
  });

  it("faults of each driver", async () => {
    const document = await json(["faults", log, "--json"]);
    expect(document).toMatchObject({ faults: 5, groups: { length: 4 }, notices: { length: 2 } });
    expect(errorsOf("faults", document)).toEqual([]);
  });

  it("faults with the devices that are concerned", async () => {
    expect(errorsOf("faults", await json(["faults", log, "--device-tree", "dual-smmu", "--json"]))).toEqual([]);
  });

  it("faults as they come, line by line", async () => {
    const stream = Readable.from([Buffer.from(readFileSync(log))]);
    vi.spyOn(process, "stdin", "get").mockReturnValue(stream as unknown as typeof process.stdin);
    const { stdout } = await capture(["faults", "--follow", "--json", "-"]);
    const items = stdout.trimEnd().split("\n");
    expect(items).toHaveLength(7);
    for (const item of items) expect(errorsOf("faults-item", JSON.parse(item))).toEqual([]);
  });

  it("a saved machine", async () => {
    const file = path.join(folder, "machine.json");
    await saveSurvey(file, {});
    expect(errorsOf("machine", JSON.parse(readFileSync(file, "utf8")))).toEqual([]);
  });

  it.each([
    ["-t", "dual-smmu", "0000:01:00.0", "dma-port"],
    ["-t", "dual-smmu", "dma-port"],
  ])("plan %s %s %s", async (...words) => {
    const argv = words.filter((word) => word !== undefined);
    expect(errorsOf("plan", await json(["plan", "--json", ...argv]))).toEqual([]);
  });

  it("doctor of a device tree, and of this machine", async () => {
    expect(errorsOf("doctor", await json(["doctor", "--json", "-t", "dual-smmu", "dma-port"]))).toEqual([]);
    expect(errorsOf("doctor", await json(["doctor", "--json", "--no-probe"]))).toEqual([]);
  });

  it("bind, its status, and unbind", async () => {
    using board = new BindingBoard();
    const world = {
      machine: board.kernel.machine,
      store: stateFolder(path.join(folder, "run/iospan")),
      root: true,
      etc: new EtcFiles(folder),
      modprobe: () => {},
    };
    const printed = async (command: typeof runBind, words: readonly string[], flags: object) => {
      const out: string[] = [];
      const streams = { stdout: { write: (text: string) => out.push(text) }, stderr: { write: () => {} }, env: {} };
      await command(words, { ...flags, json: true }, streams, () => world);
      return JSON.parse(out.join(""));
    };
    const devices = ["21:00.0", PORT];
    expect(errorsOf("bind", await printed(runBind, devices, { dryRun: true, persist: true }))).toEqual([]);
    const bound = await printed(runBind, devices, {});
    expect(bound).toMatchObject({ done: true, devices: { length: 2 } });
    expect(errorsOf("bind", bound)).toEqual([]);
    const status = await printed(runBind, [], {});
    expect(status).toMatchObject({ bound: { length: 2 } });
    expect(errorsOf("bind-status", status)).toEqual([]);
    const unbound = await printed(runUnbind as typeof runBind, devices, {});
    expect(unbound).toMatchObject({ done: true, devices: { length: 2 } });
    expect(errorsOf("unbind", unbound)).toEqual([]);
  });

  it("demo, of what works and of what is refused", async () => {
    expect(errorsOf("demo", await json(["demo", "--json"]))).toEqual([]);
    expect(errorsOf("demo", await json(["demo", "--release", "5.10", "--json"]))).toEqual([]);
  });

  it.each([[["nope"]], [["topology", "--sysfs", "/no/such"]], [["demo", "--chip", "src"]], [["faults", "/no/such"]]])(
    "the error of %j",
    async (argv) => {
      expect(errorsOf("error", await json([...argv, "--json"]))).toEqual([]);
    },
  );

  it("is refused where a member is missing, unknown or of another type", () => {
    const error = { code: "ERR_IOSPAN_BUSY", message: "no", hint: "yes" };
    expect(errorsOf("error", { error })).toEqual([]);
    expect(errorsOf("error", { error: { ...error, hint: undefined } })).not.toEqual([]);
    expect(errorsOf("error", { error: { ...error, more: 1 } })).not.toEqual([]);
    expect(errorsOf("error", { error: { ...error, code: 1 } })).not.toEqual([]);
  });
});

afterAll(() => expect([...covered].sort()).toEqual(Object.keys(strict).sort()));
