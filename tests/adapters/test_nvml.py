"""The driver and the GPUs, through both simulators of NVML and on a real machine."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provisioner.adapters.nvml import ask
from provisioner.core.detection import combine
from provisioner.core.evidence import Asked, Evidence, Files, read_lines
from provisioner.core.host import BROKEN, Host
from tests.core.examples import LINUX
from tests.simulators.environment import clean_environment
from tests.simulators.libnvml import NoCompilerError, build_libnvml, libnvml_environment
from tests.simulators.nvml import FailureKey, NvmlSimulator, SimulatedGpu

ROOT = Path(__file__).parents[2]
GPUS = (
    SimulatedGpu("NVIDIA H100", "GPU-1", 85_520_809_984, (9, 0), pci="00000000:01:00.0"),
    SimulatedGpu("NVIDIA RTX PRO 6000", "GPU-2", 102_641_958_912, (12, 0), pci="00000000:02:00.0"),
)
NOT_SUPPORTED, PERMISSION, LIBRARY_NOT_FOUND, FUNCTION_NOT_FOUND, GPU_IS_LOST = 3, 4, 12, 13, 15


def failing(failures: dict[FailureKey, int]) -> NvmlSimulator:
    """A machine with two GPUs where some calls fail."""
    return NvmlSimulator(gpus=GPUS, failures=failures)


def asked(nvml: NvmlSimulator) -> Asked:
    """What the probe would have written, read back."""
    lines: list[dict[str, Any]] = []
    ask(nvml, lines.append)
    return read_lines(json.loads(json.dumps(lines)))


def read(nvml: NvmlSimulator) -> Host:
    """The host that is made of NVML's answers alone."""
    return combine(Evidence(platform=LINUX, files=Files(), nvml=asked(nvml)))


def codes(reading: Host) -> list[str]:
    """The codes of what was found."""
    return [finding.code for finding in reading.findings]


def capabilities(reading: Host) -> list[str | None]:
    """The compute capability of each GPU, as it is written."""
    told = (gpu.compute_capability for gpu in reading.gpus)
    return [None if one is None else str(one) for one in told]


