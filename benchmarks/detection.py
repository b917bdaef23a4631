"""How long it takes to find out what the machine is, cold and remembered, beside an empty Python.

Run it with `python -m benchmarks.detection`. The machine is a folder with a compiled stand-in
for NVML that answers at once, so that what is measured is gpuenv's own work. Peers that ask
NVML cannot be faster than it; conda's `__cuda` and rattler's are said to take up to 1.5 s cold
and 1 ms remembered (conda/rattler#2568), measured elsewhere.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from provisioner.workflow.detect import detect_host
from provisioner.workflow.world import World
from tests.simulators.environment import clean_environment
from tests.simulators.libnvml import build_libnvml, libnvml_environment
from tests.simulators.nvml import SimulatedGpu

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 15
_EIGHT = tuple(SimulatedGpu(uuid=f"GPU-{index}") for index in range(8))


def main() -> None:
    """Measure, and print a row each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        library = build_libnvml(folder / "library")
        variables = {
            **clean_environment(folder),
            **libnvml_environment(library, gpus=_EIGHT),
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        world = World(
            variables=variables,
            home=folder,
            folder=folder,
            now=time.time,
            root=Path(variables["GPUENV_ROOT"]),
        )
        command = [sys.executable, "-m", "provisioner", "detect"]

        def run(*words: str) -> None:
            subprocess.run(words, env=variables, check=True, capture_output=True)

        rows: dict[str, Callable[[], object]] = {
            "python -c pass": lambda: run(sys.executable, "-c", "pass"),
            "asked anew, 8 GPUs (own work)": lambda: detect_host(world, fresh=True),
            "remembered (own work)": lambda: detect_host(world),
            "gpuenv detect, remembered": lambda: run(*command),
        }
        found = detect_host(world)
        assert len(found.gpus) == len(_EIGHT)  # noqa: S101 - else something else was measured
        seconds: dict[str, list[float]] = {row: [] for row in rows}
        for _ in range(ROUNDS):
            for row, call in rows.items():
                started = time.perf_counter()
                call()
                seconds[row].append(time.perf_counter() - started)
        base = statistics.median(seconds["python -c pass"])
        print(f"{'median of ' + str(ROUNDS):<34}{'ms':>8}{'x python':>10}")
        for row, taken in seconds.items():
            median = statistics.median(taken)
            print(f"{row:<34}{median * 1000:>8.2f}{median / base:>10.2f}")


if __name__ == "__main__":
    main()
