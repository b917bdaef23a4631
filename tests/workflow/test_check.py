"""Libraries that load, fail, crash, hang and calculate wrongly, in environments of their own."""

from __future__ import annotations

import ctypes.util
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from provisioner.adapters.environment import finish, stamp
from provisioner.adapters.state import State, StateFolder
from provisioner.core.history import History, Prepared
from provisioner.errors import NotPreparedError, UsageError
from provisioner.workflow.check import check
from provisioner.workflow.world import Options, World
from tests.simulators.cuda_environment import (
    RUNTIME,
    TENSORRT,
    TORCH,
    build_libcudart,
    make_environment,
)
from tests.simulators.libnvml import (
    NoCompilerError,
    Script,
    build_libcuda,
    build_libnvml,
    build_library,
    scripted_environment,
)
from tests.simulators.nvml import SimulatedGpu

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.core.check import CheckResult, Step

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the GPU libraries are Linux's")

TORCH_ON_GPU = json.dumps({"cuda": "13.0", "count": 1})


@dataclass(frozen=True)
class Libraries:
    """The compiled stand-ins."""

    cudart: Path
    nvml: Path
    libcuda: Path


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Libraries:
    """The compiled stand-ins."""
    folder = tmp_path_factory.mktemp("libraries")
    try:
        return Libraries(
            cudart=build_libcudart(folder / "cudart"),
            nvml=build_libnvml(folder / "driver"),
            libcuda=build_libcuda(folder / "driver" / "libcuda.so.1"),
        )
    except NoCompilerError as error:
        pytest.skip(str(error))


@dataclass
class Box:
    """A machine with one GPU, and a project whose `cu13` is prepared."""

    folder: Path
    libraries: Libraries
    driver: str = "580.65.06"
    cuda: int = 13000
    gpus: int = 1
    notes: list[str] = field(default_factory=list)

    def prepare(
        self, *, runtime: bool = False, modules: Mapping[str, str] | None = None
    ) -> Prepared:
        """Make the environment, and let it be active."""
        path = self.folder / "store" / "envs" / "app-cu13-x"
        self.site = make_environment(path, self.libraries.cudart if runtime else None, modules)
        lock = self.folder / "uv.lock"
        recipe = {"folder": str(self.folder), "lock": str(lock), "lock_hash": "", "lock_stamp": []}
        prepared = Prepared(
            profile="cu13",
            environment=str(path),
            stamp=finish(path, {}),
            inputs="",
            recipe={**recipe, "python": sys.executable},
        )
        (self.folder / "pyproject.toml").write_text("", encoding="utf-8")
        history = History().activate(prepared, automatic=True, now=1)
        (self.folder / ".gpuenv").mkdir()
        StateFolder(self.folder).write(State(history=history, prepared=(prepared,)))
        return prepared

    def world(self, script: str | None, variables: Mapping[str, str]) -> World:
        """The machine; without a `script` it has no driver."""
        nvml = Script(
            driver=self.driver,
            cuda=self.cuda,
            gpus=tuple(SimulatedGpu(uuid=f"GPU-{index}") for index in range(self.gpus)),
            failures={} if script is not None else {"nvmlInit": 9},
        )
        given = scripted_environment(self.libraries.nvml, nvml)
        root = given.pop("GPUENV_ROOT")
        if script is None:
            del given["LD_LIBRARY_PATH"]
        else:
            file = self.folder / "cudart.txt"
            file.write_text(f"{script}\n", encoding="utf-8")
            given["SIM_CUDART_FILE"] = str(file)
        return World(
            variables={
                "XDG_CACHE_HOME": str(self.folder / "cache"),
                "PATH": os.defpath,
                **given,
                **variables,
            },
            home=self.folder,
            folder=self.folder,
            now=lambda: 1_000_000.0,
            root=Path(root),
        )

    def check(self, script: str | None = "gpu 9.0", **variables: str) -> CheckResult:
        """Check the active environment."""
        return check(self.world(script, variables), Options())


@pytest.fixture
def box(tmp_path: Path, libraries: Libraries) -> Box:
    """A machine with one GPU."""
    return Box(tmp_path, libraries)


@pytest.fixture
def without_driver() -> None:
    """Skip where the loader finds the driver of whoever runs the tests."""
    if ctypes.util.find_library("cuda"):
        pytest.skip("this machine has an NVIDIA driver")


def states(result: CheckResult) -> dict[str, str]:
    return {step.title: step.state for step in result.steps}


def step(result: CheckResult, title: str) -> Step:
    (found,) = [item for item in result.steps if item.title == title]
    return found


def said(result: CheckResult) -> tuple[tuple[str, ...], str | None]:
    """The causes and the hint of the error."""
    error = result.failure()
    assert error is not None
    assert (error.code, error.exit_code, error.data) == ("check-failed", 1, result.to_json())
    return error.causes, error.hint


