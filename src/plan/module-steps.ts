import { vfioDrivers } from "../machine/vfio-drivers.js";
import type { VfioFacts } from "../survey/survey.js";
import { moduleSwitch } from "./module-switch.js";
import type { PlanStep } from "./plan.js";
import { hasResetHandler } from "./platform-reset.js";
import { inWords, type Situation } from "./situation.js";
import type { Subject } from "./subject.js";
import { isOnVfio } from "./survey-index.js";

/** Modules to load, with the parameters that they take. @param usable devices that VFIO may hand out */
export function moduleSteps({ index }: Situation, usable: readonly Subject[]): readonly PlanStep[] {
  const vfio = index.kernel?.vfio;
  const unbound = usable.filter(({ device }) => !isOnVfio(device));
  const handlerless = isResetRequired(vfio) ? unbound.filter(lacksReset) : [];
  const missing = missingDrivers(vfio, unbound);
  // It comes with its parameter then, in a step of its own.
  const plain = missing.filter((name) => name !== "vfio-platform" || handlerless.length === 0);
  const names = [...plain, ...(lacksType1(vfio, usable) ? ["vfio_iommu_type1"] : [])];
  const isPlatformMissing = missing.includes("vfio-platform");
  return [...loadStep(names), ...resetStep(handlerless, isPlatformMissing || vfio === undefined)];
}

/** `vfio-pci` brings VFIO itself, and type1 by a soft dependency (drivers/vfio/vfio_main.c, MODULE_SOFTDEP). */
function missingDrivers(vfio: VfioFacts | undefined, unbound: readonly Subject[]): readonly string[] {
  const drivers = vfio?.drivers;
  if (drivers === undefined) return [];
  const buses = (["pci", "platform"] as const).filter((bus) => unbound.some(({ device }) => device.bus === bus));
  return buses.map((bus) => vfioDrivers[bus]).filter((driver) => !drivers.some(({ name }) => name === driver));
}

/** Without it VFIO's own containers have nothing behind them; an iommufd in their place needs none. */
function lacksType1(vfio: VfioFacts | undefined, usable: readonly Subject[]): boolean {
  if (vfio?.modules.vfio_iommu_type1 !== false) return false;
  const isMissed = usable.some(({ answer }) => answer?.asked === "refused" && answer.code === "ERR_IOSPAN_NO_VFIO");
  return isMissed || (vfio.modules.iommufd !== true && vfio.nodes?.has("/dev/iommu") !== true);
}

function loadStep(names: readonly string[]): readonly PlanStep[] {
  if (names.length === 0) return [];
  const option = names.includes("vfio-platform") ? ` (${PLATFORM_OPTION})` : "";
  const commands = names.map((name) => `modprobe ${name}`);
  return [{ id: "load-module", text: `load ${inWords(names)}${option}`, commands, device: undefined }];
}

const PLATFORM_OPTION = "vfio-platform takes CONFIG_VFIO_PLATFORM, which many distributions lack";

/** Where the module is not loaded, its default counts. */
function isResetRequired(vfio: VfioFacts | undefined): boolean {
  return moduleSwitch(vfio, "vfio_platform.reset_required") !== false;
}

function lacksReset({ device, isForFunctions }: Subject): boolean {
  return device.bus === "platform" && !isForFunctions && !hasResetHandler(device);
}

/** vfio_platform_common.c, vfio_platform_init_common: without a way to reset it, a device is refused with ENOENT. */
function resetStep(devices: readonly Subject[], isLoading: boolean): readonly PlanStep[] {
  if (devices.length === 0) return [];
  const names = inWords(devices.map(({ device }) => device.name));
  const text =
    `have vfio-platform take ${names} without a reset handler, unless there is a module with one (vfio-reset:…)` +
    (isLoading ? `; ${PLATFORM_OPTION}` : "");
  const load = "modprobe vfio-platform reset_required=0";
  const commands = isLoading ? [load] : ["modprobe -r vfio-platform", load];
  return [{ id: "no-reset-required", text, commands, device: undefined }];
}
