"""How long gpuenv's quick commands take, beside `uv sync` and an empty Python.

Run it with `python -m benchmarks.startup`. A small project is prepared from an index on
loopback first; nothing is downloaded. Every round runs each command once, in turn, so that
a machine that drifts slows all of them.
"""

from __future__ import annotations

import itertools
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.simulators.environment import clean_environment, uv_binary
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROUNDS = 15

_PROJECT = """\
[project]
name = "measured"
version = "1"
requires-python = ">=3.11"

[project.optional-dependencies]
cu12 = ["line-cu12"]
cu13 = ["line-cu13"]

[tool.uv]
conflicts = [[{{ extra = "cu12" }}, {{ extra = "cu13" }}]]

[[tool.uv.index]]
name = "loopback"
url = "{url}"
default = true
"""


def main() -> None:
    """Measure, and print a row a command."""
    with tempfile.TemporaryDirectory() as name, IndexSimulator("pypi") as index:
        folder = Path(name)
        for line in ("cu12", "cu13"):
            index.publish(make_wheel(folder, f"line-{line}", "1.0"))
        project = folder / "project"
        project.mkdir()
        (project / "pyproject.toml").write_text(_PROJECT.format(url=index.index_url), "utf-8")
        variables = clean_environment(folder, GPUENV_STORE=str(folder / "store"))
        variables.pop("UV_NO_CONFIG")  # the index stands in `pyproject.toml`
        _print(_measure(_commands(project, variables)))


def _commands(project: Path, variables: Mapping[str, str]) -> dict[str, Callable[[], None]]:
    gpuenv = shutil.which("gpuenv", path=str(Path(sys.executable).parent)) or "gpuenv"
    target = "driver=580.65.06,cuda=13.0,gpus=9.0"

    def runs(*words: str) -> Callable[[], None]:
        def run() -> None:
            subprocess.run(words, cwd=project, env=variables, check=True, capture_output=True)

        return run

    runs(gpuenv, "prepare", "--target", target)()
    profiles = itertools.cycle(["cu12", "cu13"])
    return {
        "python -c pass": runs(sys.executable, "-c", "pass"),
        "python -c 'import click'": runs(sys.executable, "-c", "import click"),
        "uv sync --frozen --extra cu13": runs(str(uv_binary()), "sync", "--frozen", "--extra=cu13"),
        "gpuenv prepare (nothing to do)": runs(gpuenv, "prepare"),
        # The last one, so that the other commands always find the same environment active.
        "gpuenv switch": lambda: _twice(runs, gpuenv, profiles),
    }


def _twice(
    runs: Callable[..., Callable[[], None]], gpuenv: str, profiles: itertools.cycle[str]
) -> None:
    """There and back: two switches, of which `_measure` counts half."""
    for _ in range(2):
        runs(gpuenv, "switch", next(profiles))()


def _measure(commands: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            started = time.perf_counter()
            command()
            taken = time.perf_counter() - started
            seconds[name].append(taken / 2 if name == "gpuenv switch" else taken)
    return seconds


def _print(seconds: dict[str, list[float]]) -> None:
    base = statistics.median(seconds["python -c pass"])
    print(f"{'median of ' + str(ROUNDS):<34}{'ms':>8}{'x python':>10}")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        print(f"{name:<34}{median * 1000:>8.1f}{median / base:>10.1f}")


if __name__ == "__main__":
    main()
