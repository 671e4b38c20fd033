import { baseName } from "../../machine/sysfs.js";
import type { Departure, Departures } from "./departures.js";
import type { MachineReader } from "./machine-reader.js";
import { parseAddress } from "./network-address.js";
import { NetworkInterfaces } from "./network-interfaces.js";
import { interfaceTo, type Route, readRoutes } from "./routes.js";

/** Disks of another machine, as sysfs shows them: all that is below a folder. */
interface RemoteStorage {
  readonly path: string;
  /** `the iSCSI session session1 with 10.0.0.5` */
  readonly what: string;
  /** Whose packets go by it. */
  readonly interface: string;
}

/** Adds the disks of other machines that are reached by network interfaces that go: iSCSI, and NVMe over TCP and RDMA. */
export function includeRemoteStorage(reader: MachineReader, departures: Departures): void {
  const routes = readRoutes(reader);
  const interfaces = new NetworkInterfaces(reader, departures);
  const found = [...iscsiSessions(reader, routes), ...nvmeControllers(reader, routes)];
  const more = found.flatMap(({ path, what, interface: name }): readonly Departure[] => {
    const fate = interfaces.fate(name, departures);
    if (fate === undefined || departures.of(path) !== undefined) return [];
    const { device, place } = fate.departure;
    return [{ device, path, place: `${what}, over ${fate.through.join(", ")} of ${place}`, remote: true }];
  });
  departures.include(more);
}

/** Of the software initiator's connections (drivers/scsi/scsi_transport_iscsi.c, iscsi_conn_attrs). */
function iscsiSessions(reader: MachineReader, routes: readonly Route[]): readonly RemoteStorage[] {
  return [...reader.targets("/sys/class/iscsi_connection").values()].flatMap((connection) => {
    const path = /^.*\/session\d+(?=\/)/.exec(connection)?.[0];
    const addresses = ["address", "persistent_address"].map((name) => reader.text(`${connection}/${name}`) ?? "");
    const address = addresses.find((each) => parseAddress(each) !== undefined);
    const name = address === undefined ? undefined : interfaceTo(routes, address);
    if (path === undefined || name === undefined) return [];
    return [{ path, what: `the iSCSI session ${baseName(path)} with ${address}`, interface: name }];
  });
}

/** `traddr=10.0.0.6,trsvcid=4420,host_iface=eth0,src_addr=10.0.0.2` (drivers/nvme/host/fabrics.c, nvmf_get_address). */
function nvmeControllers(reader: MachineReader, routes: readonly Route[]): readonly RemoteStorage[] {
  return [...reader.targets("/sys/class/nvme")].flatMap(([controller, path]) => {
    const transport = reader.text(`${path}/transport`) ?? "";
    if (transport !== "tcp" && transport !== "rdma") return [];
    const parts = (reader.text(`${path}/address`) ?? "").split(",").map((part) => part.split("=") as [string, string?]);
    const { traddr, host_iface: host } = Object.fromEntries(parts);
    const name = host ?? (traddr === undefined ? undefined : interfaceTo(routes, traddr));
    if (name === undefined) return [];
    return [{ path, what: `${controller} at ${traddr} (NVMe over ${transport.toUpperCase()})`, interface: name }];
  });
}
