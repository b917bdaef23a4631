"""What a first `prepare` costs beside plain `uv sync`s of the same profiles, one after another.

Run it with `python -m benchmarks.fill`. The project is `examples/tensorrt-lean`, whose 100 MB
come from the public index first, and then from a server on loopback that is like NVIDIA's
index. All begin with empty caches. `uv sync` goes through the profiles once; `prepare` makes an
environment of each, fills uv's cache with it, and, unless `--no-proof` is given, proves that uv
toggles without a network.
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

from benchmarks.prepare import Taken, timed
from benchmarks.served import MEGABYTE
from tests.live.clients import TARGET, copy_example, fetch_example, publish
from tests.simulators.environment import clean_environment, uv_binary
from tests.simulators.index import IndexSimulator

LINES: Final = ("cu13", "cu12")
_GOAL: Final = 1.5


def main() -> None:
    """Measure the sides in turns, and print a row for each."""
    parser = argparse.ArgumentParser(description="a first prepare beside uv sync")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=float, default=0.0, help="MB/s a connection; 0: no limit")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, IndexSimulator() as index:
        folder = Path(name)
        files = fetch_example(folder)
        publish(index, files)
        if chosen.rate:
            index.throttle(chosen.rate * MEGABYTE)
        size = sum(path.stat().st_size for path in files)
        _print(size, _measure(folder, index.index_url, chosen.rounds))


def _measure(folder: Path, index: str, rounds: int) -> dict[str, list[Taken]]:
    project, work = copy_example(folder / "app", index), folder / "work"
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
