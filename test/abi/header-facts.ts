import { type Field, type Struct, struct } from "../../src/abi/codec.js";
import { errno } from "../../src/abi/errno.js";
import type { FieldType } from "../../src/abi/fields.js";
import { cNames } from "../../src/abi/flags.js";
import { type Tables, unnamedInC } from "./tables.js";

/** One number that a C compiler can tell from the headers, and what our tables say it is. */
export interface Fact {
  /** `offsetof vfio_bitmap.size`. Where two tables say something of the same thing, a label occurs twice. */
  readonly label: string;
  /** A C expression; headers that do not know it do not compile it. */
  readonly expression: string;
  /** What our tables say, given which expressions the headers know; undefined when that is too little to compare. */
  expected(known: (expression: string) => boolean): number | undefined;
}

/**
 * Fields that the header declares otherwise, on purpose: `devid` is unsigned there, but its values include -1.
 */
const signedOnPurpose = ["vfio_pci_dependent_device.devid"];

export function factsOf(tables: Tables): readonly Fact[] {
  return [
    ...tables.structs.filter(({ name }) => !unnamedInC.includes(name)).flatMap(structFacts),
    ...tables.ioctls.map(({ name, request }) => constant("ioctl", name, request)),
    ...tables.nameSets.flatMap((set) => cNames(set).map(([name, value]) => constant("value", name, value))),
    ...tables.constants.map(([name, value]) => constant("value", name, value)),
    ...Object.entries(errno).map(([name, value]) => constant("errno", name, value)),
  ];
}

function constant(kind: string, name: string, value: number): Fact {
  // The headers' constants are ints, 1 << 31 and -1 among them: compared as 32 bits.
  return { label: `${kind} ${name}`, expression: `(unsigned int)(${name})`, expected: () => value >>> 0 };
}

function structFacts(type: Struct): readonly Fact[] {
  return [
    {
      // Variants of one struct (a union's) share its name; each is compared.
      label: `sizeof ${type.name} {${type.fields.map(({ name }) => name).join()}}`,
      expression: `sizeof(${type.cType})`,
      expected: (known) => knownPart(type, known)?.size,
    },
    {
      label: `alignof ${type.name}`,
      expression: `_Alignof(${type.cType})`,
      expected: (known) => knownPart(type, known)?.align,
    },
    ...type.fields.flatMap((field) => fieldFacts(type, field)),
    ...flexibleFacts(type),
  ];
}

/** The struct as headers have it that do not know its last fields yet; undefined when they lack others. */
function knownPart(type: Struct, known: (expression: string) => boolean): Struct | undefined {
  const fields = type.fields.filter((field) => known(offsetOf(type, field.name)));
  if (fields.some((field, index) => field !== type.fields[index])) return undefined;
  const layout = Object.fromEntries(fields.map((field): [string, FieldType] => [field.name, field.type]));
  return struct(type.name, layout, type.flexible);
}

function fieldFacts(type: Struct, field: Field): readonly Fact[] {
  const path = `${type.name}.${field.name}`;
  const member = `((${type.cType} *)0)->${field.name}`;
  const facts: Fact[] = [
    { label: `offsetof ${path}`, expression: offsetOf(type, field.name), expected: () => field.offset },
    { label: `sizeof ${path}`, expression: `sizeof(${member})`, expected: () => field.size },
  ];
  if (isScalar(field.type) && !signedOnPurpose.includes(path)) {
    const signed = field.type.cType.startsWith("__s") ? 1 : 0;
    facts.push({ label: `signed ${path}`, expression: `((__typeof__(${member}))-1 < 1)`, expected: () => signed });
  }
  return facts;
}

function flexibleFacts({ name, cType, size, flexible }: Struct): readonly Fact[] {
  if (flexible === undefined) return [];
  const path = `${name}.${flexible.name}`;
  const element = `*((${cType} *)0)->${flexible.name}`;
  return [
    { label: `offsetof ${path}`, expression: `offsetof(${cType}, ${flexible.name})`, expected: () => size },
    { label: `sizeof ${path}[0]`, expression: `sizeof(${element})`, expected: () => flexible.element.size },
  ];
}

function offsetOf(type: Struct, field: string): string {
  return `offsetof(${type.cType}, ${field})`;
}

function isScalar(type: FieldType): boolean {
  return /^__[us]\d+$/.test(type.cType);
}
