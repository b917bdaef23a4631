"""What each probe's evidence says of the driver and the GPUs, before they are combined."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from provisioner.core.findings import Finding, found
from provisioner.core.host import Gpu, GpuStatus
from provisioner.core.plausible import CAPABILITY_MAJORS, CAPABILITY_MINORS
from provisioner.core.plausible import capability as plausible_capability
from provisioner.core.version import ComputeCapability, DottedVersion

if TYPE_CHECKING:
    from provisioner.core.evidence import Answer, Asked, Files, Smi

# Numbers of nvmlReturn_t in nvml.h.
NO_PERMISSION: Final = 4
DRIVER_NOT_LOADED: Final = 9
LIBRARY_NOT_FOUND: Final = 12
GPU_IS_LOST: Final = 15
RESET_REQUIRED: Final = 16
OPERATING_SYSTEM: Final = 17
VERSION_MISMATCH: Final = 18
UNKNOWN: Final = 999

INSUFFICIENT_POWER: Final = 8
IRQ_ISSUE: Final = 11
CORRUPTED_INFOROM: Final = 14

_Faults = Mapping[int, tuple[str, GpuStatus, str | None]]

_GPU_FAULTS: Final[_Faults] = {
    NO_PERMISSION: ("no-permission", "no-permission", None),
    GPU_IS_LOST: ("gpu-lost", "lost", None),
    RESET_REQUIRED: ("gpu-lost", "lost", "reset the GPU with `nvidia-smi --gpu-reset`"),
}
_HANDLE_FAULTS: Final[_Faults] = {
    **_GPU_FAULTS,
    **dict.fromkeys(
        (INSUFFICIENT_POWER, IRQ_ISSUE, CORRUPTED_INFOROM), ("gpu-failed", "failed", None)
    ),
}
"""Where there is no handle, these too mean a fault of the GPU, and not of what was asked."""
_UNKNOWN_FAULT: Final[tuple[str, GpuStatus, str | None]] = (
    "gpu-failed",
    "ok",
    "`GPUENV_GPUS=9.0` sets the compute capabilities by hand",
)

_BRANDS: Final = (
    *("unknown", "quadro", "tesla", "nvs", "grid", "geforce", "titan"),
    *("vapps", "vpc", "vcs", "vws", "cloudgaming"),
    *("quadrortx", "nvidiartx", "nvidia", "geforcertx", "titanrtx", "dla", "vgamedev", "npu"),
)
"""nvmlBrandType_t of nvml.h, as `NVIDIA_REQUIRE_CUDA` of NVIDIA's images spells the names."""
_NOT_CUDA: Final = frozenset({"dla", "npu"})

_CUDA_NUMBERS: Final = range(1000, 99991)
_MOST_GPUS: Final = 1024

_KERNEL_MODULE: Final = re.compile(r"Kernel Module(?: for \S+)?\s+(\S+)")
"""`NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu …`, also of the open one."""
_LIBRARY_VERSION: Final = re.compile(r"\.so\.([0-9]{3,9}(?:\.[0-9]{1,9}){1,4})$")
"""The driver's version in a library's name; `libcuda.so.1.1` of WSL and Jetson has none."""
_BANNER_CUDA: Final = re.compile(r"CUDA(?: UMD)? Version:\s*([0-9]{1,3}\.[0-9]{1,3})\b")
_BANNER_DRIVER: Final = re.compile(r"(?:Driver|KMD) Version:\s*([0-9]{1,9}(?:\.[0-9]{1,9}){1,4})\b")
"""`Driver Version: 570.124.06  CUDA Version: 12.8`; since R610 `KMD Version: 610.57.04  CUDA
UMD Version: 13.3`."""
_DRIVER: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){1,4}")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_UUID: Final = re.compile(r"GPU-[0-9A-Za-z-]+")
_PCI: Final = re.compile(r"(?:([0-9a-fA-F]+):)?([0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-9a-fA-F])")
_MIB: Final = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What one probe tells; `gpus` None: it tells nothing of them.

    `error` is the number that NVML would not start with. `unread` are the facts that it was
    asked for in vain, and why.
    """

    version: DottedVersion | None = None
    cuda: DottedVersion | None = None
    gpus: tuple[Gpu, ...] | None = None
    findings: tuple[Finding, ...] = ()
    started: bool = False
    error: int | None = None
    said: str | None = None
    unread: tuple[tuple[str, str], ...] = ()


def read_nvml(asked: Asked | None) -> Reading:
    """NVML's answers. One GPU that fails, or one call, does not hide the rest."""
    if asked is None:
        return Reading()
    endings = tuple(ending("NVML", asked))
    start = _answer(asked, "nvmlInit")
    if start is None or start.failed:
        return Reading(
            findings=endings,
            error=start.error if start else None,
            said=_said(start) if start else None,
        )
    findings = list(endings)
    unread: dict[str, str] = {}
    version = _driver_version(_answer(asked, "nvmlSystemGetDriverVersion"), unread)
    cuda = _nvml_cuda(asked, unread, findings)
    gpus = _nvml_gpus(asked, findings)
    return Reading(
        version=version,
        cuda=cuda,
        gpus=gpus,
        findings=tuple(findings),
        started=True,
        unread=tuple(unread.items()),
    )


