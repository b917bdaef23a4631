"""Projects whose extras, or groups, are PyTorch's lines: `cpu`, `cu126`, `cu128`, `cu130`."""

from __future__ import annotations

import platform
import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.machine import Machine, ask_python, distributions
from tests.cli.projects import (
    H100,
    H100_OLD_DRIVER,
    RTX_5090,
    TORCH,
    TORCH_LINES,
    V100,
    TorchProject,
    downloads,
    publish_libraries,
    publish_torch,
    torch_wheel,
)
from tests.simulators.index import IndexSimulator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.cli.conftest import Locker

TABLES = ("project.optional-dependencies", "dependency-groups")
HERE = "driver=580.95.05,cuda=13.0,gpus=7.0"
"""A V100 in this machine."""

needs_x86 = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="what PyTorch's builds hold is told for x86_64"
)


@pytest.fixture(scope="module")
def torch_indexes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, IndexSimulator]]:
    """An index for each of PyTorch's lines, and `main` for the rest."""
    packages = tmp_path_factory.mktemp("torch")
    with ExitStack() as stack:
        names = ("main", *TORCH_LINES)
        made = {name: stack.enter_context(IndexSimulator()) for name in names}
        publish_libraries(made["main"], packages)
        publish_torch({line: made[line] for line in TORCH_LINES}, packages)
        yield made


@pytest.fixture(scope="module")
def locked(
    tmp_path_factory: pytest.TempPathFactory,
    torch_indexes: Mapping[str, IndexSimulator],
    locker: Locker,
) -> dict[str, Path]:
    """A locked project for each way to define lines; the tests leave them as they are."""
    urls = {line: torch_indexes[line].index_url for line in TORCH_LINES}
    folders = {}
    for table in TABLES:
        folder = tmp_path_factory.mktemp("projects") / "app"
        folders[table] = TorchProject(table=table).write(
            folder, torch_indexes["main"].index_url, urls
        )
        locker.lock(folder)
    return folders


def reasons(data: Mapping[str, Any], profile: str) -> list[dict[str, Any]]:
    """Why a profile was rejected."""
    (found,) = (item["reasons"] for item in data["candidates"] if item["profile"] == profile)
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    ("target", "usable"),
    [
        (H100, ["cu130", "cu128", "cu126", "cpu"]),
        (H100_OLD_DRIVER, ["cu128", "cu126", "cpu"]),
        (V100, ["cu126", "cpu"]),
        (RTX_5090, ["cu128", "cpu"]),
    ],
    ids=["h100", "h100-old-driver", "v100", "rtx5090"],
)
def test_the_newest_line_that_driver_gpu_and_locked_pytorch_run_wins(
    looker: Machine, locked: Mapping[str, Path], table: str, target: str, usable: list[str]
) -> None:
    data = looker.gpuenv(locked[table], "select", "--json", "--target", target).data
    assert data["usable"] == usable
    assert data["profile"] == usable[0]
    assert data["extras"] == [usable[0]]
    assert data["warnings"] == []


def test_a_build_of_pytorch_without_code_for_the_gpu_rejects_its_line_with_the_way_out(
    looker: Machine, locked: Mapping[str, Path]
) -> None:
    data = looker.gpuenv(locked[TABLES[0]], "select", "--json", "--target", V100).data
    (reason,) = reasons(data, "cu128")
    assert reason["code"] == "no-code"
    assert f"`{TORCH}+cu128`" in reason["message"]
    assert "`7.0`" in reason["message"]
    # 2.10 was the last whose builds for CUDA 12.8 have code for Volta.
    assert "`2.10`" in reason["hint"]
    assert "pytorch" in reason["source"]


def test_a_line_is_rejected_by_its_toolkit_or_driver_before_its_lock_is_asked(
    looker: Machine, locked: Mapping[str, Path]
) -> None:
    folder = locked[TABLES[0]]
    blackwell = looker.gpuenv(folder, "select", "--json", "--target", RTX_5090).data
    assert [item["code"] for item in reasons(blackwell, "cu126")] == ["no-code"]
    assert "`12.0`" in reasons(blackwell, "cu126")[0]["message"]
    older = looker.gpuenv(folder, "select", "--json", "--target", H100_OLD_DRIVER).data
    (driver,) = reasons(older, "cu130")
    assert driver["code"] == "driver-too-old"
    assert ">=580" in driver["message"]
    assert "`570.124.06`" in driver["message"]


def test_lines_that_the_project_does_not_define_are_out_of_question(
    looker: Machine, locked: Mapping[str, Path]
) -> None:
    data = looker.gpuenv(locked[TABLES[0]], "select", "--json", "--target", H100).data
    for line in ("cu118", "cu124", "cu129", "cu132", "cu12", "cu13"):
        assert "extra-not-defined" in {item["code"] for item in reasons(data, line)}


def test_a_named_line_that_cannot_run_is_refused_with_its_numbers(
    looker: Machine, locked: Mapping[str, Path]
) -> None:
    done = looker.gpuenv(locked[TABLES[0]], "select", "--profile", "cu128", "--target", V100)
    assert done.code == 7
    assert any(f"{TORCH}+cu128" in cause and "`7.0`" in cause for cause in done.message.causes)


@needs_x86
@pytest.mark.parametrize("table", TABLES)
def test_prepare_makes_the_lines_that_the_host_runs_and_fetches_no_other(
    machine: Machine,
    locked: Mapping[str, Path],
    torch_indexes: Mapping[str, IndexSimulator],
    tmp_path: Path,
    table: str,
) -> None:
    app = tmp_path / "app"
    shutil.copytree(locked[table], app)
    for index in torch_indexes.values():
        index.reset_log()
    done = machine.gpuenv(app, "prepare", "--json", "--target", HERE)
    assert done.data["prepared"] == ["cu126", "cpu"]
    assert (done.data["active"], done.data["generation"]) == ("cu126", 1)
    assert len(machine.environments()) == 2
    assert f"torch {TORCH}+cu126" in distributions(app / ".venv")
    assert ask_python(app / ".venv", "import torch; print(torch.__version__)") == f"{TORCH}+cu126"
    for line in ("cu126", "cpu"):
        assert downloads(torch_indexes[line]) == {torch_wheel(line): 1}
    for line in ("cu128", "cu130"):
        assert torch_indexes[line].requests == []
    switched = machine.gpuenv(app, "switch", "cpu", network=False)
    assert switched.code == 0, switched.err
    assert distributions(app / ".venv") == {"common 1.0", f"torch {TORCH}+cpu"}
    assert machine.gpuenv(app, "switch", "cu128").code == 1