def detect(folder: Path, **variables: str) -> dict[str, Any]:
    """What `gpuenv detect --json` answers in a child process."""
    done = subprocess.run(
        [sys.executable, "-m", "provisioner", "detect", "--json"],
        cwd=ROOT,
        env=clean_environment(folder, XDG_CACHE_HOME=str(folder / "cache"), **variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["status"] == "ok"
    data: dict[str, Any] = answer["data"]
    return data


def test_every_fact_of_a_healthy_machine_is_read() -> None:
    nvml = NvmlSimulator(driver="580.65.06", cuda=13000, gpus=GPUS)

    reading = read(nvml)

    assert reading.driver is not None
    assert (str(reading.driver.version), str(reading.driver.cuda)) == ("580.65.06", "13.0")
    assert [
        (gpu.index, gpu.name, gpu.uuid, gpu.memory_bytes, str(gpu.compute_capability))
        for gpu in reading.gpus
    ] == [
        (0, "NVIDIA H100", "GPU-1", 85_520_809_984, "9.0"),
        (1, "NVIDIA RTX PRO 6000", "GPU-2", 102_641_958_912, "12.0"),
    ]
    assert [(gpu.brand, gpu.pci, gpu.mig, gpu.status) for gpu in reading.gpus] == [
        ("nvidia", "0000:01:00.0", None, "ok"),
        ("nvidia", "0000:02:00.0", None, "ok"),
    ]
    assert reading.findings == ()


@pytest.mark.parametrize(
    ("number", "version"),
    [(11080, "11.8"), (12000, "12.0"), (12080, "12.8"), (12120, "12.12"), (13000, "13.0")],
)
def test_the_number_of_nvml_becomes_a_cuda_version(number: int, version: str) -> None:
    driver = read(NvmlSimulator(cuda=number)).driver

    assert driver is not None
    assert str(driver.cuda) == version


def test_a_trailing_zero_of_the_drivers_version_stays_as_the_driver_spells_it() -> None:
    driver = read(NvmlSimulator(driver="570.00.10")).driver

    assert driver is not None
    assert str(driver.version) == "570.00.10"


def test_the_first_version_of_the_cuda_question_is_not_asked_where_the_second_answers() -> None:
    nvml = NvmlSimulator()

    read(nvml)

    assert nvml.count("nvmlSystemGetCudaDriverVersion_v2") == 1
    assert nvml.count("nvmlSystemGetCudaDriverVersion") == 0


def test_an_old_library_without_the_second_version_is_no_finding() -> None:
    reading = read(failing({"nvmlSystemGetCudaDriverVersion_v2": FUNCTION_NOT_FOUND}))

    assert reading.driver is not None
    assert str(reading.driver.cuda) == "13.0"
    assert reading.findings == ()


def test_a_missing_libcuda_is_a_finding_beside_the_version_that_nvml_knows() -> None:
    reading = read(failing({"nvmlSystemGetCudaDriverVersion_v2": LIBRARY_NOT_FOUND}))

    assert reading.driver is not None
    assert str(reading.driver.cuda) == "13.0"
    assert codes(reading) == ["driver-no-compute-lib"]
    assert reading.findings[0].hint is not None


def test_a_driver_that_tells_no_cuda_version_keeps_its_own_and_its_gpus() -> None:
    reading = read(
        failing({"nvmlSystemGetCudaDriverVersion_v2": 999, "nvmlSystemGetCudaDriverVersion": 999})
    )

    assert reading.driver is not None
    assert (str(reading.driver.version), reading.driver.cuda) == ("580.65.06", None)
    assert capabilities(reading) == ["9.0", "12.0"]
    assert codes(reading) == ["driver-unreadable"]


@pytest.mark.parametrize("failures", [{"nvmlSystemGetDriverVersion": 999}, {}])
def test_a_driver_version_that_cannot_be_read_hides_nothing_else(
    failures: dict[FailureKey, int],
) -> None:
    reading = read(NvmlSimulator(driver="no version", gpus=GPUS, failures=failures))

    assert reading.driver is not None
    assert (reading.driver.version, str(reading.driver.cuda)) == (None, "13.0")
    assert capabilities(reading) == ["9.0", "12.0"]
    assert codes(reading) == ["driver-unreadable"]


@pytest.mark.parametrize("code", [LIBRARY_NOT_FOUND, 9])
def test_no_library_and_no_loaded_driver_mean_absent(code: int) -> None:
    reading = read(failing({"nvmlInit": code}))

    assert (reading.driver, reading.gpus) == (None, ())
    assert codes(reading) == ["no-gpu"]


@pytest.mark.parametrize(
    ("code", "finding"),
    [
        (1, "nvml-failed"),
        (2, "nvml-failed"),
        (PERMISSION, "nvml-failed"),
        (7, "nvml-failed"),
        (FUNCTION_NOT_FOUND, "nvml-failed"),
        (GPU_IS_LOST, "nvml-failed"),
        (17, "nvml-failed"),
        (18, "version-mismatch"),
        (999, "nvml-failed"),
    ],
)
def test_every_other_failure_to_start_is_a_finding_that_breaks_the_host(
    code: int, finding: str
) -> None:
    reading = read(failing({"nvmlInit": code}))

    assert (reading.driver, reading.gpus) == (None, ())
    assert codes(reading) == [finding]
    assert finding in BROKEN


@pytest.mark.parametrize("code", [PERMISSION, 18])
def test_a_failure_to_start_that_a_user_can_mend_has_a_hint(code: int) -> None:
    (finding,) = read(failing({"nvmlInit": code})).findings

    assert finding.hint


def test_messages_end_without_a_full_stop() -> None:
    (finding,) = read(failing({"nvmlInit": 18})).findings

    assert not finding.message.endswith(".")


def test_one_lost_gpu_does_not_hide_the_other() -> None:
    reading = read(failing({("nvmlDeviceGetHandleByIndex", 0): GPU_IS_LOST}))

    assert capabilities(reading) == [None, "12.0"]
    assert [gpu.index for gpu in reading.gpus] == [0, 1]
    assert codes(reading) == ["gpu-lost"]
    assert "GPU 0" in reading.findings[0].message


@pytest.mark.parametrize(
    ("code", "finding"),
    [
        (PERMISSION, "no-permission"),
        (GPU_IS_LOST, "gpu-lost"),
        (16, "gpu-lost"),
        (999, "gpu-failed"),
    ],
)
def test_a_gpu_without_compute_capability_keeps_its_name(code: int, finding: str) -> None:
    reading = read(failing({("nvmlDeviceGetCudaComputeCapability", 1): code}))

    assert capabilities(reading) == ["9.0", None]
    assert reading.gpus[1].name == "NVIDIA RTX PRO 6000"
    assert codes(reading) == [finding]


@pytest.mark.parametrize(
    ("function", "field"),
    [
        ("nvmlDeviceGetName", "name"),
        ("nvmlDeviceGetUUID", "uuid"),
        ("nvmlDeviceGetMemoryInfo", "memory_bytes"),
    ],
)
def test_a_fact_that_decides_nothing_may_be_missing_without_a_word(
    function: str, field: str
) -> None:
    reading = read(failing({(function, 0): 999}))

    assert getattr(reading.gpus[0], field) is None
    assert getattr(reading.gpus[1], field) is not None
    assert capabilities(reading) == ["9.0", "12.0"]
    assert reading.findings == ()


@pytest.mark.parametrize(
    "function", ["nvmlDeviceGetHandleByIndex", "nvmlDeviceGetCudaComputeCapability"]
)
def test_gpus_of_which_none_can_be_read_are_not_taken_for_none(function: str) -> None:
    reading = read(failing({function: GPU_IS_LOST}))

    assert codes(reading) == ["gpu-lost", "gpu-lost", "gpus-unreadable"]
    assert len(reading.gpus) == 2
    assert "gpus-unreadable" in BROKEN


def test_gpus_that_cannot_be_counted_are_not_taken_for_none() -> None:
    reading = read(failing({"nvmlDeviceGetCount": 999}))

    assert codes(reading) == ["gpus-unreadable"]
    assert reading.driver is not None


def test_a_driver_without_gpus_is_whole() -> None:
    reading = read(NvmlSimulator(gpus=()))

    assert reading.driver is not None
    assert reading.gpus == ()
    assert codes(reading) == ["driver-no-device"]


def test_every_code_that_pynvml_has_no_name_for_is_survived() -> None:
    for code in (19, *range(21, 31), 998):
        reading = read(failing({("nvmlDeviceGetHandleByIndex", 0): code}))
        assert codes(reading) == ["gpu-failed"], code
        assert capabilities(reading) == [None, "12.0"]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        *((PERMISSION, "no-permission"), (GPU_IS_LOST, "lost"), (16, "lost")),
        *((14, "failed"), (999, "ok")),
    ],
)
def test_a_gpu_that_cannot_be_used_says_so_in_its_status(code: int, status: str) -> None:
    reading = read(failing({("nvmlDeviceGetHandleByIndex", 1): code}))

    assert [gpu.status for gpu in reading.gpus] == ["ok", status]


