"""How long a whole `prepare` takes beside uv's own `uv sync`, both with empty caches.

Run it with `python -m benchmarks.prepare`. The wheels are real ones, 1.4 GB, which
`pip download --no-deps` brings (`WHEELS` names them); they are looked for in `--wheels`, by
default `gpuenv-benchmarks` in `$XDG_CACHE_HOME`. `--quick` makes smaller ones instead, whose
members are not compressed. Both sides take turns and get the files from the same server on
loopback, a process of its own that is like NVIDIA's index: no sizes, no metadata beside the
wheels. We flush what we keep to the disk; uv does not.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.served import MEGABYTE, Served, make_wheel, project_of
from tests.simulators.environment import clean_environment, uv_binary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

WHEELS: Final = {
    "nvidia-cublas-cu12": "12.4.5.8",
    "nvidia-cudnn-cu12": "9.1.0.70",
    "nvidia-cufft-cu12": "11.2.1.3",
    "nvidia-cusparse-cu12": "12.3.1.170",
}
TARGET: Final = "driver=580.65.06,cuda=13.0,gpus=9.0"

_LARGE_BYTES: Final = 580 * MEGABYTE
_QUICK_BYTES: Final = 60 * MEGABYTE
_LOOK_SECONDS: Final = 0.1
_MEMORY: Final = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)

# Two of the four ask for a fifth, which is left out.
_PROJECT: Final = """\
[project]
name = "app"
version = "0.1.0"
requires-python = ">=3.11"

[project.optional-dependencies]
cu12 = [{names}]

[tool.uv]
exclude-dependencies = ["nvidia-nvjitlink-cu12"]

[[tool.uv.index]]
name = "served"
url = "{index}"
default = true
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What is installed, at how many megabytes a second and connection; 0 for no limit."""

    name: str
    rate: float
    wheels: tuple[Path, ...]
    goal: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What one run took: seconds, seconds of processors, megabytes of our own process."""

    wall: float
    processor: float
    memory: int


def main() -> None:
    """Measure the cases, and print a row a side."""
    parser = argparse.ArgumentParser(description="prepare beside uv sync")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--wheels", type=Path, default=cache / "gpuenv-benchmarks")
    parser.add_argument("--quick", action="store_true", help="small wheels, one round")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--case", help="only those whose name contains this")
    chosen = parser.parse_args()
    rounds = chosen.rounds or (1 if chosen.quick else 5)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        served = folder / "served"
        served.mkdir()
        with Served(_fill(served, None if chosen.quick else chosen.wheels)) as origin:
            for case in _cases(served):
                if not chosen.case or chosen.case in case.name:
                    _print(case, _measure(case, folder, origin, rounds))


def _fill(folder: Path, wheels: Path | None) -> Path:
    """Put the wheels into a folder that is served."""
    make_wheel(folder, "large", _QUICK_BYTES if wheels is None else _LARGE_BYTES)
    for name, version in WHEELS.items():
        stem = name.replace("-", "_")
        if wheels is None:
            make_wheel(folder, stem, _QUICK_BYTES)
            continue
        found = next(wheels.glob(f"{stem}-{version}-*.whl"), None)
        if found is None:
            pins = " ".join(f"{name}=={version}" for name, version in WHEELS.items())
            sys.exit(f"no `{name}` {version}; `pip download --no-deps -d {wheels} {pins}`")
        (folder / found.name).symlink_to(found.resolve())
    return folder


def _cases(folder: Path) -> Iterable[Case]:
    every = sorted(folder.glob("*.whl"))
    four = tuple(wheel for wheel in every if wheel.name.startswith("nvidia"))
    large = tuple(wheel for wheel in every if wheel not in four)
    yield Case(name="four, no limit", rate=0.0, wheels=four, goal=1.6)
    yield Case(name="four, 40 MB/s a connection", rate=40.0, wheels=four, goal=1.2)
    yield Case(name="one, 40 MB/s a connection", rate=40.0, wheels=large, goal=0.7)
    yield Case(name="four, 10 MB/s a connection", rate=10.0, wheels=four, goal=0.4)


def _measure(case: Case, folder: Path, origin: str, rounds: int) -> dict[str, list[Taken]]:
    project = folder / "app"
    project.mkdir()
    names = ", ".join(f'"{project_of(wheel)}"' for wheel in case.wheels)
    text = _PROJECT.format(names=names, index=f"{origin}/{case.rate:g}/")
    (project / "pyproject.toml").write_text(text, encoding="utf-8")
    work = folder / "work"
    variables = clean_environment(
        work,
        PATH=os.pathsep.join([str(uv_binary().parent), os.environ.get("PATH", "")]),
        XDG_CACHE_HOME=str(work / "cache"),
        GPUENV_STORE=str(work / "store"),
        UV_HTTP_TIMEOUT="600",
    )
    # uv has to read the settings of the project; whose machine this is, the home hides.
    del variables["UV_NO_CONFIG"]
    timed(project, variables, str(uv_binary()), "lock", "-q")
    shutil.rmtree(work, ignore_errors=True)
    words = {
        "uv sync": (str(uv_binary()), "sync", "--frozen", "-q", "--extra", "cu12"),
        "gpuenv prepare": (
            *(sys.executable, "-m", "provisioner"),
            *("prepare", "--only", "-q", "--target", TARGET),
        ),
    }
    taken: dict[str, list[Taken]] = {side: [] for side in words}
    for _ in range(rounds):
        for side, command in words.items():
            work.mkdir()
            os.sync()  # What the one before left to write is not this one's to wait for.
            taken[side].append(timed(project, variables, *command))
            shutil.rmtree(work)
            for left in (".venv", ".gpuenv"):
                shutil.rmtree(project / left, ignore_errors=True)
                (project / left).unlink(missing_ok=True)
    shutil.rmtree(project)
    return taken


def timed(folder: Path, variables: Mapping[str, str], *words: str) -> Taken:
    """Run a command in a folder, and tell what it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    memory = 0
    root = Path(__file__).parents[1]
    with subprocess.Popen(
        words,
        cwd=folder,
        env={**variables, "PYTHONPATH": str(root)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while True:
            with suppress(OSError):
                status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
                found = _MEMORY.search(status)
                memory = int(found[1]) * 1024 // MEGABYTE if found else memory
            try:
                process.wait(_LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            break
        wall = time.perf_counter() - began
        said = process.stderr.read() if process.stderr else ""
    if process.returncode:
        sys.exit(f"`{' '.join(words)}` failed:\n{said}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    return Taken(wall=wall, processor=processor, memory=memory)


def _print(case: Case, taken: Mapping[str, list[Taken]]) -> None:
    size = sum(wheel.stat().st_size for wheel in case.wheels) // MEGABYTE
    title = f"{case.name}, {size} MB"
    print(f"{title:<40}{'s':>7}{'min':>7}{'max':>7}{'CPU s':>7}{'MB':>6}{'x':>7}")
    base = statistics.median(one.wall for one in taken["uv sync"])
    for side, runs in taken.items():
        walls = [one.wall for one in runs]
        median = statistics.median(walls)
        processor = statistics.median(one.processor for one in runs)
        memory = max(one.memory for one in runs)
        spread = f"{median:>7.2f}{min(walls):>7.2f}{max(walls):>7.2f}"
        goal = "" if side == "uv sync" else f" (goal {case.goal})"
        print(f"{side:<40}{spread}{processor:>7.2f}{memory:>6}{median / base:>7.2f}{goal}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
