// Before the lab is compiled: the README's driver, as it stands and with each strategy named, becomes programs for the guest.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const STRATEGIES = ["auto", "iommufd", "shared-container", "mirrored"];
const OPENED = '["0000:02:00.0", "0000:22:00.0"])';

const root = new URL("../", import.meta.url);
const folder = new URL("lab/guest/readme/", root);
const readme = readFileSync(new URL("README.md", root), "utf8");
const [, driver = ""] = /^```ts\n(.*?)^```$/ms.exec(readme) ?? [];
if (!driver.includes(OPENED))
  throw new Error(`the first program of ${fileURLToPath(root)}README.md does not open ${OPENED}`);
mkdirSync(folder, { recursive: true });
for (const strategy of STRATEGIES) {
  const named = strategy === "auto" ? OPENED : OPENED.replace(/\)$/, `, { strategy: "${strategy}" })`);
  const program = `// @ts-nocheck: the README's own test checks it, unused names aside.\n${driver.replace(OPENED, named)}\nexport {};\n`;
  writeFileSync(new URL(`${strategy}.ts`, folder), program);
}