def test_a_gpu_that_is_lost_while_it_is_asked_keeps_what_it_said() -> None:
    reading = read(failing({("nvmlDeviceGetMemoryInfo", 1): GPU_IS_LOST}))

    assert capabilities(reading) == ["9.0", "12.0"]
    assert reading.gpus[1].status == "lost"
    assert codes(reading) == ["gpu-lost"]


def test_a_question_that_is_not_supported_makes_no_gpu_unusable() -> None:
    function = "nvmlDeviceGetCudaComputeCapability"
    reading = read(failing({(function, 1): NOT_SUPPORTED}))

    assert [gpu.status for gpu in reading.gpus] == ["ok", "ok"]
    assert codes(reading) == ["gpu-failed"]
    assert reading.findings[0].hint is not None
    assert "GPUENV_GPUS" in reading.findings[0].hint


@pytest.mark.parametrize(
    ("number", "name"),
    [(0, "unknown"), (2, "tesla"), (5, "geforce"), (12, "quadrortx"), (13, "nvidiartx")],
)
def test_brands_are_named_as_nvidias_images_name_them(number: int, name: str) -> None:
    (gpu,) = read(NvmlSimulator(gpus=(SimulatedGpu(brand=number),))).gpus

    assert gpu.brand == name


def test_a_brand_that_is_not_known_yet_is_left_out() -> None:
    (gpu,) = read(NvmlSimulator(gpus=(SimulatedGpu(brand=77),))).gpus

    assert gpu.brand is None


