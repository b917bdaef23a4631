"""Targets: another machine than this one, named in short, saved in a file, or remembered."""

from __future__ import annotations

import json
import os
import platform
from typing import TYPE_CHECKING

import pytest

from tests.cli.machine import Machine, line_of
from tests.cli.projects import LOCKED, TARGET, Project
from tests.simulators.libnvml import NoCompilerError, build_libnvml, libnvml_environment
from tests.simulators.nvml import SimulatedGpu
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Prepared
    from tests.simulators.index import IndexSimulator

OTHER = "aarch64" if platform.machine() == "x86_64" else "x86_64"


def test_a_target_of_another_machine_is_fetched_only(
    machine: Machine,
    new_project: Callable[[Project], Path],
    index: IndexSimulator,
    tmp_path: Path,
) -> None:
    names = {}
    for name in ("x86_64", "aarch64"):
        wheel = make_wheel(tmp_path, "native", "1.0", tag=f"cp311-abi3-manylinux_2_17_{name}")
        names[name] = wheel.name
        index.publish(wheel)
    app = new_project(Project(dependencies=("native",)))
    index.reset_log()
    done = machine.gpuenv(app, "prepare", "--target", f"{TARGET},machine={OTHER}", "--json")
    assert done.data["profile"] == "cu13"
    assert (done.data["environment"], done.data["active"]) == (None, None)
    assert machine.environments() == set()
    assert machine.built() == []
    assert not os.path.lexists(app / ".venv")
    assert index.gets(names.pop(OTHER)) == 1
    assert index.gets(*names.values()) == 0


def test_a_target_of_another_python_is_fetched_only(machine: Machine, app: Path) -> None:
    done = machine.gpuenv(app, "prepare", "--target", f"{TARGET},python=3.99", "--json")
    assert done.data["environment"] is None
    assert done.data["fetched"]["files"] == len(LOCKED)
    assert machine.environments() == set()


def test_a_saved_target_is_taken_and_remembered(warm: Machine, app: Path, tmp_path: Path) -> None:
    saved = tmp_path / "target.json"
    detected = warm.gpuenv(app, "detect", "--save", saved, "--target", TARGET)
    assert detected.code == 0, detected.err
    done = warm.gpuenv(app, "prepare", "--only", "--target", saved, "--json")
    assert (done.data["profile"], done.data["active"]) == ("cu13", "cu13")
    saved.unlink()
    again = warm.gpuenv(app, "select", "--json")
    assert again.data["profile"] == "cu13"
    second = warm.gpuenv(app, "prepare", "--only", "--json")
    assert second.data["nothing_to_do"] is True


def test_what_detect_prints_is_a_target(machine: Machine, app: Path, tmp_path: Path) -> None:
    printed = tmp_path / "printed.json"
    printed.write_text(
        machine.gpuenv(app, "detect", "--json", "--target", TARGET).out, encoding="utf-8"
    )
    saved = tmp_path / "saved.json"
    machine.gpuenv(app, "detect", "--save", saved, "--target", printed)
    data = machine.gpuenv(app, "detect", "--json", "--target", saved).data
    first = json.loads(printed.read_text(encoding="utf-8"))["data"]
    assert data | {"sources": None} == first | {"sources": None}
    assert data["gpus"][0]["compute_capability"] == "9.0"


def test_a_variable_names_the_target_too(machine: Machine, app: Path) -> None:
    done = machine.gpuenv(app, "select", "--json", given={"GPUENV_TARGET": TARGET})
    assert done.data["profile"] == "cu13"
    older = "driver=570.124.06,cuda=12.8,gpus=9.0"
    won = machine.gpuenv(
        app, "select", "--json", "--target", older, given={"GPUENV_TARGET": TARGET}
    )
    assert won.data["profile"] == "cu12"


def test_an_older_driver_gets_its_line_and_the_reason_for_the_newer_one(
    machine: Machine, app: Path
) -> None:
    done = machine.gpuenv(app, "select", "--target", "driver=570.124.06,cuda=12.8,gpus=9.0")
    assert done.code == 0, done.err
    assert done.out.startswith("cu12 with `cu12`: driver `570.124.06`")
    assert "because: `cu13` needs driver >=580, host has `570.124.06`" in done.out


def test_a_target_without_a_gpu_gets_the_cpu(first_prepare: Prepared) -> None:
    done = first_prepare.gpuenv("select", "--json", "--target", "driver=none,gpus=")
    assert (done.data["profile"], done.data["usable"]) == ("cpu", ["cpu"])


@pytest.fixture(scope="module")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled stand-in for the driver's library."""
    try:
        return build_libnvml(tmp_path_factory.mktemp("nvml"))
    except NoCompilerError as error:
        pytest.skip(str(error))


