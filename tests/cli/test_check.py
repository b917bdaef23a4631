"""`gpuenv check` as users meet it."""

from __future__ import annotations

import ctypes.util
import sys
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.environment import finish
from provisioner.adapters.state import State, StateFolder
from provisioner.core.history import History, Prepared
from tests.simulators.cuda_environment import make_environment
from tests.simulators.roots import make_root

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.machine import Machine


@pytest.mark.skipif(
    bool(ctypes.util.find_library("cuda")), reason="this machine has an NVIDIA driver"
)
def test_a_failure_shows_every_step_and_ends_with_1(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "app"
    (folder / ".gpuenv").mkdir(parents=True)
    (folder / "pyproject.toml").touch()
    environment = tmp_path / "envs" / "app"
    modules = {"tensorrt": "import missing", "tensorrt_lean": "__version__ = '10.13'"}
    make_environment(environment, modules=modules)
    recipe = {"folder": str(folder), "lock": "", "lock_hash": "", "lock_stamp": []}
    prepared = Prepared(
        profile="cu13",
        environment=str(environment),
        stamp=finish(environment, {}),
        inputs="",
        recipe={**recipe, "python": sys.executable},
    )
    history = History().activate(prepared, automatic=True, now=1)
    StateFolder(folder).write(State(history=history, prepared=(prepared,)))
    given = {"GPUENV_ROOT": str(make_root(tmp_path / "root"))}

    told = machine.gpuenv(folder, "check", given=given)
    assert told.code == 1
    version = ".".join(map(str, sys.version_info[:3]))
    why = "no NVIDIA driver and no GPU were found"
    assert told.out.splitlines() == [
        f"cu13: {environment} (Python {version})",
        f"skipped  driver                  {why}",
        "failed   tensorrt                cannot be imported",
        "                                 cause: ModuleNotFoundError: No module named 'missing'",
        "ok       tensorrt_lean           `10.13` loads",
        f"skipped  tensorrt_lean on a GPU  {why}",
        "1 of 4 failed",
    ]
    assert told.message.error == "the environment of `cu13` does not work here"
    assert told.message.causes == (
        "tensorrt: cannot be imported",
        "ModuleNotFoundError: No module named 'missing'",
    )

    read = machine.gpuenv(folder, "check", "--json", given=given)
    assert read.code == 1
    assert [error["code"] for error in read.envelope["errors"]] == ["check-failed"]
    states = [step["state"] for step in read.envelope["data"]["steps"]]
    assert states == ["skipped", "failed", "ok", "skipped"]
