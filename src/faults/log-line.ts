import type { LogTime } from "./fault.js";

/** A line of a kernel log, taken apart. */
export interface LogLine {
  /** The message, without time, host or log level. */
  readonly text: string;
  readonly time: LogTime | undefined;
  /** Its number in the log, from 1. */
  readonly number: number;
}

/** `/dev/kmsg`: priority, sequence number, microseconds, flags (Documentation/ABI/testing/dev-kmsg). */
const KMSG = /^\d+,\d+,(\d+),[^;]{0,200};(.*)$/;
/** journalctl -k, with and without a date that programs like, and rsyslog's files. */
const SYSLOG =
  /^(?:([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?)|(\d{4}-\d\d-\d\d[T ][\d:.,]+(?: ?(?:Z|[+-][\d:]{4,6}))?)|\[ *(\d+\.\d+)\]) \S+ kernel(?:\[\d+\])?: /;
/** dmesg, with a date by `-T`, and the log level of `-r` and `-x` before it. */
const BRACKETED = /^(?:<\d+>|[a-z]+ *:[a-z]+ *: )?\[ *(\d+\.\d+|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d [\d:.]+ \d{4})\] ?/;
const ISO = /^(\d{4}-\d\d-\d\dT[\d:.,]+(?:Z|[+-][\d:]{4,6})) /;
const LEVEL = /^<\d+>/;
/** `CONFIG_PRINTK_CALLER`: the thread or processor that printed. */
const CALLER = /^\[ *[TC]\d+\] ?/;

/**
 * Takes a line of a kernel log apart, as dmesg (also with -T, -r, -x or --time-format iso), journalctl -k, syslog or `/dev/kmsg`
 * have it. Text without any of that is a message as it stands. Never throws.
 */
export function logLine(line: string, number: number): LogLine {
  const trimmed = line.replace(/[\r\n]+$/, "");
  const kmsg = KMSG.exec(trimmed);
  if (kmsg !== null) return { ...fromKmsg(kmsg[1] ?? "", kmsg[2] ?? ""), number };
  const { time: outer, rest } = withoutSyslog(trimmed);
  const { time: inner, rest: text } = withoutTime(rest);
  // The kernel's own time is the exact one.
  return { text: unescaped(text), time: inner ?? outer, number };
}

function fromKmsg(microseconds: string, text: string): { text: string; time: LogTime } {
  const seconds = microseconds.padStart(7, "0").replace(/(\d{6})$/, ".$1");
  return { text: unescaped(text), time: { text: seconds, uptime: Number(seconds) } };
}

function withoutSyslog(line: string): { time: LogTime | undefined; rest: string } {
  const match = SYSLOG.exec(line);
  if (match === null) return { time: undefined, rest: line };
  const [whole, date, iso, uptime] = match;
  return { time: timeOf(uptime ?? iso ?? date), rest: line.slice(whole.length) };
}

function withoutTime(line: string): { time: LogTime | undefined; rest: string } {
  const match = BRACKETED.exec(line) ?? ISO.exec(line);
  const rest = line.slice(match?.[0].length ?? 0).replace(LEVEL, "");
  return { time: timeOf(match?.[1]), rest: rest.replace(CALLER, "") };
}

function timeOf(text: string | undefined): LogTime | undefined {
  if (text === undefined) return undefined;
  return { text, uptime: /^\d+\.\d+$/.test(text) ? Number(text) : undefined };
}

/** A tab, as `/dev/kmsg` (printk.c, msg_add_ext_text) and rsyslog write it. */
function unescaped(text: string): string {
  return text.replace(/\\x09|#011/g, "\t");
}