def read_libcuda(asked: Asked | None) -> Reading:
    """What `libcuda.so.1` answers to `cuDriverGetVersion`."""
    if asked is None:
        return Reading()
    findings = list(ending("`libcuda.so.1`", asked))
    answer = _answer(asked, "cuDriverGetVersion")
    cuda = None
    if answer and not answer.failed:
        cuda = _cuda(answer, findings)
    return Reading(cuda=cuda, findings=tuple(findings))


def read_files(files: Files) -> Reading:
    """The driver and its GPUs as far as files tell; a GPU counts where its device node is."""
    version = None
    unread = {}
    line = _KERNEL_MODULE.search(files.version or "")
    for text in (line[1] if line else "", (files.module_version or "").strip()):
        if version is None and _DRIVER.fullmatch(text):
            version = DottedVersion.parse(text)
    if version is None and files.loaded:
        unread["driver"] = "the kernel module tells no version of digits and dots"
    known = [_known_gpu(known.address, known.information) for known in files.gpus]
    gpus = [gpu for minor, gpu in known if minor is None or f"nvidia{minor}" in files.nodes]
    if not files.gpu_nodes:
        gpus = []
    elif not gpus:
        gpus = [Gpu(index=0) for _ in files.gpu_nodes]
    return Reading(
        version=version,
        gpus=tuple(replace(gpu, index=index) for index, gpu in enumerate(gpus)),
        unread=tuple(unread.items()),
    )


def read_smi(smi: Smi | None, seconds: float) -> Reading:
    """The tables of `nvidia-smi`: digits alone count, and only of a run that succeeded."""
    if smi is None:
        return Reading()
    slow = [said for said in (smi.rows, smi.banner) if said and said.code is None]
    findings = tuple(
        found("probe-timeout", f"`nvidia-smi` did not answer within {seconds:g} s")
        for _ in slow[:1]
    )
    banner = smi.banner.text if smi.banner and smi.banner.code == 0 else ""
    rows = _smi_rows(smi) if smi.rows and smi.rows.code == 0 else []
    versions = [row["driver_version"] for row in rows if _DRIVER.fullmatch(row["driver_version"])]
    versions += [line[1] for line in [_BANNER_DRIVER.search(banner)] if line]
    cuda = _BANNER_CUDA.search(banner)
    return Reading(
        version=DottedVersion.parse(versions[0]) if versions else None,
        cuda=DottedVersion.parse(cuda[1]) if cuda else None,
        gpus=tuple(_smi_gpu(row) for row in rows) or None,
        findings=findings,
    )


def ending(what: str, asked: Asked) -> list[Finding]:
    """The finding of a probe that was ended, or that ended itself."""
    at = f": `{asked.waiting}`" if asked.waiting else ""
    if asked.ended == "timeout":
        return [found("probe-timeout", f"{what} did not answer within {asked.seconds:g} s{at}")]
    if asked.ended == "crashed":
        why = asked.detail or "an unknown fault"
        return [found("probe-crashed", f"the probe of {what} ended by {why}{at}")]
    return []


def library_version(path: str | None) -> DottedVersion | None:
    """The driver's version in the name of one of its libraries."""
    named = _LIBRARY_VERSION.search(path or "")
    return DottedVersion.parse(named[1]) if named else None


def _answer(asked: Asked, call: str) -> Answer | None:
    return next((answer for answer in asked.answers if answer.call == call), None)


def _said(answer: Answer) -> str:
    return (answer.said or f"error {answer.error}").rstrip(".")


