import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const src = fileURLToPath(new URL("../src", import.meta.url));

/** Which rooms a room may import from, itself and the files at the root of src aside. */
const rooms: Readonly<Record<string, readonly string[]>> = {
  abi: [],
  devicetree: [],
  syscalls: ["abi"],
  machine: ["abi", "syscalls"],
  vfio: ["abi", "syscalls", "machine"],
  iommufd: ["abi", "syscalls", "machine", "vfio"],
  space: ["abi", "syscalls", "machine", "vfio", "iommufd"],
  drivers: ["abi", "syscalls", "machine", "vfio", "space"],
  faults: ["vfio", "space", "topology"],
  topology: ["abi", "syscalls", "devicetree", "machine"],
  survey: ["abi", "syscalls", "devicetree", "machine", "vfio", "topology"],
  plan: ["abi", "syscalls", "machine", "vfio", "space", "topology", "survey"],
  doctor: ["abi", "syscalls", "machine", "vfio", "space", "topology", "survey", "plan", "faults"],
  binding: ["abi", "syscalls", "machine", "vfio", "topology", "survey"],
  sim: ["abi", "syscalls", "devicetree"],
  cli: [
    "devicetree",
    "syscalls",
    "machine",
    "vfio",
    "space",
    "drivers",
    "faults",
    "topology",
    "survey",
    "plan",
    "doctor",
    "binding",
    "sim",
  ],
};

const files = readdirSync(src, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));

interface Import {
  readonly file: string;
  readonly from: string;
  readonly typeOnly: boolean;
  /** `import("…")`: what is loaded when it is needed. */
  readonly late: boolean;
}

const imports: readonly Import[] = files.flatMap((file) => {
  const text = readFileSync(path.join(src, file), "utf8");
  const statements = text.matchAll(/^(import|export) (type )?[^;]*?from "([^"]+)";/gms);
  const late = [...text.matchAll(/await import\("([^"]+)"\)/g)];
  return [
    ...[...statements].map(([, , type, from = ""]) => ({ file, from, typeOnly: type !== undefined, late: false })),
    ...late.map(([, from = ""]) => ({ file, from, typeOnly: false, late: true })),
  ];
});

const roomOf = (file: string): string => (file.includes("/") ? (file.split("/")[0] ?? "") : "");
const targetOf = ({ file, from }: Import): string => path.join(path.dirname(file), from);

describe("the house", () => {
  it("has the rooms that are known here", () => {
    expect([...new Set(files.map(roomOf))].filter((room) => room !== "").sort()).toEqual(Object.keys(rooms).sort());
  });

  it("lets dependencies point one way", () => {
    const wrong = imports
      .filter(({ file, from }) => from.startsWith(".") && roomOf(file) !== "")
      .filter((each) => {
        const [home, target] = [roomOf(each.file), roomOf(targetOf(each))];
        return target !== "" && target !== home && !rooms[home]?.includes(target);
      });
    expect(wrong).toEqual([]);
  });

  it("keeps Node and koffi in one file, the command line aside", () => {
    const outside = imports.filter(({ file, from }) => !from.startsWith(".") && roomOf(file) !== "cli");
    expect([...new Set(outside.map(({ file }) => file))]).toEqual(["syscalls/linux.ts"]);
  });

  it("lets the command line run without koffi", () => {
    const reaches = (file: string, seen = new Set<string>()): ReadonlySet<string> => {
      if (seen.has(file)) return seen;
      seen.add(file);
      const next = imports.filter((each) => each.file === file && !each.typeOnly && each.from.startsWith("."));
      const asked = next.filter((each) => !(each.late && targetOf(each) === "syscalls/linux.js"));
      for (const each of asked) reaches(targetOf(each).replace(/\.js$/, ".ts"), seen);
      return seen;
    };
    const reached = reaches("cli/main.ts");
    expect(reached).toContain("space/io-address-space.ts");
    // Only what needs real system calls loads koffi, and at the moment it does.
    expect(reached).not.toContain("syscalls/linux.ts");
  });

  it("lets the simulator know no implementation of the seam", () => {
    const known = imports
      .filter(({ file, from }) => roomOf(file) === "sim" && from.includes("/syscalls/"))
      .map(({ from }) => path.basename(from));
    const allowed = ["syscalls.js", "mmap-flags.js"];
    expect(known.filter((name) => !allowed.includes(name))).toEqual([]);
  });
});
