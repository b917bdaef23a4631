"""What can be found on a machine, each under a stable code.

A code is a promise to users and to programs that read `--json`: it keeps its meaning. What is
`absent` is not broken; a `fault` is something that goes wrong now, and that nobody may remember.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Breaks = Literal["never", "always", "untold"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something a user should know, under a stable code."""

    code: str
    message: str
    hint: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What a code means.

    `hint` is what to do where nothing better is known. After what `breaks` always, nothing can
    be chosen: a broken driver must not become a CPU environment. What breaks `untold` does so
    only where the driver, or every compute capability, stayed unknown because of it.
    """

    means: str
    hint: str | None = None
    breaks: Breaks = "never"
    fault: bool = True


KINDS: Final[dict[str, Kind]] = {
    # Absent: there is nothing to use, which is no fault.
    "no-gpu": Kind(
        means="no sign of an NVIDIA GPU or driver",
        hint="to provision for a machine with a GPU, name it with `--target`, or with "
        "`GPUENV_DRIVER`, `GPUENV_CUDA` and `GPUENV_GPUS`",
        fault=False,
    ),
    "gpu-no-driver": Kind(
        means="an NVIDIA GPU whose driver is not installed or not loaded",
        hint="install NVIDIA's driver to use the GPU",
        fault=False,
    ),
    "driver-no-device": Kind(
        means="a loaded driver, and no GPU that may be used from here",
        hint="in a container, pass the GPUs in, such as with `--gpus all`",
        fault=False,
    ),
    # The driver.
    "driver-no-library": Kind(
        means="device nodes of GPUs, and no NVML library to ask",
        hint="in a container, ask for the `utility` capability too, as in "
        "`NVIDIA_DRIVER_CAPABILITIES=compute,utility`",
        breaks="untold",
    ),
    "driver-no-compute-lib": Kind(
        means="NVML answers, and the driver's `libcuda.so.1` is missing",
        hint="in a container, ask for the `compute` capability too, as in "
        "`NVIDIA_DRIVER_CAPABILITIES=compute,utility`",
    ),
    "version-mismatch": Kind(
        means="the driver's libraries and its kernel module are of different versions",
        hint="restart the machine, so that the updated driver is loaded",
        breaks="always",
    ),
    "nvml-failed": Kind(means="NVML does not start", breaks="always"),
    "driver-unreadable": Kind(means="a version of the driver could not be read"),
    # GPUs.
    "gpu-lost": Kind(
        means="a GPU that fell off the bus or has to be reset", hint="restart the machine"
    ),
    "no-permission": Kind(
        means="a GPU, or its MIG devices, that this user may not use",
        hint="give this user access to the GPU",
    ),
    "gpu-failed": Kind(means="a GPU that cannot be asked for another reason"),
    "gpus-unreadable": Kind(
        means="GPUs that cannot be counted or do not start, or none of which tells its compute "
        "capability",
        hint="`GPUENV_GPUS=9.0` sets it by hand",
        breaks="always",
    ),
    "gpus-unknown": Kind(
        means="a driver was named without its GPUs, so that only the driver decides",
        hint="name the compute capabilities, as in `gpus=9.0` or `GPUENV_GPUS=9.0`",
        fault=False,
    ),
    "no-mig-instance": Kind(
        means="a GPU in MIG mode without a MIG device, so that nothing can run on it",
        hint="make one with `nvidia-smi mig -cgi PROFILE -C`, or turn MIG off",
    ),
    "gpu-unknown-to-driver": Kind(
        means="a driver from before the first, or after the last, branch that drives a GPU",
        hint="install a driver of a branch that knows the GPU",
        fault=False,
    ),
    # Probes.
    "implausible-value": Kind(means="a probe said a number that cannot be, and it was dropped"),
    "probe-timeout": Kind(
        means="a probe did not answer in time",
        hint="`GPUENV_PROBE_TIMEOUT=30` waits longer; a driver that hangs needs a restart",
        breaks="untold",
    ),
    "probe-crashed": Kind(
        means="a probe ended without an answer",
        hint="`nvidia-smi` shows whether the driver works",
        breaks="untold",
    ),
    # What is as it should be, and good to know.
    "override-contradicts": Kind(
        means="an override says something else than the hardware, and is obeyed", fault=False
    ),
    "jetson": Kind(
        means="a Jetson, for whose integrated GPU not every build is made",
        hint="use the CUDA and TensorRT that JetPack brings",
        fault=False,
    ),
    "compat-active": Kind(
        means="a forward compatibility package gives the driver a newer CUDA version",
        fault=False,
    ),
    "compat-unusable": Kind(
        means="a forward compatibility package that fails on this machine", fault=False
    ),
    "newer-than-tables": Kind(
        means="a driver that is newer than the compatibility tables", fault=False
    ),
}
"""Every code, with what it means."""

BROKEN: Final = frozenset(code for code, kind in KINDS.items() if kind.breaks == "always")
"""After these nothing can be chosen."""

BROKEN_UNTOLD: Final = frozenset(code for code, kind in KINDS.items() if kind.breaks == "untold")
"""After these nothing can be chosen unless the driver and a compute capability are known."""

ABSENT: Final = frozenset({"no-gpu", "gpu-no-driver", "driver-no-device"})
"""There is nothing to use, and the CPU is the right choice."""

FAULTS: Final = frozenset(code for code, kind in KINDS.items() if kind.fault)
"""Something goes wrong now, and may be mended by the next time."""


JETSON: Final = (
    "this is a Jetson: TensorRT 11 is not made for it, and other packages need not have code "
    "for its integrated GPU"
)
"""docs.nvidia.com/deeplearning/tensorrt/11.3.0/api/migration/tensorrt-10x-to-11x-jetson.html"""


def found(code: str, message: str, hint: str | None = None) -> Finding:
    """A finding of a known code, with the code's own hint where none is given."""
    return Finding(code=code, message=message, hint=hint or KINDS[code].hint)
