"""How long a switch takes beside uv's toggle, and a further environment beside uv's own.

Run it with `python -m benchmarks.switch`. A project has two lines that exclude each other, each
with as many small files as asked for, from an index on loopback. gpuenv switches there and back
between what it has prepared; in a copy of the project `uv sync --frozen --extra` rewrites one
`.venv`. For a further environment both begin in a new folder, with a warm cache of uv's and, for
gpuenv, a warm store. The sides take turns, so that a machine that drifts slows all of them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.simulators.environment import clean_environment, uv_binary
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable

LINES: Final = ("cu12", "cu13")
TARGET: Final = "driver=580.65.06,cuda=13.0,gpus=9.0"

_FILES_OF_A_WHEEL: Final = 300
_PROJECT: Final = """\
[project]
name = "measured"
version = "1"
requires-python = ">=3.11"

[project.optional-dependencies]
cu12 = [{cu12}]
cu13 = [{cu13}]

[tool.uv]
conflicts = [[{{ extra = "cu12" }}, {{ extra = "cu13" }}]]

[[tool.uv.index]]
name = "loopback"
url = "{url}"
default = true
"""


def main() -> None:
    """Measure, and print a row for each side."""
    parser = argparse.ArgumentParser(description="switch beside uv sync")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--files", type=int, nargs="*", default=[12_000, 100])
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, IndexSimulator() as index:
        benches = [Bench(Path(name) / f"{files}", index, files) for files in chosen.files]
        _print("toggled, goal 0.35", chosen.rounds, [bench.toggles() for bench in benches])
        _print("a further one, goal 1.5", chosen.rounds, [bench.further() for bench in benches])


class Bench:
    """A project that is prepared, and a copy of it that uv alone works in."""

    def __init__(self, folder: Path, index: IndexSimulator, files: int) -> None:
        folder.mkdir()
        self._folder, self._files = folder, files
        self._variables = clean_environment(
            folder,
            PATH=os.pathsep.join([str(uv_binary().parent), os.environ.get("PATH", "")]),
            XDG_CACHE_HOME=str(folder / "cache"),
            GPUENV_STORE=str(folder / "store"),
        )
        self._variables.pop("UV_NO_CONFIG")  # the index stands in `pyproject.toml`
        self._original = folder / "original"
        self._original.mkdir()
        names = {line: _publish(index, folder / "wheels", line, files) for line in LINES}
        text = _PROJECT.format(url=index.index_url, **names)
        (self._original / "pyproject.toml").write_text(text, encoding="utf-8")
        self._run(self._original, *_uv("lock"))
        self._ours, self._uvs = self._copy("ours"), self._copy("uvs")
        self._run(self._ours, *_gpuenv("prepare", "--target", TARGET))

    def toggles(self) -> dict[str, Callable[[], float]]:
        """What tells the seconds of half of there and back."""

        def toggle(folder: Path, *commands: tuple[str, ...]) -> Callable[[], float]:
            return lambda: sum(self._run(folder, *words) for words in commands) / len(commands)

        syncs = [_uv("sync", "--frozen", "--extra", line) for line in LINES]
        for words in syncs:
            self._run(self._uvs, *words)  # The first one makes the environment.
        switches = [_gpuenv("switch", line) for line in LINES]
        return {
            f"{self._files:,} files: uv sync": toggle(self._uvs, *syncs),
            f"{self._files:,} files: gpuenv switch": toggle(self._ours, *switches),
        }

    def further(self) -> dict[str, Callable[[], float]]:
        """What tells the seconds for an environment in a folder that has none."""

        def anew(*words: str) -> Callable[[], float]:
            def run() -> float:
                folder = self._copy("new")
                os.sync()  # What the one before left to write is not this one's to wait for.
                taken = self._run(folder, *words)
                shutil.rmtree(folder)
                return taken

            return run

        prepare = _gpuenv("prepare", "--only", "--profile", LINES[0], "--target", TARGET)
        return {
            f"{self._files:,} files: uv sync": anew(*_uv("sync", "--frozen", "--extra", LINES[0])),
            f"{self._files:,} files: prepare --no-proof": anew(*prepare, "--no-proof"),
            f"{self._files:,} files: prepare": anew(*prepare),
        }

    def _copy(self, name: str) -> Path:
        return shutil.copytree(self._original, self._folder / name)

    def _run(self, folder: Path, *words: str) -> float:
        """Run a command, and tell how many seconds it took."""
        began = time.perf_counter()
        done = subprocess.run(
            words,
            cwd=folder,
            env=self._variables,
            capture_output=True,
            text=True,
            check=False,
        )
        taken = time.perf_counter() - began
        if done.returncode:
            sys.exit(f"`{' '.join(words)}` failed:\n{done.stderr}")
        return taken


def _publish(index: IndexSimulator, folder: Path, line: str, files: int) -> str:
    """Publish wheels that have so many files together; what a project asks for them with."""
    names = []
    for number, start in enumerate(range(0, files, _FILES_OF_A_WHEEL)):
        # Three of each go with every wheel: its own module, and two of its description.
        count = min(_FILES_OF_A_WHEEL, files - start) - 4
        name = f"part{files}n{number}-{line}"
        package = name.replace("-", "_")
        contents = {
            f"{package}/f{item}.py": f"value = {item}\n".encode() * 20 for item in range(count)
        }
        index.publish(make_wheel(folder, name, "1.0", files=contents))
        names.append(f'"{name}"')
    return ", ".join(names)


def _uv(*words: str) -> tuple[str, ...]:
    return (str(uv_binary()), *words)


def _gpuenv(*words: str) -> tuple[str, ...]:
    beside = shutil.which("gpuenv", path=str(Path(sys.executable).parent))
    return (beside or "gpuenv", *words)


def _print(title: str, rounds: int, cases: list[dict[str, Callable[[], float]]]) -> None:
    """Let all sides of all cases take turns, and print a row for each, beside the case's first."""
    taken: dict[str, list[float]] = {side: [] for case in cases for side in case}
    for _ in range(rounds):
        for case in cases:
            for side, run in case.items():
                taken[side].append(run())
    print(f"{title:<36}{'ms':>8}{'min':>8}{'max':>8}{'x':>7}")
    for case in cases:
        base = statistics.median(taken[next(iter(case))])
        for side in case:
            each = taken[side]
            median = statistics.median(each)
            figures = "".join(f"{value * 1000:>8.0f}" for value in (median, min(each), max(each)))
            print(f"{side:<36}{figures}{median / base:>7.2f}", flush=True)


if __name__ == "__main__":
    main()