def test_a_device_that_is_no_cuda_gpu_does_not_count() -> None:
    npu = SimulatedGpu("NVIDIA NPU", "GPU-9", brand=19)
    call = "nvmlDeviceGetCudaComputeCapability"
    nvml = NvmlSimulator(gpus=(*GPUS, npu), failures={(call, 2): NOT_SUPPORTED})

    reading = read(nvml)

    assert capabilities(reading) == ["9.0", "12.0"]
    assert reading.findings == ()


@pytest.mark.parametrize(("mig", "counted"), [(None, None), (-1, None), (1, 1), (7, 7)])
def test_mig_devices_are_counted_where_mig_is_on(mig: int | None, counted: int | None) -> None:
    reading = read(NvmlSimulator(gpus=(SimulatedGpu(mig=mig),)))

    assert [gpu.mig for gpu in reading.gpus] == [counted]
    assert capabilities(reading) == ["9.0"]
    assert reading.findings == ()


def test_a_gpu_in_mig_mode_without_a_device_is_found() -> None:
    reading = read(NvmlSimulator(gpus=(SimulatedGpu(mig=0), SimulatedGpu(mig=2))))

    assert [gpu.mig for gpu in reading.gpus] == [0, 2]
    assert codes(reading) == ["no-mig-instance"]
    assert "GPU 0" in reading.findings[0].message


def test_mig_devices_that_this_user_may_not_use_are_not_missing() -> None:
    call = "nvmlDeviceGetMigDeviceHandleByIndex"
    nvml = NvmlSimulator(gpus=(SimulatedGpu(mig=3),), failures={call: PERMISSION})

    assert codes(read(nvml)) == ["no-permission"]


def test_a_mig_slice_whose_parent_hides_its_memory_is_whole() -> None:
    call = "nvmlDeviceGetMemoryInfo"
    nvml = NvmlSimulator(gpus=(SimulatedGpu(mig=1),), failures={call: PERMISSION})

    reading = read(nvml)

    assert capabilities(reading) == ["9.0"]
    assert (reading.gpus[0].memory_bytes, reading.findings) == (None, ())


@pytest.mark.parametrize("number", [0, -1, 12, 999, 99_999, 2**31 - 1])
def test_a_cuda_number_that_cannot_be_is_dropped_and_told(number: int) -> None:
    reading = read(NvmlSimulator(cuda=number))

    assert reading.driver is not None
    assert reading.driver.cuda is None
    assert codes(reading) == ["implausible-value"]
    assert f"`{number}`" in reading.findings[0].message


@pytest.mark.parametrize("capability", [(0, 0), (-1, 0), (100, 0), (9, 10), (9999, 9999)])
def test_a_compute_capability_that_cannot_be_is_dropped_and_told(
    capability: tuple[int, int],
) -> None:
    gpus = (replace(GPUS[0], compute_capability=capability), GPUS[1])

    reading = read(NvmlSimulator(gpus=gpus))

    assert capabilities(reading) == [None, "12.0"]
    assert codes(reading) == ["implausible-value"]


