import { readDeviceTree } from "../../devicetree/device-tree.js";
import { simulate } from "../../sim/simulate.js";
import { readChip } from "../chip-file.js";
import { namingFile } from "../device-tree-file.js";
import { EXIT } from "../exit-code.js";
import { writeJson } from "../failure.js";
import { Progress } from "../progress.js";
import type { Streams } from "../streams.js";
import { painter, wantsColours } from "../text/colours.js";
import { approachNames } from "./approaches.js";
import { demonstrate } from "./demonstrate.js";
import type { DemoFlags } from "./options.js";
import { render } from "./render.js";
import type { DemoResult } from "./result.js";
import { callTracer, stageMarker } from "./trace.js";

/** `iospan demo`. @returns the exit code */
export async function demo(flags: DemoFlags, streams: Streams): Promise<number> {
  const result = await tryAll(flags, streams);
  if (flags.json) writeJson(streams.stdout, result);
  else {
    const paint = painter(wantsColours(streams.stdout, streams.env));
    for (const line of render(result)) streams.stdout.write(`${paint(line)}\n`);
  }
  return result.asExpected && result.spans ? EXIT.ok : EXIT.unexpected;
}

async function tryAll({ chip, approach: wanted, release, trace }: DemoFlags, streams: Streams): Promise<DemoResult> {
  const { name, content } = readChip(chip);
  const approaches = approachNames.filter((each) => wanted?.includes(each) ?? true);
  const progress = new Progress(streams.stderr, streams.env);
  // Where a trace is written, nothing else is needed to see that something goes on.
  const informed = trace
    ? { trace: callTracer(streams), say: stageMarker(streams) }
    : { say: (what: string) => progress.say(what) };
  try {
    return await demonstrate(() => simulate(content, { release }), {
      chip: name,
      tree: namingFile(chip, content, () => readDeviceTree(content)),
      approaches,
      ...informed,
    });
  } finally {
    progress.done();
  }
}
