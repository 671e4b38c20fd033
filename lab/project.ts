import { fileURLToPath } from "node:url";

/** The checkout: this file runs as `build/lab/project.js`. */
export const PROJECT: string = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");
