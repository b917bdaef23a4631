"""NVML without a driver: the part of ``pynvml`` that asks which GPUs there are.

The names are pynvml's own (nvidia-ml-py 13.615.71), so are the types: text is
``str``, as pynvml decodes it, memory is its ctypes structure, errors are its
exceptions.
"""
# ruff: noqa: N802 - the names are those of pynvml

from __future__ import annotations

import ctypes
import threading
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

# The second code is for a configuration that allows the import at large.
import pynvml  # type: ignore[import-untyped, unused-ignore]

if TYPE_CHECKING:
    from collections.abc import Mapping

FailureKey = str | tuple[str, int]

MOST_MIG_DEVICES = 7

# Handles are pointers that nobody follows; this keeps them from being null.
_FIRST_HANDLE = 0x1000


@dataclass(frozen=True)
class SimulatedGpu:
    """One GPU.

    Attributes:
        name: The product's name.
        uuid: The identifier, ``GPU-`` and all.
        memory_bytes: Its whole memory.
        compute_capability: Major and minor.
        used_bytes: How much of the memory is taken.
        brand: NVML's number of it.
        pci: The address on the bus, as NVML writes it.
        mig: None where there is no such thing, -1 where it is off, else the
            number of MIG devices.
    """

    name: str = "NVIDIA H100 80GB HBM3"
    uuid: str = "GPU-00000000-0000-0000-0000-000000000000"
    memory_bytes: int = 85_520_809_984
    compute_capability: tuple[int, int] = (9, 0)
    used_bytes: int = 0
    brand: int = 14
    pci: str = "00000000:01:00.0"
    mig: int | None = None


@dataclass(frozen=True)
class Call:
    """One call of an NVML function."""

    function: str
    arguments: tuple[object, ...] = ()


