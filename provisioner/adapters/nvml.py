"""The NVIDIA driver and its GPUs, asked through NVML (nvidia-ml-py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from provisioner.core.host import Driver, Finding, Gpu
from provisioner.core.version import ComputeCapability, DottedVersion

ABSENT_CODES: Final = ("NVML_ERROR_LIBRARY_NOT_FOUND", "NVML_ERROR_DRIVER_NOT_LOADED")
"""The two failures that mean "no driver here"; every other one is a finding."""

_INIT_FINDINGS: Final = {
    "NVML_ERROR_LIB_RM_VERSION_MISMATCH": (
        "version-mismatch",
        "restart the machine, so that the updated driver is loaded",
    ),
    "NVML_ERROR_NO_PERMISSION": ("nvml-failed", "run as a user who may use the GPU"),
}
_GPU_FINDINGS: Final = {
    "NVML_ERROR_GPU_IS_LOST": ("gpu-lost", "restart the machine"),
    "NVML_ERROR_RESET_REQUIRED": ("gpu-lost", "reset the GPU with `nvidia-smi --gpu-reset`"),
    "NVML_ERROR_NO_PERMISSION": ("no-permission", "give this user access to the GPU"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What NVML said."""

    driver: Driver | None = None
    gpus: tuple[Gpu, ...] = ()
    findings: tuple[Finding, ...] = ()


def load() -> Any:  # noqa: ANN401 - a module, or a simulator with the same functions
    """The real NVML; nothing is asked of the driver yet."""
    import pynvml

    return pynvml


def read(nvml: Any) -> Reading:  # noqa: ANN401 - see load
    """Ask for the driver's versions and every GPU.

    `nvml` is `pynvml`, or something with the same functions. One GPU that fails, or one
    call, does not hide the rest.
    """
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        if error.value in {getattr(nvml, name) for name in ABSENT_CODES}:
            return Reading()
        code, hint = _known(nvml, error, _INIT_FINDINGS, "nvml-failed")
        return Reading(
            findings=(
                Finding(code=code, message=f"NVML does not start: {_said(error)}", hint=hint),
            )
        )
    try:
        return _read_started(nvml)
    finally:
        _quietly(nvml, nvml.nvmlShutdown)


def _read_started(nvml: Any) -> Reading:  # noqa: ANN401
    findings: list[Finding] = []
    version = cuda = None
    try:
        version = DottedVersion.parse(_text(nvml.nvmlSystemGetDriverVersion()))
    except (nvml.NVMLError, ValueError) as error:
        findings.append(
            Finding(code="driver-unreadable", message=f"no driver version: {_said(error)}")
        )
    try:
        number, finding = _cuda(nvml)
        cuda = DottedVersion.parse(f"{number // 1000}.{number % 1000 // 10}")
        findings += [finding] if finding else []
    except nvml.NVMLError as error:
        findings.append(
            Finding(code="driver-unreadable", message=f"no CUDA driver version: {_said(error)}")
        )
    gpus: tuple[Gpu, ...] = ()
    try:
        count = nvml.nvmlDeviceGetCount()
    except nvml.NVMLError as error:
        findings.append(
            Finding(code="gpus-unreadable", message=f"NVML counts no GPUs: {_said(error)}")
        )
    else:
        gpus = tuple(_gpu(nvml, index, findings) for index in range(count))
        if gpus and all(gpu.compute_capability is None for gpu in gpus):
            findings.append(
                Finding(
                    code="gpus-unreadable",
                    message=f"none of {len(gpus)} GPU tells its compute capability",
                    hint="`GPUENV_GPUS=9.0` sets it by hand",
                )
            )
    return Reading(driver=Driver(version=version, cuda=cuda), gpus=gpus, findings=tuple(findings))


def _cuda(nvml: Any) -> tuple[int, Finding | None]:  # noqa: ANN401
    """CUDA version as NVML's number (12080 for 12.8), v2 first.

    v2 asks `libcuda.so.1`; v1 answers without it, with a version that is known to work
    (nvml.h, nvmlSystemGetCudaDriverVersion).
    """
    try:
        return int(nvml.nvmlSystemGetCudaDriverVersion_v2()), None
    except nvml.NVMLError as error:
        number = int(nvml.nvmlSystemGetCudaDriverVersion())
        if error.value != nvml.NVML_ERROR_LIBRARY_NOT_FOUND:
            return number, None
        return number, Finding(
            code="driver-no-compute-lib",
            message="the driver's `libcuda.so.1` is missing",
            hint="in a container, ask for the `compute` capability too",
        )


def _gpu(nvml: Any, index: int, findings: list[Finding]) -> Gpu:  # noqa: ANN401
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
    except nvml.NVMLError as error:
        code, hint = _known(nvml, error, _GPU_FINDINGS, "gpu-failed")
        findings.append(
            Finding(code=code, message=f"GPU {index} cannot be used: {_said(error)}", hint=hint)
        )
        return Gpu(index=index)
    capability = None
    try:
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
        capability = ComputeCapability(major, minor)
    except nvml.NVMLError as error:
        code, hint = _known(nvml, error, _GPU_FINDINGS, "gpu-failed")
        findings.append(
            Finding(
                code=code,
                message=f"GPU {index} does not tell its compute capability: {_said(error)}",
                hint=hint,
            )
        )
    uuid = _quietly(nvml, nvml.nvmlDeviceGetUUID, handle)
    name = _quietly(nvml, nvml.nvmlDeviceGetName, handle)
    memory = _quietly(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    return Gpu(
        index=index,
        uuid=None if uuid is None else _text(uuid),
        name=None if name is None else _text(name),
        compute_capability=capability,
        memory_bytes=None if memory is None else int(memory.total),
    )


def _quietly(nvml: Any, call: Any, *arguments: object) -> Any:  # noqa: ANN401
    """A fact that nothing depends on; None where it is not to be had."""
    try:
        return call(*arguments)
    except nvml.NVMLError:
        return None


def _known(
    nvml: Any,  # noqa: ANN401
    error: Any,  # noqa: ANN401
    table: dict[str, tuple[str, str]],
    otherwise: str,
) -> tuple[str, str | None]:
    for name, known in table.items():
        if error.value == getattr(nvml, name):
            return known
    return otherwise, None


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _said(error: Exception) -> str:
    return str(error).rstrip(".")
