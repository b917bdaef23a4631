"""The simulators of NVML, the compiled one under the real pynvml."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pynvml  # type: ignore[import-untyped, unused-ignore]
import pytest

from tests.simulators.environment import clean_environment
from tests.simulators.libnvml import NoCompilerError, build_libnvml, libnvml_environment
from tests.simulators.nvml import Call, NvmlSimulator, SimulatedGpu

if TYPE_CHECKING:
    from pathlib import Path

GPUS = (
    SimulatedGpu("NVIDIA H100", "GPU-1", 85_520_809_984, (9, 0), used_bytes=1024),
    SimulatedGpu("NVIDIA RTX PRO 6000", "GPU-2", 102_641_958_912, (12, 0)),
)

PROBE = """
import json, pynvml as n

def attempt(function, *arguments):
    try:
        value = function(*arguments)
    except n.NVMLError as error:
        return [type(error).__name__, error.value, str(error)]
    if isinstance(value, n.c_nvmlMemory_t | n.c_nvmlMemory_v2_t):
        return [value.total, value.free, value.used]
    return value

found = {"init": attempt(n.nvmlInit)}
for name in ("SystemGetDriverVersion", "SystemGetCudaDriverVersion",
             "SystemGetCudaDriverVersion_v2", "DeviceGetCount"):
    found[name] = attempt(getattr(n, "nvml" + name))
found["gpus"] = []
for index in range(3):
    try:
        handle = n.nvmlDeviceGetHandleByIndex(index)
    except n.NVMLError as error:
        found["gpus"].append(type(error).__name__)
        continue
    found["gpus"].append([
        attempt(n.nvmlDeviceGetName, handle),
        attempt(n.nvmlDeviceGetUUID, handle),
        attempt(n.nvmlDeviceGetMemoryInfo, handle),
        attempt(n.nvmlDeviceGetMemoryInfo, handle, n.nvmlMemory_v2),
        attempt(n.nvmlDeviceGetCudaComputeCapability, handle),
    ])
found["shutdown"] = attempt(n.nvmlShutdown)
found["after"] = attempt(n.nvmlDeviceGetCount)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled stand-in."""
    try:
        return build_libnvml(tmp_path_factory.mktemp("libnvml"))
    except NoCompilerError as error:
        pytest.skip(str(error))


def probe(home: Path, variables: dict[str, str]) -> dict[str, Any]:
    """Return what the real pynvml finds in a child process."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        env=clean_environment(home, **variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_functions_are_those_of_pynvml() -> None:
    simulator = NvmlSimulator()
    names = [name for name in dir(NvmlSimulator) if name.startswith("nvml")]
    assert len(names) == 17
    for name in names:
        real = inspect.signature(getattr(pynvml, name)).parameters
        simulated = inspect.signature(getattr(simulator, name)).parameters
        assert list(simulated) == list(real), name
        defaults = [parameter.default for parameter in simulated.values()]
        assert defaults == [parameter.default for parameter in real.values()], name
    assert simulator.NVML_ERROR_GPU_IS_LOST == 15
    assert simulator.NVMLError_GpuIsLost is pynvml.NVMLError_GpuIsLost
    with pytest.raises(AttributeError):
        _ = simulator.nvmlDeviceGetSerial


def test_simulated_gpus() -> None:
    nvml = NvmlSimulator(driver="570.10", cuda=12080, gpus=GPUS)
    nvml.nvmlInit()
    assert nvml.nvmlSystemGetDriverVersion() == "570.10"
    assert nvml.nvmlSystemGetCudaDriverVersion() == 12080
    assert nvml.nvmlSystemGetCudaDriverVersion_v2() == 12080
    assert nvml.nvmlDeviceGetCount() == 2
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    assert isinstance(handle, pynvml.c_nvmlDevice_t)
    assert nvml.nvmlDeviceGetName(handle) == "NVIDIA H100"
    assert nvml.nvmlDeviceGetUUID(handle) == "GPU-1"
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    assert isinstance(memory, pynvml.c_nvmlMemory_t)
    assert (memory.total, memory.used) == (85_520_809_984, 1024)
    assert memory.free == memory.total - memory.used
    newer = nvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    assert isinstance(newer, pynvml.c_nvmlMemory_v2_t)
    assert nvml.nvmlDeviceGetCudaComputeCapability(handle) == (9, 0)
    nvml.nvmlShutdown()
    assert nvml.references == 0
    assert nvml.calls[-1] == Call("nvmlShutdown")
    assert Call("nvmlDeviceGetName", (0,)) in nvml.calls
    assert nvml.count("nvmlDeviceGetMemoryInfo") == 2


