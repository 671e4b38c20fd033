/** What the guest is to run. */
export interface Task {
  readonly command: readonly string[] | "shell";
  readonly environment: Readonly<Record<string, string>>;
}

/** The shell script for a task, which the guest runs in the checkout. */
export function scriptOf(task: Task): string {
  const exports = Object.entries(task.environment).map(([name, value]) => `export ${name}=${quote(value)}\n`);
  if (task.command === "shell") return `${exports.join("")}${terminalSize()}exec sh -i\n`;
  return `${exports.join("")}exec ${task.command.map(quote).join(" ")}\n`;
}

/** The guest's serial terminal cannot ask for the size of the one it ends in. */
function terminalSize(): string {
  const { rows = 24, columns = 80 } = process.stdout;
  return `stty rows ${rows} cols ${columns}\n`;
}

/** One word of a shell command, whatever is in it. */
function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