def test_everything_that_is_there_runs_on_the_gpu(box: Box) -> None:
    box.prepare(runtime=True, modules={"tensorrt_lean": TENSORRT, "torch": TORCH})
    result = box.check(SIM_TORCH=TORCH_ON_GPU)
    assert states(result) == {
        "driver": "ok",
        RUNTIME: "ok",
        f"{RUNTIME} on GPU 0": "ok",
        "tensorrt_lean": "ok",
        "tensorrt_lean on GPU 0": "ok",
        "torch": "ok",
        "torch on GPU 0": "ok",
    }
    assert step(result, "driver").message == "driver `580.65.06` runs CUDA `13.0`"
    versions = [step(result, name).version for name in (RUNTIME, "tensorrt_lean", "torch")]
    assert versions == ["13.0", "10.13.3.9", "2.11.0"]
    assert "compute capability `9.0`" in step(result, f"{RUNTIME} on GPU 0").message
    assert (result.failure(), result.ran_on_gpu, result.summary) == (None, True, "all is right")
    assert result.python == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.usefixtures("without_driver")
def test_without_a_gpu_it_loads_and_says_what_was_not_tried(box: Box) -> None:
    box.gpus = 0
    box.prepare(runtime=True, modules={"tensorrt_lean": TENSORRT})
    result = box.check(None)
    assert states(result) == {
        "driver": "skipped",
        RUNTIME: "ok",
        f"{RUNTIME} on a GPU": "skipped",
        "tensorrt_lean": "ok",
        "tensorrt_lean on a GPU": "skipped",
    }
    why = "no NVIDIA driver and no GPU were found"
    assert {item.message for item in result.steps if item.state == "skipped"} == {why}
    assert (result.failure(), result.ran_on_gpu) == (None, False)
    assert result.summary == "what could be checked is right; nothing was tried on a GPU"


def test_an_environment_without_gpu_libraries_has_nothing_to_check(box: Box) -> None:
    box.prepare(modules={"common": ""})
    result = box.check()
    assert (result.steps, result.failure()) == ((), None)
    assert result.summary == "nothing to check: the environment has no library for GPUs"


def test_pytorch_for_the_cpu_is_not_tried_on_a_gpu_nor_the_driver_asked_for(box: Box) -> None:
    box.prepare(modules={"torch": TORCH})
    result = box.check(SIM_TORCH="{}")
    assert states(result) == {"torch": "ok", "torch on a GPU": "skipped"}
    assert step(result, "torch on a GPU").message == "a build for the CPU"


def test_the_environment_is_as_it_was_after_a_check(box: Box) -> None:
    prepared = box.prepare(runtime=True, modules={"tensorrt_lean": TENSORRT})
    before = sorted(box.site.rglob("*"))
    box.check()
    assert sorted(box.site.rglob("*")) == before
    assert stamp(Path(prepared.environment)) == prepared.stamp


def test_every_gpu_is_tried_also_after_one_that_fails(box: Box) -> None:
    box.gpus = 3
    box.prepare(runtime=True)
    result = box.check("gpu 9.0\ngpu 7.0\ngpu 8.0\nfail cudaMalloc@1 209")
    assert [(item.gpu, item.state) for item in result.steps if item.on_gpu] == [
        (0, "ok"),
        (1, "failed"),
        (2, "ok"),
    ]
    causes, hint = said(result)
    assert causes[:3] == (
        f"{RUNTIME} on GPU 1: `cudaMalloc` failed",
        "cudaErrorNoKernelImageForDevice: no kernel image is available for execution on the device",
        "the GPU has compute capability `7.0`",
    )
    assert hint == "take a profile with code for this GPU; `gpuenv select` shows them"


def test_a_driver_that_is_too_old_is_told_with_both_versions(box: Box) -> None:
    box.driver, box.cuda = "570.124.06", 12080
    box.prepare(runtime=True)
    causes, hint = said(box.check("fail cudaGetDeviceCount 35"))
    assert causes[0] == f"{RUNTIME} on a GPU: `cudaGetDeviceCount` failed"
    assert causes[2] == "CUDA `13.0` needs driver >=580, host has `570.124.06`"
    assert hint is not None
    assert "install a newer driver" in hint


@pytest.mark.parametrize("call", ["cudaMemcpy", "cudaMemset"])
def test_a_wrong_answer_of_the_gpu_is_a_failure(box: Box, call: str) -> None:
    box.prepare(runtime=True)
    result = box.check(f"gpu 9.0\nwrong {call}")
    wrong = step(result, f"{RUNTIME} on GPU 0")
    assert (wrong.state, wrong.code) == ("failed", "wrong-answer")
    assert f"after `{call}` is" in wrong.causes[0]


