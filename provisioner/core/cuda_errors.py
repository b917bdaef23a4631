"""What errors of the CUDA runtime mean for whoever meets them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True, slots=True)
class CudaError:
    """An error of the CUDA runtime: its number, what libraries say of it, and what to do.

    `says` is what `cudaGetErrorString` and PyTorch's messages have in common.
    """

    number: int
    says: str
    hint: str


INSUFFICIENT_DRIVER: Final = 35
NO_DEVICE: Final = 100
NO_KERNEL_IMAGE: Final = 209

_RESTART: Final = "restart the machine, so that the updated driver is loaded"

# Numbers, names and meanings are those of `cudaError` in CUDA's `driver_types.h` (13.0), texts
# those of `cudaGetErrorString`; "driver on your system" and "No CUDA GPUs" are PyTorch's
# (torch/cuda/__init__.py and c10/cuda/CUDAFunctions.cpp).
KNOWN: Final = (
    CudaError(
        number=2,
        says="out of memory",
        hint="another program has the GPU's memory; `nvidia-smi` shows which",
    ),
    CudaError(
        number=34,
        says="stub library",
        hint="take the folder `stubs` of a CUDA toolkit off `LD_LIBRARY_PATH`",
    ),
    CudaError(
        number=INSUFFICIENT_DRIVER,
        says=r"driver version is insufficient|driver on your system is too old",
        hint="install a newer driver, or a profile that this one runs; `gpuenv select` shows them",
    ),
    CudaError(
        number=46,
        says="busy or unavailable",
        hint="another program has the GPU for itself, or it has no MIG device; `nvidia-smi` "
        "shows which",
    ),
    CudaError(
        number=NO_DEVICE,
        says=r"no CUDA-capable device|No CUDA GPUs are available",
        hint="in a container, pass the GPUs in, such as with `--gpus all`",
    ),
    CudaError(
        number=NO_KERNEL_IMAGE,
        says="no kernel image is available",
        hint="take a profile with code for this GPU; `gpuenv select` shows them",
    ),
    CudaError(
        number=222,
        says="unsupported toolchain",
        hint="the code is for a newer driver: install one, or a profile that this one runs; "
        "`gpuenv select` shows them",
    ),
    CudaError(
        number=802,
        says="system not yet initialized",
        hint="start NVIDIA's Fabric Manager (`systemctl start nvidia-fabricmanager`), in the "
        "version of the driver",
    ),
    CudaError(number=803, says="unsupported display driver / cuda driver", hint=_RESTART),
    CudaError(
        number=804,
        says="forward compatibility was attempted",
        hint="NVIDIA's forward compatibility package does not work on this GPU: take its "
        "`libcuda.so.1` off the library path (`LD_LIBRARY_PATH`, `/etc/ld.so.conf.d`)",
    ),
    CudaError(
        number=999,
        says=r"unknown error",
        hint="load the kernel module `nvidia_uvm` (`nvidia-modprobe -u`), or restart the machine",
    ),
)
_NUMBER: Final = re.compile(r"\berror(?: code)?: (\d+)\b")
"""As TensorRT says it: `CUDA initialization failure with error: 35`."""


def known_error(number: int | None, said: str | None) -> CudaError | None:
    """The error that a number stands for, or, where no number is told, a library's words."""
    if number is None and said and (told := _NUMBER.search(said)):
        number = int(told.group(1))
    for error in KNOWN:
        if error.number == number:
            return error
        if number is None and said and re.search(error.says, said, re.IGNORECASE):
            return error
    return None