def _driver_version(answer: Answer | None, unread: dict[str, str]) -> DottedVersion | None:
    if answer is None:
        return None
    if not answer.failed and isinstance(answer.value, str) and _DRIVER.fullmatch(answer.value):
        return DottedVersion.parse(answer.value)
    unread["driver"] = _said(answer) if answer.failed else f"NVML says `{answer.value}`"
    return None


def _nvml_cuda(
    asked: Asked, unread: dict[str, str], findings: list[Finding]
) -> DottedVersion | None:
    """The CUDA version, v2's first.

    v2 asks `libcuda.so.1`; v1 answers without it, with a version that is known to work
    (nvml.h, nvmlSystemGetCudaDriverVersion).
    """
    newer = _answer(asked, "nvmlSystemGetCudaDriverVersion_v2")
    older = _answer(asked, "nvmlSystemGetCudaDriverVersion")
    if newer and newer.error == LIBRARY_NOT_FOUND:
        message = "the driver's `libcuda.so.1` is missing"
        findings.append(found("driver-no-compute-lib", message))
    for answer in (newer, older):
        if answer and not answer.failed:
            return _cuda(answer, findings)
    if last := older or newer:
        unread["cuda"] = _said(last)
    return None


def _cuda(answer: Answer, findings: list[Finding]) -> DottedVersion | None:
    number = answer.value
    if isinstance(number, int) and number in _CUDA_NUMBERS:
        return DottedVersion.parse(f"{number // 1000}.{number % 1000 // 10}")
    findings.append(found("implausible-value", f"`{answer.call}` says CUDA version `{number}`"))
    return None


def _nvml_gpus(asked: Asked, findings: list[Finding]) -> tuple[Gpu, ...] | None:
    counted = _answer(asked, "nvmlDeviceGetCount")
    if counted is None:
        return None
    if counted.failed:
        message = f"NVML counts no GPUs: {_said(counted)}"
        findings.append(found("gpus-unreadable", message))
        return None
    if not isinstance(counted.value, int) or not 0 <= counted.value <= _MOST_GPUS:
        findings.append(found("implausible-value", f"NVML counts `{counted.value}` GPUs"))
        findings.append(found("gpus-unreadable", "NVML does not count the GPUs"))
        return None
    gpus = []
    for index in range(counted.value):
        gpu, faults = _nvml_gpu(index, asked)
        if gpu.compute_capability is None and gpu.brand in _NOT_CUDA:
            continue
        gpus.append(gpu)
        findings += faults
    whole = asked.ended == "finished"
    if whole and gpus and all(gpu.compute_capability is None for gpu in gpus):
        message = f"none of {len(gpus)} GPU tells its compute capability"
        findings.append(found("gpus-unreadable", message))
    return tuple(gpus)


def _nvml_gpu(index: int, asked: Asked) -> tuple[Gpu, list[Finding]]:
    answers = {a.call: a for a in asked.answers if a.gpu == index and a.part is None}
    handle = answers.get("nvmlDeviceGetHandleByIndex")
    if handle is None or handle.failed:
        return _unusable(Gpu(index=index), handle, "cannot be used", _HANDLE_FAULTS)
    findings: list[Finding] = []
    values = {call: a.value for call, a in answers.items() if not a.failed}
    brand = values.get("nvmlDeviceGetBrand")
    pci = values.get("nvmlDeviceGetPciInfo")
    gpu = Gpu(
        index=index,
        uuid=_text(values.get("nvmlDeviceGetUUID")),
        name=_text(values.get("nvmlDeviceGetName")),
        memory_bytes=_size(values.get("nvmlDeviceGetMemoryInfo")),
        brand=_BRANDS[brand] if isinstance(brand, int) and 0 <= brand < len(_BRANDS) else None,
        pci=_pci(pci) if isinstance(pci, str) else None,
        mig=_mig(index, values, asked, findings),
    )
    told = answers.get("nvmlDeviceGetCudaComputeCapability")
    if told is None or told.failed:
        gpu, more = _unusable(gpu, told, "does not tell its compute capability")
        return gpu, [*more, *findings]
    gpu = replace(gpu, compute_capability=_capability(index, told.value, findings))
    lost = next((a for a in answers.values() if a.error in {GPU_IS_LOST, RESET_REQUIRED}), None)
    if lost:
        gpu, more = _unusable(gpu, lost, "cannot be used")
        findings += more
    return gpu, findings