def test_a_wrong_product_of_pytorch_is_a_failure(box: Box) -> None:
    box.prepare(modules={"torch": TORCH})
    result = box.check(SIM_TORCH=json.dumps({"cuda": "13.0", "count": 1, "wrong": 1}))
    assert states(result) == {"driver": "ok", "torch": "ok", "torch on GPU 0": "failed"}
    assert step(result, "torch on GPU 0").code == "wrong-answer"


def test_a_crash_names_its_call_and_takes_nothing_with_it(box: Box) -> None:
    box.prepare(runtime=True, modules={"tensorrt_lean": TENSORRT})
    result = box.check("gpu 9.0\ncrash cudaMemcpy")
    crashed = step(result, f"{RUNTIME} on GPU 0")
    assert (crashed.code, crashed.message) == ("crashed", "crashed in `cudaMemcpy of GPU 0`")
    assert crashed.causes[0] == "signal SIGABRT"
    assert states(result)["tensorrt_lean on GPU 0"] == "ok"


def test_a_hang_names_its_call_and_nothing_more_is_tried_on_gpus(box: Box) -> None:
    box.prepare(runtime=True, modules={"tensorrt_lean": TENSORRT})
    result = box.check("gpu 9.0\nhang cudaSetDevice", GPUENV_CHECK_TIMEOUT="0.5")
    hung = step(result, f"{RUNTIME} on GPU 0")
    assert (hung.code, hung.message) == (
        "timeout",
        "no answer in 0.5 s in `cudaSetDevice of GPU 0`",
    )
    assert hung.hint == "`GPUENV_CHECK_TIMEOUT=1` waits longer; a driver that hangs needs a restart"
    assert states(result)["tensorrt_lean"] == "ok"
    assert step(result, "tensorrt_lean on a GPU").message == f"`{RUNTIME}` did not answer"


def test_nothing_is_tried_after_an_import_that_hangs(box: Box) -> None:
    box.prepare(modules={"tensorrt_lean": "import time\ntime.sleep(60)", "torch": TORCH})
    result = box.check(GPUENV_CHECK_TIMEOUT="0.5")
    assert step(result, "tensorrt_lean").message == "no answer in 0.5 s in `import`"
    assert step(result, "torch").code == "not-reached"


def test_a_runtime_of_tensorrt_that_fails_is_told_in_its_words_and_does_not_crash(
    box: Box,
) -> None:
    box.prepare(modules={"tensorrt_lean": TENSORRT})
    words = "createInferRuntime: CUDA initialization failure with error: 35 in runtime.cpp"
    result = box.check(SIM_TENSORRT=words)
    failed = step(result, "tensorrt_lean on GPU 0")
    assert (failed.code, failed.causes[0]) == ("cuda-35", words)


def test_what_pytorch_says_of_a_driver_is_understood(box: Box) -> None:
    box.driver, box.cuda = "570.124.06", 12080
    box.prepare(modules={"torch": TORCH})
    init = "The NVIDIA driver on your system is too old (found version 12080)."
    result = box.check(SIM_TORCH=json.dumps({"cuda": "13.0", "init": init}))
    failed = step(result, "torch on a GPU")
    assert failed.code == "cuda-35"
    assert failed.causes[1] == "CUDA `13.0` needs driver >=580, host has `570.124.06`"


def test_a_library_that_cannot_be_loaded_is_a_failure_and_not_tried(box: Box) -> None:
    box.prepare(runtime=True)
    (box.site / "nvidia" / "cu13" / "lib" / RUNTIME).write_bytes(b"\x7fELF")
    result = box.check()
    assert states(result) == {"driver": "ok", RUNTIME: "failed"}
    causes, hint = said(result)
    assert causes[0] == f"{RUNTIME}: cannot be loaded"
    assert "file too short" in causes[1]
    assert causes[2].startswith("`LD_LIBRARY_PATH` is `")
    assert hint == "the file is damaged; `gpuenv store verify` looks for more"


def test_a_module_without_what_it_imports_is_a_failure_that_a_changed_environment_explains(
    box: Box,
) -> None:
    box.prepare(modules={"tensorrt": "import tensorrt_bindings"})
    (box.site / "left-over.dist-info").mkdir()
    causes, hint = said(box.check())
    assert causes[:2] == (
        "tensorrt: cannot be imported",
        "ModuleNotFoundError: No module named 'tensorrt_bindings'",
    )
    assert hint == "`gpuenv switch cu13` makes the changed environment again"


def test_gpus_that_the_user_hides_are_not_tried_and_that_is_said(box: Box) -> None:
    box.prepare(runtime=True)
    result = box.check("", CUDA_VISIBLE_DEVICES="")
    hidden = step(result, f"{RUNTIME} on a GPU")
    assert (hidden.state, hidden.code) == ("skipped", "hidden")
    assert hidden.message == "`CUDA_VISIBLE_DEVICES` is ``, which leaves no GPU"
    assert result.variables["CUDA_VISIBLE_DEVICES"] == ""
    assert result.failure() is None


