import { IospanError } from "../errors.js";
import { tableSignature } from "./acpi/table.js";
import { topologyOfDmar } from "./acpi/topology-of-dmar.js";
import { topologyOfIort } from "./acpi/topology-of-iort.js";
import { topologyOfIvrs } from "./acpi/topology-of-ivrs.js";
import type { Topology } from "./topology.js";

/** The ACPI tables that name IOMMUs: Arm's, Intel's and AMD's. */
export const acpiTables = ["IORT", "DMAR", "IVRS"] as const;

/**
 * What an ACPI table says of IOMMUs and of what is behind them: an IORT (Arm), a DMAR (Intel) or an IVRS (AMD).
 * @param bytes the table, as in /sys/firmware/acpi/tables.
 * @param name what the source is called in the result, usually the file.
 * @throws IospanError `ERR_IOSPAN_ACPI_TABLE` for another table, and for a malformed one, with the offset in it.
 */
export function topologyOfAcpi(bytes: Uint8Array, name = "ACPI table"): Topology {
  switch (tableSignature(bytes)) {
    case "IORT":
      return topologyOfIort(bytes, name);
    case "DMAR":
      return topologyOfDmar(bytes, name);
    case "IVRS":
      return topologyOfIvrs(bytes, name);
    default:
      throw new IospanError("ERR_IOSPAN_ACPI_TABLE", `${name} is none of the ACPI tables ${acpiTables.join(", ")}`, {
        hint: "take one of them from /sys/firmware/acpi/tables; acpidump -b writes them to files",
      });
  }
}