def test_detect_reads_the_drivers_library(machine: Machine, app: Path, nvml: Path) -> None:
    variables = libnvml_environment(nvml, gpus=(SimulatedGpu(),))
    data = machine.gpuenv(app, "detect", "--json", given=variables).data
    assert data["driver"] == {"version": "580.65.06", "cuda": "13.0", "compat": None}
    (gpu,) = data["gpus"]
    assert gpu == {
        "index": 0,
        "uuid": "GPU-00000000-0000-0000-0000-000000000000",
        "name": "NVIDIA H100 80GB HBM3",
        "compute_capability": "9.0",
        "memory_bytes": 85_520_809_984,
        "brand": "nvidia",
        "pci": "0000:01:00.0",
        "mig": None,
        "status": "ok",
    }
    assert data["findings"] == []
    assert data["sources"]["driver"] == "nvml"
    assert data["platform"]["machine"] == platform.machine()


def test_the_detected_host_is_prepared_for_and_not_remembered(
    warm: Machine, app: Path, nvml: Path
) -> None:
    variables = libnvml_environment(nvml, gpus=(SimulatedGpu(),))
    done = warm.gpuenv(app, "prepare", "--only", "--json", given=variables)
    assert done.data["active"] == "cu13"
    assert line_of(app / ".venv") == "cu13"
    older = libnvml_environment(nvml, driver="570.124.06", cuda=12080, gpus=(SimulatedGpu(),))
    later = warm.gpuenv(app, "prepare", "--only", "--json", given=older)
    assert later.data["active"] == "cu12"


def test_a_broken_driver_never_becomes_a_cpu_environment(
    warm: Machine, app: Path, nvml: Path, index: IndexSimulator
) -> None:
    mismatch = 18
    variables = libnvml_environment(nvml, init_error=mismatch)
    done = warm.gpuenv(app, "prepare", given=variables)
    assert done.code == 7
    assert done.message.hint is not None
    assert "`--profile cpu`" in done.message.hint
    assert index.requests == []
    named = warm.gpuenv(app, "prepare", "--profile", "cpu", "--json", given=variables)
    assert (named.data["active"], named.data["prepared"]) == ("cpu", ["cpu"])


def test_an_override_is_obeyed_and_said(machine: Machine, app: Path, nvml: Path) -> None:
    variables = libnvml_environment(nvml, gpus=(SimulatedGpu(),))
    older = {"GPUENV_DRIVER": "570.124.06", "GPUENV_CUDA": "12.8", "GPUENV_GPUS": "9.0+8.0"}
    done = machine.gpuenv(app, "detect", given={**variables, **older})
    assert done.code == 0, done.err
    for name in older:
        assert f"overridden by `{name}`" in done.out
    selected = machine.gpuenv(app, "select", "--json", given={**variables, **older})
    assert selected.data["profile"] == "cu12"
    lower = {"CONDA_OVERRIDE_CUDA": "11.8"}
    data = machine.gpuenv(app, "detect", "--json", given={**variables, **older, **lower}).data
    assert data["driver"] == {"version": "570.124.06", "cuda": "12.8", "compat": None}
    contradictions = [f for f in data["findings"] if f["code"] == "override-contradicts"]
    assert len(contradictions) == len(older)


def test_a_file_of_an_inconsistent_host_is_flagged_with_the_place(
    machine: Machine, app: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "volta.json"
    described = {
        "platform": {"system": "linux", "machine": "x86_64", "class": "linux", "libc": None},
        "driver": {"version": "590.44.01", "cuda": "13.1"},
        "gpus": [{"compute_capability": "9.0"}, {"compute_capability": "7.0"}],
    }
    saved.write_text(json.dumps(described), encoding="utf-8")
    data = machine.gpuenv(app, "detect", "--json", "--target", saved).data
    (finding,) = data["findings"]
    assert finding["code"] == "gpu-unknown-to-driver"
    assert finding["message"].startswith("`gpus[1]`: compute capability `7.0`")
    assert "`590.44.01`" in finding["message"]


def test_a_file_with_keys_that_no_target_has_is_refused_with_their_paths(
    machine: Machine, app: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "odd.json"
    described = {
        "platform": {"system": "linux", "machine": "x86_64", "class": "linux", "libc": None},
        "driver": {"version": "580.65.06", "umd": "13.0"},
        "gpu": [],
    }
    saved.write_text(json.dumps(described), encoding="utf-8")
    done = machine.gpuenv(app, "detect", "--target", saved)
    assert done.code == 2
    assert {cause.partition(";")[0] for cause in done.message.causes} == {
        "`driver.umd`: unknown",
        "`gpu`: unknown",
    }


def test_an_override_that_cannot_be_read_is_2_with_all_faults(machine: Machine, app: Path) -> None:
    done = machine.gpuenv(app, "select", given={"GPUENV_DRIVER": "new", "GPUENV_GPUS": "many"})
    assert done.code == 2
    assert done.message.error == "an override is not valid"
    assert {cause.split("`")[1] for cause in done.message.causes} == {
        "GPUENV_DRIVER",
        "GPUENV_GPUS",
    }
