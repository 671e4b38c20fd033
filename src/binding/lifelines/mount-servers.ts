import type { Mount } from "./mounts.js";

/**
 * The addresses by which a file system reaches its servers: NFS and CIFS say one (fs/nfs/super.c; fs/smb/client/cifsfs.c),
 * Ceph those of its monitors, in `mon_addr` or, as it used to, before the path (fs/ceph/super.c).
 */
export function serversOf({ type, options, source }: Mount): readonly string[] {
  const option = (key: string) =>
    options
      .split(",")
      .find((each) => each.startsWith(`${key}=`))
      ?.slice(key.length + 1);
  if (/^(nfs4?|cifs|smb3)$/.test(type)) return [option("addr") ?? []].flat();
  if (type !== "ceph") return [];
  const monitors = option("mon_addr")?.split("/") ?? /^(.*?):\//.exec(source)?.[1]?.split(",") ?? [];
  return monitors.map(withoutPort);
}

/** `10.0.0.5:6789`, `[fd00::5]:3300` */
function withoutPort(monitor: string): string {
  return /^\[(.+)\]/.exec(monitor)?.[1] ?? monitor.replace(/^([\d.]+):\d+$/, "$1");
}
