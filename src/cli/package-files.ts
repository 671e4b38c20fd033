import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

// As far above src/cli as above dist/cli.
const root = new URL("../../", import.meta.url);

/** The path of a file that the package ships. */
export function packageFile(name: string): string {
  return fileURLToPath(new URL(name, root));
}

/** The package's version, as npm knows it. */
export function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(packageFile("package.json"), "utf8")) as { version: string };
  return version;
}

/** The names of the chips that the package ships, without `.dts`. */
export function shippedChips(): readonly string[] {
  const files = readdirSync(packageFile("chips")).filter((file) => file.endsWith(".dts"));
  return files.map((file) => file.slice(0, -".dts".length)).sort();
}
