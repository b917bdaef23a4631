"""From what the probes found to a host: one decision, made of values alone.

NVML is trusted most, then libcuda, files, and `nvidia-smi`. A lower layer fills gaps and never
overwrites; where two contradict each other, a finding says so with both values.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final

from provisioner.core.findings import ABSENT, JETSON, Finding, found
from provisioner.core.host import Compat, Driver, Gpu, Host, with_absence_findings
from provisioner.core.readings import (
    DRIVER_NOT_LOADED,
    LIBRARY_NOT_FOUND,
    NO_PERMISSION,
    OPERATING_SYSTEM,
    UNKNOWN,
    VERSION_MISMATCH,
    Reading,
    ending,
    library_version,
    read_files,
    read_libcuda,
    read_nvml,
    read_smi,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioner.core.evidence import Evidence, Files
    from provisioner.core.version import DottedVersion

NVML: Final = "nvml"
LIBCUDA: Final = "libcuda"
SMI: Final = "nvidia-smi"
_GPU_FOLDER: Final = "/proc/driver/nvidia/gpus"
_MODULE_FILE: Final = "/sys/module/nvidia/version"
_VERSION_FILE: Final = "/proc/driver/nvidia/version"

_ACCESS_TAKEN: Final = frozenset({OPERATING_SYSTEM, UNKNOWN})

_PASS_IN: Final = {
    "docker": "pass the GPUs into the container, such as with `docker run --gpus all`",
    "podman": "pass the GPUs into the container, such as with "
    "`podman run --device nvidia.com/gpu=all`",
}


_NOTHING_TO_ASK: Final = frozenset({LIBRARY_NOT_FOUND, DRIVER_NOT_LOADED})
_BY_HAND: Final = (
    "restart the machine or install the driver anew; `GPUENV_DRIVER=580.65.06` and "
    "`GPUENV_GPUS=9.0` set both by hand"
)
_REINSTALL: Final = "the library is damaged: install the driver, or make the container, anew"
_OF_WINDOWS: Final = (
    "the library is damaged: `wsl --shutdown` in Windows starts WSL anew, and installing "
    "NVIDIA's driver for Windows anew replaces it"
)

_WSL_FOLDER: Final = "/usr/lib/wsl/"
"""Its libraries are Windows's, and there only where Windows has NVIDIA's driver."""


class _Layers:
    """The readings by the name of their layer, the strongest first.

    `is_unloaded`: NVML says that the driver is not loaded, and nothing says otherwise. A
    libcuda that tells its own version is no driver. Tegra's driver is another module.
    """

    def __init__(self, evidence: Evidence) -> None:
        nvml = evidence.nvml
        self.nvml = read_nvml(nvml)
        self.libcuda = read_libcuda(evidence.libcuda)
        self.files = read_files(evidence.files)
        self.smi = read_smi(evidence.smi, nvml.seconds if nvml else 0)
        of_files = _VERSION_FILE if evidence.files.version is not None else _MODULE_FILE
        self.all: tuple[tuple[str, Reading], ...] = (
            (NVML, self.nvml),
            (LIBCUDA, self.libcuda),
            (of_files, self.files),
            (SMI, self.smi),
        )
        self.is_unloaded = (
            self.nvml.error == DRIVER_NOT_LOADED
            and evidence.platform.kind != "jetson"
            and not (evidence.files.loaded or self.smi.version)
        )

    def first(self, fact: str) -> tuple[str | None, Any]:
        """A fact of the strongest layer that tells it, and the name of that layer."""
        for name, reading in self.all:
            if (value := getattr(reading, fact)) is not None:
                return name, value
        return None, None

    def gpus(self, files: Files) -> tuple[str | None, tuple[Gpu, ...]]:
        """The GPUs of the strongest layer that lists any, with their gaps filled.

        NVML that counts none is believed.
        """
        if self.nvml.gpus is not None:
            return NVML, _filled(self.nvml.gpus, self.files.gpus or ())
        if self.files.gpus and files.gpus:
            return _GPU_FOLDER, _filled(self.files.gpus, self.smi.gpus or ())
        if self.smi.gpus:
            return SMI, self.smi.gpus
        # Nodes alone say that there is a GPU, and not which.
        return ("/dev", self.files.gpus) if self.files.gpus else (None, ())


def combine(evidence: Evidence) -> Host:
    """Decide what the machine is."""
    layers = _Layers(evidence)
    files, platform = evidence.files, evidence.platform
    of_version, version = layers.first("version")
    of_cuda, cuda = layers.first("cuda")
    of_gpus, gpus = layers.gpus(files)
    told = layers.nvml.started or version or cuda or files.loaded or files.gpu_nodes
    driver = None
    if told and not layers.is_unloaded:
        driver = Driver(version=version, cuda=cuda, compat=_compat(evidence, version))
    elif files.pci:
        of_gpus = "/sys/bus/pci/devices"
        gpus = tuple(Gpu(index=i, pci=card.address) for i, card in enumerate(files.pci))
    named = {
        "driver": of_version if driver else None,
        "cuda": of_cuda if driver else None,
        "gpus": of_gpus if gpus else None,
    }
    host = Host(
        platform=platform,
        driver=driver,
        gpus=gpus,
        findings=tuple(_findings(evidence, layers)),
        sources=(
            *((fact, name) for fact, name in named.items() if name),
            ("platform", "this machine"),
        ),
    )
    return _with_absence(host, evidence, layers)


def _filled(gpus: tuple[Gpu, ...], others: Iterable[Gpu]) -> tuple[Gpu, ...]:
    """The GPUs, with what they lack taken from the same ones of another layer."""
    by_address = {gpu.pci: gpu for gpu in others if gpu.pci}
    by_uuid = {gpu.uuid: gpu for gpu in others if gpu.uuid}
    filled = []
    for gpu in gpus:
        other = by_uuid.get(gpu.uuid or "") or by_address.get(gpu.pci or "")
        if other is None:
            filled.append(gpu)
            continue
        gaps: dict[str, Any] = {
            field.name: getattr(other, field.name)
            for field in fields(Gpu)
            if getattr(gpu, field.name) is None
        }
        filled.append(replace(gpu, **gaps))
    return tuple(filled)


def _compat(evidence: Evidence, version: DottedVersion | None) -> Compat | None:
    """The forward compatibility package that `libcuda.so.1` is from, if it is from one.

    The driver's own library has the kernel driver's version in its name. WSL's libraries come
    from Windows, whose drivers are numbered in another way.
    """
    asked = next((a for a in (evidence.nvml, evidence.libcuda) if a and a.libcuda), None)
    if asked is None or asked.libcuda is None or evidence.platform.kind == "wsl2":
        return None
    path = asked.libcuda
    named = library_version(path)
    own = named == version if named and version else "compat" not in path.split("/")
    if own:
        return None
    return replace(evidence.note or Compat(cuda=None), path=path)


def _findings(evidence: Evidence, layers: _Layers) -> Iterable[Finding]:
    """What went wrong, in the order of the layers."""
    nvml = layers.nvml
    if nvml.error is not None:
        yield from _not_started(evidence, layers)
    yield from nvml.findings
    yield from _uncounted(evidence, nvml)
    yield from layers.libcuda.findings
    yield from layers.smi.findings
    if evidence.information is not None:
        yield from ending("the driver", evidence.information)
    yield from _contradictions(layers)
    unread = {**dict(layers.files.unread), **dict(nvml.unread)}
    if layers.first("version")[1] is None and "driver" in unread:
        yield found("driver-unreadable", f"no driver version: {unread['driver']}")
    if layers.first("cuda")[1] is None and "cuda" in unread:
        yield found("driver-unreadable", f"no CUDA driver version: {unread['cuda']}")
    if evidence.platform.kind == "jetson":
        yield found("jetson", JETSON)


def _not_started(evidence: Evidence, layers: _Layers) -> Iterable[Finding]:
    """Why NVML does not start, unless that only means that there is nothing to ask."""
    files, nvml = evidence.files, layers.nvml
    said = f"NVML does not start: {nvml.said}"
    if nvml.error == VERSION_MISMATCH:
        library = library_version(evidence.nvml.library if evidence.nvml else None)
        module = layers.files.version
        known = [f"its library is `{library}`"] if library else []
        known += [f"the kernel module is `{module}`"] if module else []
        said += f": {', '.join(known)}" if known else ""
        yield found("version-mismatch", said)
        return
    if (tells_nothing := _tells_nothing(evidence, layers)) is not None:
        yield found("nvml-failed", f"{said}{tells_nothing}", _BY_HAND)
        return
    if nvml.error == LIBRARY_NOT_FOUND:
        damaged = evidence.platform.kind == "wsl2" and _damaged(evidence, layers)
        if files.gpu_nodes:
            nodes = ", ".join(f"`/dev/{name}`" for name in files.gpu_nodes)
            why = f": {nvml.said}" if _is_damaged(nvml) else ""
            message = f"there is {nodes} but no `libnvidia-ml.so.1` that loads{why}"
            yield found("driver-no-library", message, _REINSTALL if why else None)
        elif damaged:
            message = f"there is `/dev/dxg`, and a library of the driver does not load: {damaged}"
            yield found("driver-no-library", message, _OF_WINDOWS)
        elif layers.libcuda.cuda and evidence.platform.kind == "wsl2":
            message = "there is a `libcuda.so.1` but no `libnvidia-ml.so.1` that loads"
            yield found("driver-no-library", message)
        return
    if nvml.error == DRIVER_NOT_LOADED:
        yield from _not_loaded(evidence, layers, said)
        return
    yield found("nvml-failed", said, _access_hint(evidence, nvml))


def _is_damaged(reading: Reading) -> bool:
    """Whether a library is there that does not load."""
    return reading.said is not None and "No such file" not in reading.said


def _damaged(evidence: Evidence, layers: _Layers) -> str | None:
    """What the loader says of a library that is there and does not load, where one is."""
    if _is_damaged(layers.nvml):
        return layers.nvml.said
    asked = evidence.libcuda.answers if evidence.libcuda else ()
    said = next((answer.said for answer in asked if answer.failed and answer.said), None)
    return said if said and "No such file" not in said else None


def _tells_nothing(evidence: Evidence, layers: _Layers) -> str | None:
    """Whether there are a GPU and a loaded driver, of which nothing tells anything."""
    files = evidence.files
    told = layers.first("version")[1] or layers.first("cuda")[1] or files.gpu_nodes
    cards = [card.address for card in files.pci if card.driver in {None, "nvidia"}]
    text = files.version is not None or files.module_version is not None
    if told or not cards or not text or layers.nvml.error not in _NOTHING_TO_ASK:
        return None
    names = ", ".join(f"`{address}`" for address in cards)
    return f", and the kernel module `nvidia` is loaded for {names} and tells no version"


def _not_loaded(evidence: Evidence, layers: _Layers, said: str) -> Iterable[Finding]:
    """What speaks against NVML, which says that no driver is loaded."""
    files = evidence.files
    library = evidence.nvml.library if evidence.nvml else None
    if files.loaded and files.gpu_nodes:
        yield found("nvml-failed", said, _access_hint(evidence, layers.nvml))
    if not layers.is_unloaded:
        return
    if files.gpu_nodes and not files.pci:
        nodes = ", ".join(f"`/dev/{name}`" for name in files.gpu_nodes)
        hint = "`modprobe nvidia` loads the driver's kernel module"
        yield found("nvml-failed", f"{said}, and there is {nodes}", hint)
    elif evidence.platform.kind == "wsl2" and _WSL_FOLDER in (library or ""):
        hint = "`wsl --shutdown` in Windows starts WSL anew"
        yield found("nvml-failed", f"{said}, and `{library}` is of Windows's driver", hint)


def _uncounted(evidence: Evidence, nvml: Reading) -> Iterable[Finding]:
    """GPUs that the kernel module has and NVML does not count, since they do not start.

    A container, or a user, who may not open their nodes sees none for another reason.
    """
    cards = [card.address for card in evidence.files.pci if card.is_driven]
    inside = evidence.platform.container is not None
    if nvml.gpus != () or inside or not cards or not evidence.files.open_nodes:
        return
    names = ", ".join(f"`{address}`" for address in cards)
    yield found(
        "gpus-unreadable",
        f"NVML counts no GPU, and the kernel module `nvidia` has {names}",
        "`dmesg | grep NVRM` says why a GPU does not start",
    )


def _access_hint(evidence: Evidence, nvml: Reading) -> str | None:
    if evidence.files.blocked:
        nodes = ", ".join(f"`/dev/{name}`" for name in evidence.files.blocked)
        return f"give this user access to {nodes}"
    if nvml.error == NO_PERMISSION:
        return "run as a user who may use the GPU"
    if evidence.platform.container and nvml.error in _ACCESS_TAKEN:
        # NVIDIA/nvidia-container-toolkit#115
        return "start the container anew: `systemctl daemon-reload` takes its GPUs away"
    return None


def _contradictions(layers: _Layers) -> Iterable[Finding]:
    """Two layers that name different drivers; WSL's have no kernel module of their own."""
    (of_files, files) = layers.all[2]
    for name, reading in ((NVML, layers.nvml), (SMI, layers.smi)):
        if reading.version and files.version and reading.version != files.version:
            spoken = "NVML" if name == NVML else "`nvidia-smi`"
            yield found(
                "version-mismatch",
                f"{spoken} says driver `{reading.version}`, `{of_files}` says `{files.version}`",
            )