class NvmlSimulator:
    """Stands for the module ``pynvml``.

    ``NVML_*`` constants, ``NVMLError`` and its subclasses are those of the
    real module.
    """

    NVMLError = pynvml.NVMLError

    def __init__(
        self,
        *,
        driver: str = "580.65.06",
        cuda: int = 13000,
        gpus: tuple[SimulatedGpu, ...] = (SimulatedGpu(),),
        failures: Mapping[FailureKey, int] | None = None,
    ) -> None:
        """Describe a machine.

        Args:
            driver: The driver's version.
            cuda: The newest CUDA that the driver takes, as ``1000 * major +
                10 * minor``.
            gpus: The GPUs, by index.
            failures: Codes by function, or by function and device index.
        """
        self.driver = driver
        self.cuda = cuda
        self.gpus = gpus
        self.failures: Mapping[FailureKey, int] = MappingProxyType(dict(failures or {}))
        self._lock = threading.Lock()
        self._references = 0
        self._calls: list[Call] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever pynvml has
        """Return a constant or an exception class of pynvml."""
        if name.startswith(("NVML_", "NVMLError", "nvmlMemory_v")):
            return getattr(pynvml, name)
        message = f"{type(self).__name__} has no {name}"
        raise AttributeError(message)

    @property
    def calls(self) -> list[Call]:
        """The calls so far, failed ones included."""
        with self._lock:
            return list(self._calls)

    @property
    def references(self) -> int:
        """How many nvmlInit are not yet met by an nvmlShutdown."""
        with self._lock:
            return self._references

    def count(self, function: str) -> int:
        """Return how often a function was called."""
        return sum(call.function == function for call in self.calls)

    def nvmlInit(self) -> None:
        """Open NVML; each call wants its nvmlShutdown."""
        self._enter("nvmlInit", initialises=True)

    def nvmlInitWithFlags(self, flags: int) -> None:
        """Open NVML; failures of nvmlInit, which calls it, hold here too."""
        self._enter("nvmlInitWithFlags", flags, initialises=True)

    def nvmlShutdown(self) -> None:
        """Close NVML."""
        self._enter("nvmlShutdown")
        with self._lock:
            self._references -= 1

    def nvmlSystemGetDriverVersion(self) -> str:
        """Return the driver's version."""
        self._enter("nvmlSystemGetDriverVersion")
        return self.driver

    def nvmlSystemGetCudaDriverVersion(self) -> int:
        """Return the CUDA version of the driver.

        The real one falls back on a version known to NVML where libcuda is
        not to be found; the second version of it fails then.
        """
        self._enter("nvmlSystemGetCudaDriverVersion")
        return self.cuda

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        """Return the CUDA version of the driver."""
        self._enter("nvmlSystemGetCudaDriverVersion_v2")
        return self.cuda

    def nvmlDeviceGetCount(self) -> int:
        """Return the number of GPUs."""
        self._enter("nvmlDeviceGetCount")
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:  # noqa: ANN401 - as untyped as pynvml
        """Return an opaque handle, a pointer as pynvml's."""
        self._enter("nvmlDeviceGetHandleByIndex", index, device=index)
        if not 0 <= index < len(self.gpus):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        address = ctypes.c_void_p(_FIRST_HANDLE + index)
        return ctypes.cast(address, pynvml.c_nvmlDevice_t)

    def nvmlDeviceGetName(self, handle: Any) -> str:  # noqa: ANN401 - as untyped as pynvml
        """Return the product's name."""
        return self._device("nvmlDeviceGetName", handle).name

    def nvmlDeviceGetUUID(self, handle: Any) -> str:  # noqa: ANN401 - as untyped as pynvml
        """Return the GPU's identifier."""
        return self._device("nvmlDeviceGetUUID", handle).uuid

    def nvmlDeviceGetMemoryInfo(
        self,
        handle: Any,  # noqa: ANN401 - as untyped as pynvml
        version: int | None = None,
    ) -> Any:  # noqa: ANN401 - as untyped as pynvml
        """Return pynvml's structure with ``total``, ``free`` and ``used``."""
        gpu = self._device("nvmlDeviceGetMemoryInfo", handle)
        memory = pynvml.c_nvmlMemory_v2_t() if version else pynvml.c_nvmlMemory_t()
        if version:
            memory.version = version
        memory.total = gpu.memory_bytes
        memory.used = gpu.used_bytes
        memory.free = gpu.memory_bytes - gpu.used_bytes
        return memory

    def nvmlDeviceGetCudaComputeCapability(
        self,
        handle: Any,  # noqa: ANN401 - as untyped as pynvml
    ) -> tuple[int, int]:
        """Return major and minor of the compute capability."""
        return self._device("nvmlDeviceGetCudaComputeCapability", handle).compute_capability

    def nvmlDeviceGetBrand(self, handle: Any) -> int:  # noqa: ANN401 - as untyped as pynvml
        """Return the number of the brand."""
        return self._device("nvmlDeviceGetBrand", handle).brand

    def nvmlDeviceGetPciInfo(self, handle: Any) -> Any:  # noqa: ANN401 - as untyped as pynvml
        """Return pynvml's structure with ``busId``."""
        gpu = self._device("nvmlDeviceGetPciInfo", handle)
        return pynvml.nvmlPciInfo_t(busId=gpu.pci.encode())

    def nvmlDeviceGetMigMode(self, device: Any) -> list[int]:  # noqa: ANN401 - as untyped as pynvml
        """Return the current and the pending mode."""
        gpu = self._device("nvmlDeviceGetMigMode", device)
        if gpu.mig is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [int(gpu.mig >= 0)] * 2

    def nvmlDeviceGetMaxMigDeviceCount(self, device: Any) -> int:  # noqa: ANN401 - see above
        """Return how many MIG devices there may be."""
        self._device("nvmlDeviceGetMaxMigDeviceCount", device)
        return MOST_MIG_DEVICES

    def nvmlDeviceGetMigDeviceHandleByIndex(
        self,
        device: Any,  # noqa: ANN401 - as untyped as pynvml
        index: int,
    ) -> Any:  # noqa: ANN401 - as untyped as pynvml
        """Return a handle of a MIG device."""
        gpu = self._device("nvmlDeviceGetMigDeviceHandleByIndex", device)
        if index >= (gpu.mig or 0):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return device

    def _device(self, function: str, handle: object) -> SimulatedGpu:
        value = ctypes.cast(handle, ctypes.c_void_p).value  # type: ignore[arg-type]
        index = (value or 0) - _FIRST_HANDLE
        self._enter(function, index, device=index)
        if not 0 <= index < len(self.gpus):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return self.gpus[index]

    def _enter(
        self,
        function: str,
        *arguments: object,
        device: int | None = None,
        initialises: bool = False,
    ) -> None:
        keys: list[FailureKey] = [] if device is None else [(function, device)]
        keys += ["nvmlInit", function] if initialises else [function]
        with self._lock:
            self._calls.append(Call(function, arguments))
            for key in keys:
                if key in self.failures:
                    raise pynvml.NVMLError(self.failures[key])
            if initialises:
                self._references += 1
            elif self._references == 0:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