def test_each_call_is_told_before_it_is_made() -> None:
    lines: list[dict[str, Any]] = []

    class Recorder(NvmlSimulator):
        """Compares each call with the line before it."""

        def _enter(self, function: str, *arguments: object, **named: Any) -> None:  # noqa: ANN401
            assert lines[-1]["call"] == function
            assert "value" not in lines[-1]
            super()._enter(function, *arguments, **named)

    nvml = Recorder(gpus=(SimulatedGpu(mig=1),))
    ask(nvml, lines.append)

    assert nvml.count("nvmlDeviceGetMigMode") == 1


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled stand-in."""
    try:
        return build_libnvml(tmp_path_factory.mktemp("nvml"))
    except NoCompilerError as error:
        pytest.skip(str(error))


def test_the_real_binding_reads_a_machine_through_the_librarys_functions(
    library: Path, tmp_path: Path
) -> None:
    variables = libnvml_environment(
        library,
        driver="570.124.06",
        cuda=12080,
        gpus=GPUS,
        failures={("nvmlDeviceGetHandleByIndex", 1): GPU_IS_LOST},
    )

    data = detect(tmp_path, **variables)

    assert data["driver"] == {"version": "570.124.06", "cuda": "12.8", "compat": None}
    assert data["gpus"][0] == {
        "index": 0,
        "uuid": "GPU-1",
        "name": "NVIDIA H100",
        "compute_capability": "9.0",
        "memory_bytes": 85_520_809_984,
        "brand": "nvidia",
        "pci": "0000:01:00.0",
        "mig": None,
        "status": "ok",
    }
    assert data["gpus"][1]["compute_capability"] is None
    assert [finding["code"] for finding in data["findings"]] == ["gpu-lost"]
    assert data["sources"]["gpus"] == "nvml"


def test_the_real_binding_tells_a_version_mismatch_from_an_absent_driver(
    library: Path, tmp_path: Path
) -> None:
    broken = detect(tmp_path, **libnvml_environment(library, gpus=GPUS, init_error=18))
    absent = detect(tmp_path, **libnvml_environment(library, gpus=GPUS, init_error=9))

    assert [finding["code"] for finding in broken["findings"]] == ["version-mismatch"]
    assert (absent["driver"], absent["gpus"]) == (None, [])
    assert not BROKEN & {finding["code"] for finding in absent["findings"]}


@pytest.mark.gpu
def test_a_real_machine_reads_as_nvidia_smi_reads_it(tmp_path: Path) -> None:
    if shutil.which("nvidia-smi") is None:
        pytest.skip("nvidia-smi is missing, so there is nothing to compare with")
    asked = "index,uuid,name,compute_cap,memory.total,driver_version"
    said = subprocess.run(
        ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        check=False,
    )
    if said.returncode != 0:
        pytest.skip(f"nvidia-smi sees no GPU: {said.stdout.strip() or said.stderr.strip()}")
    rows = list(csv.reader(said.stdout.splitlines(), skipinitialspace=True))
    kept = {"LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", "")}

    data = detect(tmp_path, **kept)

    assert rows
    assert [
        [str(gpu["index"]), gpu["uuid"], gpu["name"], gpu["compute_capability"]]
        for gpu in data["gpus"]
    ] == [row[:4] for row in rows]
    # nvidia-smi tells MiB, cut off.
    assert [gpu["memory_bytes"] >> 20 for gpu in data["gpus"]] == [int(row[4]) for row in rows]
    assert {row[5] for row in rows} == {data["driver"]["version"]}
    assert data["findings"] == []


_TORCH_SAYS = """
import json, torch
count = torch.cuda.device_count()
print(json.dumps({
    "cuda": torch.version.cuda,
    "capabilities": {
        str(torch.cuda.get_device_properties(i).uuid): torch.cuda.get_device_capability(i)
        for i in range(count)
    },
}))
"""


@pytest.mark.gpu
def test_a_real_machine_reads_as_pytorch_reads_it(tmp_path: Path) -> None:
    kept = {"LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", "")}
    said = subprocess.run(
        [sys.executable, "-c", _TORCH_SAYS], capture_output=True, text=True, check=False
    )
    if said.returncode != 0:
        pytest.skip("there is no PyTorch that sees a GPU to compare with")
    torch = json.loads(said.stdout)

    data = detect(tmp_path, **kept)

    ours = {gpu["uuid"]: gpu["compute_capability"] for gpu in data["gpus"]}
    assert torch["capabilities"]
    # PyTorch's UUIDs lack NVML's `GPU-`; it counts only what `CUDA_VISIBLE_DEVICES` lets it.
    theirs = {f"GPU-{uuid}": f"{a}.{b}" for uuid, (a, b) in torch["capabilities"].items()}
    assert theirs.items() <= ours.items()
    # It sees a GPU, so that the driver runs its CUDA major.
    assert int(torch["cuda"].split(".")[0]) <= int(data["driver"]["cuda"].split(".")[0])