def test_tensorrt_that_may_see_no_gpu_is_not_a_failure(box: Box) -> None:
    box.prepare(modules={"tensorrt_lean": TENSORRT})
    words = "CUDA initialization failure with error: 100"
    result = box.check("", CUDA_VISIBLE_DEVICES="", SIM_TENSORRT=words)
    assert step(result, "tensorrt_lean on a GPU").code == "hidden"
    assert result.failure() is None


def test_a_gpu_that_cuda_does_not_see_is_a_failure(box: Box) -> None:
    box.prepare(runtime=True)
    causes, _ = said(box.check(""))
    assert causes == (f"{RUNTIME} on a GPU: CUDA sees no GPU, the driver tells of 1",)


def test_a_driver_library_that_crashes_is_a_failure_and_the_rest_is_loaded(box: Box) -> None:
    box.prepare(runtime=True)
    world = box.world("gpu 9.0", {})
    box.check()  # The host is remembered from here on.
    with Path(world.variables["SIM_NVML_FILE"]).open("a", encoding="utf-8") as file:
        file.write("crash cuDriverGetVersion\n")
    result = check(world, Options())
    assert states(result) == {
        "driver": "failed",
        RUNTIME: "ok",
        f"{RUNTIME} on a GPU": "skipped",
    }
    assert step(result, "driver").message == "crashed in `cuDriverGetVersion`"
    assert step(result, f"{RUNTIME} on a GPU").message == "the driver does not work"


def test_what_the_users_library_path_brings_is_said(box: Box, tmp_path: Path) -> None:
    box.prepare(runtime=True)
    other = tmp_path / "toolkit"
    build_library(other / "libcublasLt.so.13", "libcudart.c", "libcublasLt.so.13")
    place = box.site / "nvidia" / "cu13" / "lib"
    words = ("-Wl,--no-as-needed", f"-L{other}", "-l:libcublasLt.so.13")
    build_library(place / RUNTIME, "libcudart.c", RUNTIME, *words)
    path = f"{other}:{box.libraries.nvml.parent}"
    result = box.check(LD_LIBRARY_PATH=path)
    found = step(result, RUNTIME)
    assert found.causes == (f"`LD_LIBRARY_PATH` brings `{other / 'libcublasLt.so.13'}`",)
    assert result.variables == {"LD_LIBRARY_PATH": path}


def test_variables_that_lead_python_elsewhere_do_not_reach_the_environment(
    box: Box, tmp_path: Path
) -> None:
    box.prepare(modules={"tensorrt": TENSORRT})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "torch.py").write_text("", encoding="utf-8")
    variables = {"PYTHONPATH": str(tmp_path / "other"), "PYTHONHOME": str(tmp_path)}
    assert set(states(box.check(**variables))) == {"driver", "tensorrt", "tensorrt on GPU 0"}


def test_a_python_that_does_not_start_is_a_failure(box: Box) -> None:
    prepared = box.prepare(runtime=True)
    python = Path(prepared.environment) / "bin" / "python"
    python.unlink()
    python.symlink_to(box.folder / "gone")
    result = box.check()
    assert states(result) == {"python": "failed"}
    assert result.python is None
    assert said(result)[1] == "`gpuenv prepare --profile cu13` makes the environment again"


def test_a_named_profile_is_checked_and_one_that_is_not_prepared_refused(box: Box) -> None:
    world = box.world("", {})
    with pytest.raises(NotPreparedError, match="nothing is prepared here"):
        check(world, Options())
    box.prepare()
    assert check(world, Options(profile="cu13")).profile == "cu13"
    with pytest.raises(NotPreparedError, match="`cu12` is not prepared"):
        check(world, Options(profile="cu12"))


def test_a_time_limit_that_is_none_is_refused(box: Box) -> None:
    box.prepare()
    with pytest.raises(UsageError, match="GPUENV_CHECK_TIMEOUT"):
        box.check(GPUENV_CHECK_TIMEOUT="soon")


def test_the_fields_of_a_step_are_those_of_json(box: Box) -> None:
    box.prepare(runtime=True)
    data: dict[str, Any] = json.loads(json.dumps(box.check().to_json()))
    assert set(data) == {"profile", "environment", "python", "variables", "ran_on_gpu", "steps"}
    assert data["steps"][-1] == {
        "name": RUNTIME,
        "on_gpu": True,
        "gpu": 0,
        "state": "ok",
        "code": None,
        "version": None,
        "message": "filled 1 MiB and copied it to and fro (compute capability `9.0`)",
        "causes": [],
        "hint": None,
    }
