// Makes schemas/ of the types of src/cli/documents.ts: `npm run schemas`. test/cli/schemas.test.ts holds them to each other.
import { mkdirSync, writeFileSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import * as generator from "ts-json-schema-generator";

const root = fileURLToPath(new URL("..", import.meta.url));

// `undefined`: what becomes of a member that is undefined, which JSON does not have. It is left out, or null.
const documents = {
  error: { type: "ErrorDocument", undefined: "absent" },
  topology: { type: "TopologyDocument", undefined: "absent" },
  plan: { type: "PlanDocument", undefined: "null", unlimited: ["limit", "most"] },
  doctor: { type: "DoctorDocument", undefined: "absent" },
  bind: { type: "BindDocument", undefined: "absent" },
  "bind-status": { type: "BindStatusDocument", undefined: "absent" },
  unbind: { type: "UnbindDocument", undefined: "absent" },
  faults: { type: "FaultsDocument", undefined: "null" },
  "faults-item": { type: "FaultsItemDocument", undefined: "null", optional: ["group", "notice"] },
  demo: { type: "DemoDocument", undefined: "absent" },
  machine: { type: "MachineDocument", undefined: "absent" },
};

/**
 * The schemas, by name.
 * @param strict knows no members but those of the types, which is for tests: new ones may come in a later version
 */
export function schemas({ strict = false } = {}) {
  made ??= make();
  return Object.fromEntries(
    Object.entries(documents).map(([name, rules]) => {
      const { $schema: _, definitions, ...schema } = made[name];
      const id = { $schema: "https://json-schema.org/draft/2020-12/schema", $id: `${name}.schema.json` };
      return [name, adapted({ ...id, title: rules.type, ...schema, $defs: definitions }, { ...rules, strict })];
    }),
  );
}

/** As the generator makes them, once: it takes seconds. */
let made;

function make() {
  const config = {
    ...generator.DEFAULT_CONFIG,
    path: `${root}src/cli/documents.ts`,
    tsconfig: `${root}tsconfig.json`,
    skipTypeCheck: true,
    topRef: false,
    jsDoc: "extended",
    additionalProperties: false,
  };
  const program = generator.createProgram(config);
  const parser = generator.createParser(program, config, (chain) => chain.addNodeParser(new BigIntParser()));
  const from = new generator.SchemaGenerator(program, parser, generator.createFormatter(config), config);
  return Object.fromEntries(Object.entries(documents).map(([name, { type }]) => [name, from.createSchema(type)]));
}

/** A bigint is text in JSON, branded or not. */
class BigIntParser {
  supportsNode(node) {
    const text = node.getText?.() ?? "";
    return text === "bigint" || text === "Iova";
  }
  createType() {
    const facts = { pattern: "^0x[0-9a-f]+$", description: "hexadecimal" };
    return new generator.AnnotatedType(new generator.StringType(), facts, false);
  }
}

function adapted(schema, rules) {
  if (Array.isArray(schema)) return schema.map((each) => adapted(each, rules));
  if (typeof schema !== "object" || schema === null) return schema;
  const entries = Object.entries(schema)
    .filter(
      ([key, value]) => value !== undefined && !(key === "additionalProperties" && value === false && !rules.strict),
    )
    .map(([key, value]) => [key, key === "properties" ? value : adapted(value, rules)]);
  const made = Object.fromEntries(entries);
  // What docstrings link to is a name to those who have the schema alone.
  if (typeof made.description === "string") made.description = words(made.description);
  if (typeof made.$ref === "string") made.$ref = made.$ref.replace("#/definitions/", "#/$defs/");
  return made.properties === undefined || made.type !== "object" ? made : withMembers(made, rules);
}

function words(description) {
  return description.replace(/\{\s*@link\s+([^}]*?)\s*\}/g, "$1").replace(/ +/g, " ");
}

function withMembers(schema, rules) {
  const { required = [], properties } = schema;
  const made = Object.entries(properties).map(([key, value]) => {
    const member = limited(key, adapted(value, rules), rules);
    const isOptional = !required.includes(key) && rules.undefined === "null" && !rules.optional?.includes(key);
    return [key, isOptional ? nullable(member) : member];
  });
  const all =
    rules.undefined === "null" ? Object.keys(properties).filter((key) => !rules.optional?.includes(key)) : required;
  return { ...schema, properties: Object.fromEntries(made), ...(all.length > 0 ? { required: all } : {}) };
}

/** What may be infinite, which JSON does not have, is a word then. */
function limited(key, member, { unlimited = [] }) {
  if (!unlimited.includes(key)) return member;
  const { description, ...rest } = member;
  return { ...(description && { description }), anyOf: [rest, { const: "unlimited" }] };
}

function nullable(member) {
  const { description, ...rest } = member;
  const choices = rest.anyOf ?? [rest];
  if (choices.some(({ type }) => type === "null" || type?.includes?.("null"))) return member;
  return { ...(description && { description }), anyOf: [...choices, { type: "null" }] };
}

/** What a schema's file holds. */
export function fileOf(schema) {
  return `${JSON.stringify(schema, undefined, 2)}\n`;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  mkdirSync(`${root}schemas`, { recursive: true });
  for (const [name, schema] of Object.entries(schemas()))
    writeFileSync(`${root}schemas/${name}.schema.json`, fileOf(schema));
}
