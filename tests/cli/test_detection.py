"""Whole machines in folders, detected by the command line through the compiled stand-ins."""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.machine import Machine
from tests.simulators.libnvml import (
    LIBCUDA,
    LIBNVML,
    NoCompilerError,
    Script,
    build_libcuda,
    build_libnvml,
)
from tests.simulators.nvml import SimulatedGpu
from tests.simulators.roots import make_root, put, put_gpu, put_pci

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulators.nvml import FailureKey

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the driver's files are Linux's")

H100 = SimulatedGpu("NVIDIA H100 80GB HBM3", "GPU-1", pci="00000000:01:00.0", brand=14)
A100 = SimulatedGpu(
    "NVIDIA A100", "GPU-2", compute_capability=(8, 0), pci="00000000:02:00.0", brand=14
)
NOTE = '{"Format": 1, "CUDA Version": "13.0", "Driver": [535, 550, 570, 575, 580], "Device": [1]}'


class Simulated:
    """A machine in a folder; `gpuenv` is run on it by a user with an empty home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.script = folder / "nvml.txt"
        self.log = folder / "nvml.log"
        self.user = Machine(folder / "user")

    def answers(self, script: Script) -> None:
        """Have the libraries answer like this from now on."""
        replace(script, log=self.log).write(self.script)

    @property
    def asked(self) -> list[str]:
        """The calls of NVML so far."""
        return self.log.read_text(encoding="utf-8").split() if self.log.exists() else []

    def variables(self, **more: str) -> dict[str, str]:
        return {"GPUENV_ROOT": str(self.root), "SIM_NVML_FILE": str(self.script), **more}

    def detect(self, **more: str) -> dict[str, Any]:
        """What `detect --json` tells."""
        done = self.user.gpuenv(self.folder, "detect", "--json", given=self.variables(**more))
        return done.data

    def select(self, **more: str) -> int:
        """The exit code of `select`."""
        given = self.variables(**more)
        return self.user.gpuenv(self.folder, "select", given=given).code

    def selection(self, **more: str) -> dict[str, Any]:
        """What `select --json` tells."""
        done = self.user.gpuenv(self.folder, "select", "--json", given=self.variables(**more))
        return done.data


def codes(data: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in data["findings"]]


def message(data: dict[str, Any], code: str) -> str:
    (found,) = (item["message"] for item in data["findings"] if item["code"] == code)
    return str(found)


@pytest.fixture(scope="module")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled NVML, not in a folder that any loader searches."""
    try:
        return build_libnvml(tmp_path_factory.mktemp("nvml"))
    except NoCompilerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def libcuda(nvml: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled libcuda, which no test can build without the compiler of `nvml`."""
    assert nvml.exists()
    return build_libcuda(tmp_path_factory.mktemp("libcuda") / LIBCUDA)


@pytest.fixture
def simulate(tmp_path: Path, nvml: Path) -> Callable[..., Simulated]:
    """Make a machine with a loaded driver, a node for each GPU, and NVML in its root."""

    def make(script: Script, **given: Any) -> Simulated:  # noqa: ANN401 - those of `make_root`
        machine = Simulated(tmp_path)
        machine.answers(script)
        defaults = {"driver": script.driver, "nodes": len(script.gpus), "libraries": (nvml,)}
        make_root(machine.root, **{**defaults, **given})
        return machine

    return make


def test_a_library_below_the_root_is_taken_by_its_path(
    simulate: Callable[..., Simulated],
) -> None:
    data = simulate(Script(gpus=(H100, A100))).detect()
    assert [gpu["compute_capability"] for gpu in data["gpus"]] == ["9.0", "8.0"]
    assert data["driver"] == {"version": "580.65.06", "cuda": "13.0", "compat": None}
    assert data["findings"] == []
    assert data["sources"] == {
        "driver": "nvml",
        "cuda": "nvml",
        "gpus": "nvml",
        "platform": "this machine",
    }


def test_a_hang_in_the_start_ends_in_time_and_names_the_call(
    simulate: Callable[..., Simulated],
) -> None:
    machine = simulate(Script(gpus=(H100,), hangs=("nvmlInit",)))
    given = machine.variables(GPUENV_PROBE_TIMEOUT="1.6")
    started = time.monotonic()
    done = machine.user.gpuenv(machine.folder, "detect", "--json", given=given)
    assert time.monotonic() - started < 8
    assert codes(done.data) == ["probe-timeout"]
    assert message(done.data, "probe-timeout").endswith("within 1.6 s: `nvmlInit`")
    assert done.err.splitlines() == ["waiting for NVML: nvmlInit"]
    assert (done.data["driver"]["version"], done.data["driver"]["cuda"]) == ("580.65.06", None)
    assert done.data["sources"]["driver"] == "/proc/driver/nvidia/version"
    assert machine.select(GPUENV_PROBE_TIMEOUT="0.3") == 7


def test_a_probe_that_hangs_leaves_no_process_behind(simulate: Callable[..., Simulated]) -> None:
    machine = simulate(Script(gpus=(H100,), hangs=("nvmlInit",)))
    assert codes(machine.detect(GPUENV_PROBE_TIMEOUT="0.5")) == ["probe-timeout"]
    mark = f"SIM_NVML_FILE={machine.script}".encode()
    left = []
    for process in Path("/proc").glob("[0-9]*/environ"):
        try:
            left += [process] if mark in process.read_bytes() else []
        except OSError:
            continue  # Ended, or another user's.
    assert left == []


def test_a_hang_in_one_gpu_keeps_what_was_answered_before(
    simulate: Callable[..., Simulated],
) -> None:
    hang = ("nvmlDeviceGetHandleByIndex", 1)
    machine = simulate(Script(gpus=(H100, A100), hangs=(hang,)))
    data = machine.detect(GPUENV_PROBE_TIMEOUT="0.8")
    assert codes(data) == ["probe-timeout"]
    assert "`nvmlDeviceGetHandleByIndex of GPU 1`" in message(data, "probe-timeout")
    assert [gpu["compute_capability"] for gpu in data["gpus"]] == ["9.0", None]
    # Nobody knows that it cannot be used.
    assert [gpu["status"] for gpu in data["gpus"]] == ["ok", "ok"]
    assert data["driver"]["cuda"] == "13.0"


V100 = SimulatedGpu(
    "Tesla V100", "GPU-3", compute_capability=(7, 0), pci="00000000:03:00.0", brand=2
)


@pytest.mark.parametrize(
    "script",
    [
        Script(gpus=(H100, V100), hangs=(("nvmlDeviceGetHandleByIndex", 1),)),
        Script(gpus=(H100, V100), crashes=(("nvmlDeviceGetHandleByIndex", 1),)),
        Script(gpus=(H100, V100), failures={("nvmlDeviceGetCudaComputeCapability", 1): 999}),
        Script(gpus=(H100, V100), failures={("nvmlDeviceGetHandleByIndex", 1): 999}),
    ],
    ids=["hang", "crash", "capability", "handle"],
)
def test_a_gpu_that_could_not_be_asked_still_counts(
    script: Script, simulate: Callable[..., Simulated]
) -> None:
    data = simulate(script).selection(GPUENV_PROBE_TIMEOUT="1")
    assert data["profile"] == "cu12"
    (cu13,) = (item for item in data["candidates"] if item["profile"] == "cu13")
    assert [reason["code"] for reason in cu13["reasons"]] == ["capability-unknown"]


def test_a_crash_is_a_finding_and_no_traceback(simulate: Callable[..., Simulated]) -> None:
    machine = simulate(Script(gpus=(H100,), crashes=("nvmlSystemGetDriverVersion",)))
    done = machine.user.gpuenv(machine.folder, "detect", "--json", given=machine.variables())
    assert codes(done.data) == ["probe-crashed"]
    told = message(done.data, "probe-crashed")
    assert "SIGABRT" in told
    assert "`nvmlSystemGetDriverVersion`" in told
    assert "Traceback" not in done.err
    assert done.data["driver"]["version"] == "580.65.06"
    assert machine.select() == 7


def test_an_old_library_without_the_newer_question_is_no_finding(
    simulate: Callable[..., Simulated], tmp_path: Path
) -> None:
    older = build_libnvml(tmp_path / "older", without=("nvmlSystemGetCudaDriverVersion_v2",))
    data = simulate(
        Script(driver="470.82.01", cuda=11040, gpus=(A100,)), libraries=(older,)
    ).detect()
    assert data["driver"] == {"version": "470.82.01", "cuda": "11.4", "compat": None}
    assert data["findings"] == []


def test_a_container_with_utility_alone_lacks_libcuda(simulate: Callable[..., Simulated]) -> None:
    failures: dict[FailureKey, int] = {"nvmlSystemGetCudaDriverVersion_v2": 12}
    data = simulate(Script(gpus=(H100,), failures=failures)).detect()
    assert codes(data) == ["driver-no-compute-lib"]
    assert data["driver"]["cuda"] == "13.0"


def test_a_container_with_compute_alone_is_read_through_libcuda(
    simulate: Callable[..., Simulated], libcuda: Path
) -> None:
    machine = simulate(Script(driver="570.124.06", libcuda=12080), libraries=(libcuda,), nodes=1)
    put_gpu(machine.root, "0000:01:00.0", 0, name="NVIDIA H100", uuid="GPU-1")
    data = machine.detect()
    assert codes(data) == ["driver-no-library"]
    assert data["driver"] == {"version": "570.124.06", "cuda": "12.8", "compat": None}
    assert data["sources"]["cuda"] == "libcuda"
    (gpu,) = data["gpus"]
    assert (gpu["name"], gpu["uuid"], gpu["pci"]) == ("NVIDIA H100", "GPU-1", "0000:01:00.0")
    assert machine.select() == 7
    assert machine.select(GPUENV_GPUS="9.0") == 0


def test_a_libcuda_that_hangs_or_crashes_hides_nothing(
    simulate: Callable[..., Simulated], libcuda: Path
) -> None:
    script = Script(gpus=(H100,), hangs=("cuDriverGetVersion",))
    machine = simulate(script, libraries=(libcuda,), nodes=1)
    data = machine.detect(GPUENV_PROBE_TIMEOUT="0.8")
    assert codes(data) == ["driver-no-library", "probe-timeout"]
    assert "`libcuda.so.1`" in message(data, "probe-timeout")
    machine.answers(replace(script, hangs=(), crashes=("cuDriverGetVersion",)))
    crashed = machine.detect()
    assert codes(crashed) == ["driver-no-library", "probe-crashed"]
    assert crashed["driver"]["version"] == "580.65.06"


def test_a_mismatch_names_both_versions(
    simulate: Callable[..., Simulated], nvml: Path, tmp_path: Path
) -> None:
    updated = Path(shutil.copy(nvml, tmp_path / "libnvidia-ml.so.580.95.05"))
    machine = simulate(
        Script(driver="580.65.06", gpus=(H100,), failures={"nvmlInit": 18}), libraries=()
    )
    link = machine.root / "usr/lib64" / LIBNVML
    link.parent.mkdir(parents=True)
    link.symlink_to(updated)
    data = machine.detect()
    assert codes(data) == ["version-mismatch"]
    told = message(data, "version-mismatch")
    assert "`580.95.05`" in told
    assert "`580.65.06`" in told
    assert machine.select() == 7


def test_a_driver_that_the_kernel_names_otherwise_is_a_mismatch(
    simulate: Callable[..., Simulated],
) -> None:
    machine = simulate(Script(driver="580.95.05", gpus=(H100,)), driver="580.65.06")
    data = machine.detect()
    assert codes(data) == ["version-mismatch"]
    assert data["driver"]["version"] == "580.95.05"


def test_a_lost_gpu_does_not_hide_the_other(simulate: Callable[..., Simulated]) -> None:
    failures: dict[FailureKey, int] = {("nvmlDeviceGetHandleByIndex", 0): 15}
    machine = simulate(Script(gpus=(H100, A100), failures=failures))
    data = machine.detect()
    assert codes(data) == ["gpu-lost"]
    assert [gpu["status"] for gpu in data["gpus"]] == ["lost", "ok"]
    assert machine.select() == 0


def test_wsl_takes_its_own_library_before_a_stub(
    simulate: Callable[..., Simulated], tmp_path: Path
) -> None:
    script = Script(driver="572.60", cuda=12080, gpus=(H100, A100))
    machine = simulate(script, library_folder="usr/lib/wsl/lib", driver=None, nodes=0)
    put(machine.root, "dev/dxg")
    stub = build_libnvml(tmp_path / "stub", without=("nvmlDeviceGetCount_v2",))
    (machine.root / "usr/lib").joinpath(LIBNVML).symlink_to(stub)
    data = machine.detect()
    assert data["platform"]["class"] == "wsl2"
    assert data["driver"] == {"version": "572.60", "cuda": "12.8", "compat": None}
    assert len(data["gpus"]) == 2
    assert data["findings"] == []
    assert machine.select() == 0


def test_a_driver_without_a_device_is_the_cpus(simulate: Callable[..., Simulated]) -> None:
    machine = simulate(Script())
    put(machine.root, ".dockerenv")
    data = machine.detect()
    assert codes(data) == ["driver-no-device"]
    assert "docker run --gpus all" in data["findings"][0]["hint"]
    assert machine.select() == 0


def test_driver_files_alone_are_no_gpu_to_use(simulate: Callable[..., Simulated]) -> None:
    machine = simulate(Script(driver="570.124.06"), libraries=(), pci={"0000:01:00.0": "nvidia"})
    data = machine.detect()
    assert codes(data) == ["driver-no-device"]
    assert data["driver"]["version"] == "570.124.06"
    assert machine.asked == []


def test_a_gpu_that_does_not_start_is_no_absent_one(simulate: Callable[..., Simulated]) -> None:
    machine = simulate(Script(), nodes=1, pci={"0000:01:00.0": "nvidia"})
    data = machine.detect()
    assert codes(data) == ["gpus-unreadable"]
    assert "`dmesg | grep NVRM`" in data["findings"][0]["hint"]
    assert machine.select() == 7
    assert machine.selection(GPUENV_GPUS="9.0")["profile"] == "cu13"


@pytest.mark.parametrize("pci", [{}, {"0000:01:00.0": None}])
def test_a_driver_that_is_not_loaded_never_makes_a_cuda_choice(
    pci: dict[str, str | None],
    simulate: Callable[..., Simulated],
    nvml: Path,
    libcuda: Path,
) -> None:
    machine = simulate(
        Script(failures={"nvmlInit": 9}, libcuda=13000),
        driver=None,
        nodes=1,
        pci=pci,
        libraries=(nvml, libcuda),
    )
    data = machine.detect()
    assert data["driver"] is None
    assert codes(data) == ["gpu-no-driver" if pci else "nvml-failed"]
    assert machine.select() == (0 if pci else 7)
    if pci:
        assert machine.selection()["profile"] == "cpu"


@pytest.mark.parametrize(
    "given", [{"GPUENV_DRIVER": "none"}, {"GPUENV_CUDA": ""}, {"GPUENV_GPUS": ""}]
)
@pytest.mark.parametrize(
    "script",
    [
        Script(gpus=(H100,), hangs=("nvmlInit",)),
        Script(gpus=(H100,), crashes=("nvmlInit",)),
        Script(gpus=(H100,), failures={"nvmlInit": 999}),
        Script(gpus=(H100,), failures={"nvmlDeviceGetCount": 999}),
        Script(driver="580.95.05", gpus=(H100,)),
    ],
    ids=["hang", "crash", "start", "count", "mismatch"],
)
def test_saying_that_there_is_no_gpu_gets_out_of_a_broken_driver(
    script: Script, given: dict[str, str], simulate: Callable[..., Simulated]
) -> None:
    machine = simulate(script, driver="580.65.06")
    limit = {"GPUENV_PROBE_TIMEOUT": "0.5"}
    assert machine.select(**limit) == 7
    assert machine.selection(**limit, **given)["profile"] == "cpu"


def test_naming_the_driver_and_its_gpus_gets_out_of_a_hang(
    simulate: Callable[..., Simulated],
) -> None:
    machine = simulate(Script(gpus=(H100,), hangs=("nvmlInit",)))
    given = {"GPUENV_DRIVER": "570.124.06", "GPUENV_GPUS": "9.0"}
    data = machine.selection(GPUENV_PROBE_TIMEOUT="0.5", **given)
    assert data["profile"] == "cu12"
    assert [warning["code"] for warning in data["warnings"]] == ["override-contradicts"]


def test_nouveau_in_the_drivers_place_is_named(simulate: Callable[..., Simulated]) -> None:
    machine = simulate(Script(failures={"nvmlInit": 9}), driver=None)
    put_pci(machine.root, "0000:01:00.0", "nouveau")
    put_pci(machine.root, "0000:00:1f.3", "snd_hda_intel", **{"class": "0x040300"})
    put_pci(machine.root, "0000:00:02.0", "i915", vendor="0x8086")
    put(machine.root, "sys/module/nouveau/refcnt", "1\n")
    data = machine.detect()
    assert codes(data) == ["gpu-no-driver"]
    assert "`0000:01:00.0` (bound to `nouveau`)" in message(data, "gpu-no-driver")
    assert machine.select() == 0


def test_a_compatibility_package_is_read_and_allowed(
    simulate: Callable[..., Simulated], tmp_path: Path
) -> None:
    package = build_libcuda(tmp_path / "compat/libcuda.so.580.65.06", cuda=13000, note=NOTE)
    machine = simulate(Script(driver="535.129.03", cuda=None, gpus=(A100,)))
    data = machine.detect(LD_LIBRARY_PATH=str(package.parent))
    assert data["driver"]["cuda"] == "13.0"
    assert data["driver"]["compat"] == {
        "cuda": "13.0",
        "branches": [535, 550, 570, 575, 580],
        "path": str(package),
    }
    assert codes(data) == ["compat-active"]


def test_a_compatibility_package_on_a_geforce_does_not_count(
    simulate: Callable[..., Simulated], tmp_path: Path
) -> None:
    package = build_libcuda(tmp_path / "compat/libcuda.so.580.65.06", cuda=13000, note=NOTE)
    card = SimulatedGpu("NVIDIA GeForce RTX 3090", compute_capability=(8, 6), brand=5)
    machine = simulate(Script(driver="535.129.03", cuda=None, gpus=(card,)))
    data = machine.detect(LD_LIBRARY_PATH=str(package.parent))
    assert codes(data) == ["compat-unusable"]
    assert "error 804" in message(data, "compat-unusable")
    assert data["driver"]["cuda"] == "12.2"


def test_the_drivers_own_libcuda_is_no_compatibility_package(
    simulate: Callable[..., Simulated], tmp_path: Path
) -> None:
    own = build_libcuda(tmp_path / "own/libcuda.so.580.65.06", cuda=13000, note=NOTE)
    machine = simulate(Script(cuda=None, gpus=(A100,)))
    data = machine.detect(LD_LIBRARY_PATH=str(own.parent))
    assert data["driver"]["compat"] is None
    assert data["findings"] == []


def write_smi(root: Path, rows: str, banner: str, code: int = 0) -> None:
    """Put an `nvidia-smi` below a root, which does not know `compute_cap` if no row has it."""
    program = put(
        root,
        "usr/bin/nvidia-smi",
        f'#!/bin/sh\ncase "$1" in\n*compute_cap*) printf "%s" \'{rows}\' ;;\n'
        f"--query*) exit 2 ;;\n*) printf '%s' '{banner}' ;;\nesac\nexit {code}\n",
    )
    program.chmod(0o755)


def test_nvidia_smi_fills_what_nvml_left_open(simulate: Callable[..., Simulated]) -> None:
    machine = simulate(Script(driver="610.57.04"), libraries=(), nodes=2)
    rows = (
        "0, GPU-1, NVIDIA H100, 610.57.04, 81559, 00000000:01:00.0, 9.0\n"
        "1, GPU-2, GRID A100, 610.57.04, [N/A], 00000000:02:00.0, [N/A]\n"
    )
    write_smi(machine.root, rows, "| KMD Version: 610.57.04   CUDA UMD Version: 13.3 |")
    put_gpu(machine.root, "0000:01:00.0", 0, name="NVIDIA H100", uuid="GPU-1")
    put_gpu(machine.root, "0000:02:00.0", 1, name="GRID A100", uuid="GPU-2")
    data = machine.detect()
    assert data["driver"] == {"version": "610.57.04", "cuda": "13.3", "compat": None}
    assert [gpu["compute_capability"] for gpu in data["gpus"]] == ["9.0", None]
    assert data["gpus"][0]["memory_bytes"] == 81559 << 20
    assert data["sources"]["cuda"] == "nvidia-smi"


def test_what_nvidia_smi_says_of_its_failure_never_becomes_a_version(
    simulate: Callable[..., Simulated],
) -> None:
    machine = simulate(Script(failures={"nvmlInit": 18}, gpus=(H100,)), driver=None)
    words = (
        "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.54\n"
    )
    write_smi(machine.root, words, words + "CUDA Version: 12.4", code=18)
    data = machine.detect()
    assert (data["driver"] or {}).get("version") is None
    assert (data["driver"] or {}).get("cuda") is None
    assert codes(data) == ["version-mismatch"]


# What is remembered


def test_a_second_detection_asks_nothing(simulate: Callable[..., Simulated]) -> None:
    machine = simulate(Script(gpus=(H100,)))
    first = machine.detect()
    calls = machine.asked
    assert "nvmlInit" in calls
    assert machine.detect() == first
    assert machine.asked == calls


def test_a_changed_driver_is_asked_anew(simulate: Callable[..., Simulated]) -> None:
    machine = simulate(Script(gpus=(H100,)))
    machine.detect()
    machine.answers(Script(driver="590.44.01", cuda=13010, gpus=(H100,)))
    put(machine.root, "sys/module/nvidia/version", "590.44.01\n")
    put(machine.root, "proc/driver/nvidia/version", "")
    assert machine.detect()["driver"]["version"] == "590.44.01"


def test_what_is_broken_is_asked_every_time(simulate: Callable[..., Simulated]) -> None:
    failures: dict[FailureKey, int] = {("nvmlDeviceGetHandleByIndex", 0): 15}
    machine = simulate(Script(gpus=(H100, A100), failures=failures))
    assert codes(machine.detect()) == ["gpu-lost"]
    machine.answers(Script(gpus=(H100, A100)))
    assert codes(machine.detect()) == []


def test_an_override_is_laid_over_what_is_remembered(simulate: Callable[..., Simulated]) -> None:
    machine = simulate(Script(gpus=(H100,)))
    machine.detect()
    data = machine.detect(GPUENV_GPUS="8.0")
    assert [gpu["compute_capability"] for gpu in data["gpus"]] == ["8.0"]
    assert codes(data) == ["override-contradicts"]
    assert codes(machine.detect()) == []


# What is refused


def test_a_time_limit_beyond_an_hour_is_2(tmp_path: Path) -> None:
    machine = Simulated(tmp_path)
    make_root(machine.root)
    given = machine.variables(GPUENV_PROBE_TIMEOUT="4294967295")
    done = machine.user.gpuenv(tmp_path, "detect", given=given)
    assert done.code == 2
    assert done.message.error == "`GPUENV_PROBE_TIMEOUT` is not a number of seconds"
    assert done.message.causes == ("it is `4294967295`, more than `3600`",)


def test_a_target_that_is_nested_without_end_is_2(tmp_path: Path) -> None:
    machine = Simulated(tmp_path)
    make_root(machine.root)
    file = put(tmp_path, "deep.json", "[" * 100_000)
    done = machine.user.gpuenv(tmp_path, "detect", "--target", str(file), given=machine.variables())
    assert done.code == 2
    assert done.message.error == f"target `{file}` is not valid"
    assert "Traceback" not in done.err


@pytest.mark.parametrize("name", ["pipe", "folder"])
def test_a_target_that_is_no_regular_file_is_2(name: str, tmp_path: Path) -> None:
    machine = Simulated(tmp_path)
    make_root(machine.root)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    path = str(tmp_path / name)
    done = machine.user.gpuenv(tmp_path, "detect", "--target", path, given=machine.variables())
    assert done.code == 2
    assert done.message.error == f"target `{path}` is not valid"
    assert done.message.causes == ("it is not a regular file",)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b'{\n "gpus": [,]}', "line 2, column 11: it is not JSON"),
        (b'{\n "gpus": "\xff"}', "line 2: it is not UTF-8"),
    ],
)
def test_a_target_that_is_no_json_says_where(content: bytes, cause: str, tmp_path: Path) -> None:
    machine = Simulated(tmp_path)
    make_root(machine.root)
    path = tmp_path / "host.json"
    path.write_bytes(content)
    done = machine.user.gpuenv(tmp_path, "detect", "--target", str(path), given=machine.variables())
    assert done.code == 2
    assert done.message.causes == (cause,)


def test_a_target_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    machine = Simulated(tmp_path)
    make_root(machine.root)
    path = tmp_path / "host.json"
    text = '{"platform": {"system": "linux", "machine": "arm64", "class": "linux"}}'
    path.write_text(text, encoding="utf-8-sig")
    done = machine.user.gpuenv(
        tmp_path, "detect", "--json", "--target", str(path), given=machine.variables()
    )
    assert done.data["platform"]["machine"] == "aarch64"


def test_an_empty_library_of_windows_is_no_absent_gpu(tmp_path: Path) -> None:
    machine = Simulated(tmp_path)
    make_root(machine.root)
    for name in ("dev/dxg", f"usr/lib/wsl/lib/{LIBNVML}", f"usr/lib/wsl/lib/{LIBCUDA}"):
        put(machine.root, name)
    assert "driver-no-library" in codes(machine.detect())
    assert machine.select() == 7


def test_a_loaded_driver_that_tells_nothing_is_no_absent_one(tmp_path: Path) -> None:
    machine = Simulated(tmp_path)
    make_root(machine.root, pci={"0000:01:00.0": None})
    for name in ("proc/driver/nvidia/version", "sys/module/nvidia/version"):
        put(machine.root, name, "garbage")
    data = machine.detect()
    assert codes(data) == ["nvml-failed", "driver-unreadable"]
    assert "`GPUENV_DRIVER=580.65.06`" in data["findings"][0]["hint"]
    assert machine.select() == 7
    named = machine.selection(GPUENV_DRIVER="580.65.06", GPUENV_GPUS="9.0")
    assert named["profile"] == "cu13"


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_a_time_limit_that_is_none_is_2(text: str, tmp_path: Path) -> None:
    machine = Simulated(tmp_path)
    make_root(machine.root)
    given = machine.variables(GPUENV_PROBE_TIMEOUT=text)
    done = machine.user.gpuenv(tmp_path, "detect", given=given)
    assert done.code == 2
    assert done.message.error == "`GPUENV_PROBE_TIMEOUT` is not a number of seconds"
    assert done.message.causes == (f"it is `{text}`",)


def test_a_root_that_is_not_there_is_2(tmp_path: Path) -> None:
    machine = Simulated(tmp_path)
    done = machine.user.gpuenv(tmp_path, "detect", given=machine.variables())
    assert done.code == 2
    assert done.message.error.startswith("`GPUENV_ROOT`: there is no folder")


def test_an_empty_machine_is_the_cpus_and_says_which_variables_name_another(
    tmp_path: Path,
) -> None:
    machine = Simulated(tmp_path)
    make_root(machine.root)
    data = machine.detect()
    assert codes(data) == ["no-gpu"]
    for name in ("GPUENV_DRIVER", "GPUENV_CUDA", "GPUENV_GPUS"):
        assert f"`{name}`" in data["findings"][0]["hint"]
    assert machine.select() == 0