def _with_absence(host: Host, evidence: Evidence, layers: _Layers) -> Host:
    """Say why there is no GPU to use, with what only the evidence tells."""
    files, platform = evidence.files, evidence.platform
    codes = {finding.code for finding in host.findings}
    if host.broken or codes & (ABSENT | {"driver-no-library"}):
        return host
    if host.driver is None and platform.kind == "jetson":
        message = "no library of the driver tells of the GPU, so that nothing is known of it"
        return host.with_findings(found("gpus-unknown", message, "`GPUENV_CUDA=12.6` sets it"))
    if host.driver is None and files.pci:
        return host.with_findings(_no_driver(files))
    if host.driver and not host.gpus and platform.kind == "jetson" and not layers.nvml.started:
        message = "no GPU is known, so that only the driver decides"
        return host.with_findings(found("gpus-unknown", message))
    if host.driver and not host.gpus:
        return host.with_findings(_no_device(host.driver, evidence))
    return with_absence_findings(host)


def _no_driver(files: Files) -> Finding:
    cards = ", ".join(
        f"`{card.address}`" + (f" (bound to `{card.driver}`)" if card.driver else "")
        for card in files.pci
    )
    nouveau = "; `nouveau` is loaded in its place" if files.nouveau else ""
    return found("gpu-no-driver", f"there is a GPU without NVIDIA's driver: {cards}{nouveau}")


def _no_device(driver: Driver, evidence: Evidence) -> Finding:
    named = f"driver `{driver.version}`" if driver.version else "an NVIDIA driver"
    other = [card for card in evidence.files.pci if card.driver not in {None, "nvidia"}]
    taken = "".join(f"; `{card.address}` is bound to `{card.driver}`" for card in other)
    return found(
        "driver-no-device",
        f"there is {named} but no GPU to use{taken}",
        _PASS_IN.get(evidence.platform.container or ""),
    )
