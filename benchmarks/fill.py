"""What a first `prepare` costs beside plain `uv sync`s of the same profiles, one after another.

Run it with `python -m benchmarks.fill`. The project is like `examples/tensorrt-lean`: a large
wheel and three small ones a CUDA line, three for all lines, 100 MB together (`--quick`: 14 MB).
All begin with empty caches and get the files from one server on loopback that is like NVIDIA's
index. `uv sync` goes through the profiles once; `prepare` makes an environment of each, fills
uv's cache with it, and, unless `--no-proof` is given, proves that uv toggles without a network.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.prepare import TARGET, Taken, timed
from benchmarks.served import MEGABYTE, Served, make_wheel
from tests.simulators.environment import clean_environment, uv_binary

LINES: Final = ("cu13", "cu12")
_GOAL: Final = 1.5
_PROJECT: Final = """\
[project]
name = "app"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["common0", "common1", "common2"]

[project.optional-dependencies]
{extras}

[tool.uv]
conflicts = [[{conflicts}]]

[[tool.uv.index]]
name = "served"
url = "{index}"
default = true
"""


def main() -> None:
    """Measure the sides in turns, and print a row for each."""
    parser = argparse.ArgumentParser(description="a first prepare beside uv sync")
    parser.add_argument("--quick", action="store_true", help="small wheels, one round")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--rate", type=float, default=0.0, help="MB/s a connection; 0: no limit")
    chosen = parser.parse_args()
    rounds = chosen.rounds or (1 if chosen.quick else 5)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        served = folder / "served"
        served.mkdir()
        size = _fill(served, quick=chosen.quick)
        with Served(served) as origin:
            _print(size, _measure(folder, f"{origin}/{chosen.rate:g}/", rounds))


def _fill(folder: Path, *, quick: bool) -> int:
    """Make the wheels, and tell their bytes."""
    for number in range(3):
        make_wheel(folder, f"common{number}", 1 << 20)
    for line in LINES:
        make_wheel(folder, f"lean_{line}", (2 << 20) if quick else (38 << 20))
        for number in range(3):
            make_wheel(folder, f"part{number}_{line}", (1 << 20) if quick else (3 << 20))
    return sum(path.stat().st_size for path in folder.iterdir())


def _measure(folder: Path, index: str, rounds: int) -> dict[str, list[Taken]]:
    project, work = folder / "app", folder / "work"
    project.mkdir()
    needs = {line: [f"lean-{line}", *(f"part{n}-{line}" for n in range(3))] for line in LINES}
    text = _PROJECT.format(
        index=index,
        extras="\n".join(f"{line} = {names}" for line, names in needs.items()),
        conflicts=", ".join(f'{{ extra = "{line}" }}' for line in LINES),
    )
    (project / "pyproject.toml").write_text(text, encoding="utf-8")
    variables = clean_environment(
        work,
        PATH=os.pathsep.join([str(uv_binary().parent), os.environ.get("PATH", "")]),
        XDG_CACHE_HOME=str(work / "cache"),
        GPUENV_STORE=str(work / "store"),
    )
    # uv has to read the settings of the project; whose machine this is, the home hides.
    del variables["UV_NO_CONFIG"]
    timed(project, variables, str(uv_binary()), "lock", "-q")
    shutil.rmtree(work, ignore_errors=True)
    sync = (str(uv_binary()), "sync", "--frozen", "-q")
    prepare = (sys.executable, "-m", "provisioner", "prepare", "-q", "--target", TARGET)
    sides: dict[str, list[tuple[str, ...]]] = {
        "uv sync, each profile": [*((*sync, "--extra", line) for line in LINES), sync],
        "gpuenv prepare --no-proof": [(*prepare, "--no-proof")],
        "gpuenv prepare": [prepare],
    }
    taken: dict[str, list[Taken]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, commands in sides.items():
            work.mkdir()
            os.sync()  # What the one before left to write is not this one's to wait for.
            runs = [timed(project, variables, *command) for command in commands]
            taken[side].append(
                Taken(
                    wall=sum(one.wall for one in runs),
                    processor=sum(one.processor for one in runs),
                    memory=max(one.memory for one in runs),
                )
            )
            shutil.rmtree(work)
            for left in (".venv", ".gpuenv"):
                shutil.rmtree(project / left, ignore_errors=True)
                (project / left).unlink(missing_ok=True)
    return taken


def _print(size: int, taken: dict[str, list[Taken]]) -> None:
    title = f"3 profiles, {size // MEGABYTE} MB"
    print(f"{title:<28}{'s':>7}{'min':>7}{'max':>7}{'CPU s':>7}{'MB':>6}{'x':>7}")
    walls = {side: [one.wall for one in runs] for side, runs in taken.items()}
    median = {side: statistics.median(each) for side, each in walls.items()}
    base, *_ = median.values()
    for side, runs in taken.items():
        spread = f"{median[side]:>7.2f}{min(walls[side]):>7.2f}{max(walls[side]):>7.2f}"
        processor = statistics.median(one.processor for one in runs)
        memory = max(one.memory for one in runs)
        print(f"{side:<28}{spread}{processor:>7.2f}{memory:>6}{median[side] / base:>7.2f}")
    share = 1 - median["gpuenv prepare --no-proof"] / median["gpuenv prepare"]
    print(f"the proof is {share:.0%} of prepare; the goal is {_GOAL} of uv sync")


if __name__ == "__main__":
    main()