def test_simulated_failures() -> None:
    nvml = NvmlSimulator(
        gpus=GPUS,
        failures={
            ("nvmlDeviceGetHandleByIndex", 1): pynvml.NVML_ERROR_GPU_IS_LOST,
            "nvmlDeviceGetUUID": pynvml.NVML_ERROR_NOT_SUPPORTED,
        },
    )
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        nvml.nvmlDeviceGetCount()
    nvml.nvmlInit()
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    with pytest.raises(pynvml.NVMLError_GpuIsLost):
        nvml.nvmlDeviceGetHandleByIndex(1)
    with pytest.raises(pynvml.NVMLError_InvalidArgument):
        nvml.nvmlDeviceGetHandleByIndex(2)
    with pytest.raises(nvml.NVMLError_NotSupported, match="Not Supported"):
        nvml.nvmlDeviceGetUUID(handle)
    nvml.nvmlShutdown()
    with pytest.raises(pynvml.NVMLError_Uninitialized):
        nvml.nvmlShutdown()


def test_nvml_that_does_not_open() -> None:
    nvml = NvmlSimulator(failures={"nvmlInit": pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH})
    for start in (nvml.nvmlInit, lambda: nvml.nvmlInitWithFlags(0)):
        with pytest.raises(pynvml.NVMLError_LibRmVersionMismatch, match="mismatch"):
            start()
    assert nvml.references == 0


def test_pynvml_sees_the_compiled_gpus(library: Path, tmp_path: Path) -> None:
    described = libnvml_environment(library, driver="570.10", cuda=12080, gpus=GPUS)
    memories = [[gpu.memory_bytes, gpu.memory_bytes, 0] for gpu in GPUS]
    assert probe(tmp_path, described) == {
        "init": None,
        "SystemGetDriverVersion": "570.10",
        "SystemGetCudaDriverVersion": 12080,
        "SystemGetCudaDriverVersion_v2": 12080,
        "DeviceGetCount": 2,
        "gpus": [
            ["NVIDIA H100", "GPU-1", memories[0], memories[0], [9, 0]],
            ["NVIDIA RTX PRO 6000", "GPU-2", memories[1], memories[1], [12, 0]],
            "NVMLError_InvalidArgument",
        ],
        "shutdown": None,
        "after": ["NVMLError_Uninitialized", 1, "Uninitialized"],
    }


def test_pynvml_sees_no_gpu(library: Path, tmp_path: Path) -> None:
    found = probe(tmp_path, {"LD_LIBRARY_PATH": str(library.parent)})
    assert (found["DeviceGetCount"], found["SystemGetCudaDriverVersion_v2"]) == (0, 13000)


def test_compiled_failures(library: Path, tmp_path: Path) -> None:
    variables = libnvml_environment(
        library,
        gpus=GPUS,
        failures={
            ("nvmlDeviceGetHandleByIndex", 1): pynvml.NVML_ERROR_GPU_IS_LOST,
            "nvmlDeviceGetUUID": pynvml.NVML_ERROR_NOT_SUPPORTED,
        },
    )
    found = probe(tmp_path, variables)
    assert found["gpus"][0][1] == ["NVMLError_NotSupported", 3, "Not Supported"]
    assert found["gpus"][1] == "NVMLError_GpuIsLost"


def test_compiled_nvml_that_does_not_open(library: Path, tmp_path: Path) -> None:
    found = probe(tmp_path, libnvml_environment(library, gpus=GPUS, init_error=18))
    message = "RM has detected an NVML/RM version mismatch."
    assert found["init"] == ["NVMLError_LibRmVersionMismatch", 18, message]
    assert found["DeviceGetCount"][0] == "NVMLError_Uninitialized"


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoCompilerError, match="no C compiler"):
        build_libnvml(tmp_path)