def _unusable(
    gpu: Gpu, answer: Answer | None, how: str, faults: _Faults = _GPU_FAULTS
) -> tuple[Gpu, list[Finding]]:
    """The GPU with its state.

    A call that was never answered is told of by the probe's end. It, or an error that says
    nothing of the GPU, is no proof that nobody can use it.
    """
    if answer is None:
        return gpu, []
    code, status, hint = faults.get(answer.error or 0, _UNKNOWN_FAULT)
    message = f"GPU {gpu.index} {how}: {_said(answer)}"
    return replace(gpu, status=status), [found(code, message, hint)]


def _capability(index: int, value: object, findings: list[Finding]) -> ComputeCapability | None:
    match value:
        case [int(major), int(minor)] if major in CAPABILITY_MAJORS and minor in CAPABILITY_MINORS:
            return ComputeCapability(major, minor)
    shown = ".".join(map(str, value)) if isinstance(value, list | tuple) else value
    message = f"GPU {index} says that its compute capability is `{shown}`"
    findings.append(found("implausible-value", message))
    return None


def _mig(
    index: int, values: Mapping[str, Any], asked: Asked, findings: list[Finding]
) -> int | None:
    """The number of MIG devices; None where MIG is off, or they could not be counted."""
    match values.get("nvmlDeviceGetMigMode"):
        case [1, *_]:
            pass
        case _:
            return None
    if "nvmlDeviceGetMaxMigDeviceCount" not in values:
        return None
    call = "nvmlDeviceGetMigDeviceHandleByIndex"
    parts = [a for a in asked.answers if a.gpu == index and a.call == call]
    devices = sum(not part.failed for part in parts)
    if devices == 0 and any(part.error == NO_PERMISSION for part in parts):
        message = f"GPU {index} is in MIG mode, and this user may use none of its MIG devices"
        findings.append(found("no-permission", message))
    elif devices == 0 and asked.ended == "finished":
        message = f"GPU {index} is in MIG mode and has no MIG device"
        findings.append(found("no-mig-instance", message))
    return devices


def _known_gpu(address: str, information: str | None) -> tuple[int | None, Gpu]:
    """A GPU and the number of its device node, by `/proc/driver/nvidia/gpus/*/information`."""
    lines = (line.partition(":") for line in (information or "").splitlines())
    said = {key.strip(): value.strip() for key, _, value in lines}
    minor, uuid = said.get("Device Minor", ""), said.get("GPU UUID", "")
    return int(minor) if _NUMBER.fullmatch(minor) else None, Gpu(
        index=0,
        uuid=uuid if _UUID.fullmatch(uuid) else None,
        name=_text(said.get("Model")),
        pci=_pci(address),
    )


def _smi_rows(smi: Smi) -> list[dict[str, str]]:
    """The rows with every field; words, such as `No devices were found`, are no row."""
    text = smi.rows.text if smi.rows else ""
    rows = ([part.strip() for part in line.split(",")] for line in text.splitlines())
    return [
        dict(zip(smi.fields, row, strict=True))
        for row in rows
        if len(row) == len(smi.fields) and _NUMBER.fullmatch(row[0])
    ]


def _smi_gpu(row: Mapping[str, str]) -> Gpu:
    memory, uuid = row.get("memory.total", ""), row.get("uuid", "")
    name, capability = row.get("name", ""), row.get("compute_cap", "")
    try:
        parsed = plausible_capability(capability)
    except ValueError:
        parsed = None
    return Gpu(
        index=int(row["index"]),
        uuid=uuid if _UUID.fullmatch(uuid) else None,
        name=None if name.startswith("[") else _text(name),
        compute_capability=parsed,
        memory_bytes=int(memory) * _MIB if _NUMBER.fullmatch(memory) else None,
        pci=_pci(row.get("pci.bus_id", "")),
    )


def _pci(text: str) -> str | None:
    """An address as `/sys` writes it, where NVML has a domain of eight digits."""
    address = _PCI.fullmatch(text.strip())
    if not address:
        return None
    return f"{int(address[1] or '0', 16):04x}:{address[2].lower()}"


def _text(value: object) -> str | None:
    return _printable(value) or None if isinstance(value, str) else None


def _printable(text: str) -> str:
    """A text without what moves or hides others where it is shown, such as U+202E."""
    return "".join(character for character in text if character.isprintable())


def _size(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None
