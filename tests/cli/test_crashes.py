"""A prepare that is killed between build and flip: the old state or the new one, which is said."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from tests.cli.machine import TIMEOUT_SECONDS, distributions
from tests.cli.projects import TARGET, Project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.machine import Machine

KILLED: Final = """
import os, runpy, signal, sys
event, name, left = sys.argv[1], sys.argv[2], int(sys.argv[3])
del sys.argv[1:4]

def hook(happens, arguments):
    global left
    if happens == event and name in str(arguments):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
runpy.run_module("provisioner", run_name="__main__", alter_sys=True)
"""
# Before what it is killed, the so manieth time, in their order. The first thing that goes from
# the leases is what tried locks there.
POINTS: Final = {
    "the environment is half made": ("os.symlink", "gpuenv-site", 1),
    "the state knows the environment": ("os.rename", "state.json", 1),
    "a uv tries what it was filled with": ("shutil.rmtree", "/envs/proof-", 1),
    "the link leads to it": ("os.rename", ".venv.gpuenv", 1),
    "the lease is given back": ("os.remove", "/leases/", 2),
}


def test_killed_at_any_point_between_build_and_flip_the_next_one_ends_it(
    warm: Machine, new_project: Callable[[Project], Path]
) -> None:
    app = new_project(Project(lines=("cu13",)))
    first = warm.gpuenv(app, "prepare", "--only", "--target", TARGET)
    assert first.code == 0, first.err
    manifest, link = app / "pyproject.toml", app / ".venv"
    generation = 1
    for point, where in POINTS.items():
        with manifest.open("a", encoding="utf-8") as file:
            file.write(f"# another input: {point}\n")
        before = link.readlink()

        killed = subprocess.run(
            [sys.executable, "-I", "-c", KILLED, *map(str, where), "prepare", "--only"],
            cwd=app,
            env=warm.variables(),
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )

        assert killed.returncode == -signal.SIGKILL, (point, killed.stderr)
        told = warm.gpuenv(app, "status", "--json")
        assert (told.code, told.data["linked"]) == (0, True), point
        assert told.data["environment"] == str(link.readlink()), point
        flipped = point == "the lease is given back"
        assert (link.readlink() == before) is not flipped, point
        assert told.data["generation"] == generation + flipped, point
        assert distributions(link) == {"common 1.0", "lean-cu13 1.0", "stub-cu13 1.0"}, point

        done = warm.gpuenv(app, "prepare", "--only", "--json", network=False)

        assert done.data["generation"] > generation, point
        generation = done.data["generation"]
        assert str(link.readlink()) == done.data["environment"], point
        assert {path.name for path in app.iterdir()} == {
            *(".gpuenv", ".venv", "pyproject.toml", "uv.lock")
        }, point
        assert unfinished(warm) == [], point
    verified = warm.gpuenv(app, "store", "verify")
    assert verified.code == 0, verified.err


def unfinished(machine: Machine) -> list[str]:
    """The environments of a store that have no mark."""
    marked = {path.stem for path in (machine.store / "envs").glob("*.json")}
    return sorted(machine.environments() - marked)
