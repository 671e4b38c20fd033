import type { Departure } from "./departures.js";
import type { Finder, Ground } from "./lifeline.js";

/** Folders of a hypervisor's, mounted by a virtio device: 9p and virtiofs. */
export const findSharedFolders: Finder = (ground) => {
  const tags = sharedTags(ground);
  return ground.storage.mounts.flatMap(({ type, source, point }) => {
    const departure = tags.get(`${type} ${source}`);
    if (departure === undefined) return [];
    const message = `${point} is mounted from the hypervisor's folder ${source}, which is on ${departure.place}`;
    return [{ kind: "mount", device: departure.device, cuts: true, message }];
  });
};

/** By type and tag (net/9p/trans_virtio.c, `mount_tag`; fs/fuse/virtio_fs.c, `tag`). Only those that go. */
function sharedTags({ reader, departures }: Ground): ReadonlyMap<string, Departure> {
  const found = new Map<string, Departure>();
  for (const path of reader.targets("/sys/bus/virtio/devices").values()) {
    const departure = departures.of(path);
    const tag = departure && reader.text(`${path}/mount_tag`)?.replace(/\0.*$/s, "");
    if (departure !== undefined && tag !== undefined) found.set(`9p ${tag}`, departure);
  }
  for (const name of reader.names("/sys/fs/virtiofs")) {
    const departure = departures.of(reader.target(`/sys/fs/virtiofs/${name}/device`));
    const tag = departure && reader.text(`/sys/fs/virtiofs/${name}/tag`);
    if (departure !== undefined && tag !== undefined) found.set(`virtiofs ${tag}`, departure);
  }
  return found;
}
