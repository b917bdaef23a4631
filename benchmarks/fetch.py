"""How long one large wheel takes, beside what else could fetch and hash it.

Run it with `python -m benchmarks.fetch`; words after that are megabytes a second and
connection, `0` for no limit. The server is a process of its own on loopback. Every round
runs each way once, in turn, so that a machine that drifts slows all of them; what is not
installed is left out (`ARIA2C` names the program where it is not on PATH).

aria2c opens five connections unless `-s` says more, so it runs both ways. `uv` and `pip`
unpack or copy the file too, and do not flush it to the disk; we do.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.served import MEGABYTE, Served, make_wheel
from provisioner.adapters.http import Http
from provisioner.adapters.store import Store
from provisioner.core.digest import Digest
from provisioner.core.plan import LockedFile, plan_fetch
from provisioner.workflow.progress import Quiet
from provisioner.workflow.pull import Pull
from tests.simulators.environment import clean_environment, uv_binary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROUNDS: Final = 5
SIZE: Final = 580_000_000
NAME: Final = "large-1.0-py3-none-any.whl"

_ENGINE: Final = "gpuenv (engine alone)"
_SUM: Final = "sha256sum alone"


def main() -> None:
    """Measure at each rate, and print a row a way."""
    rates = [float(word) for word in sys.argv[1:]] or [40.0, 0.0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = make_wheel(folder, "large", SIZE)
        memory: list[int] = []
        with Served(folder) as origin:
            for rate in rates:
                ways = _ways(folder, wheel, f"{origin}/{rate:g}/large/{NAME}", memory)
                _print(rate, _measure(ways, folder / "work"))
        print(f"most memory of our process: {max(memory)} MB")


def engine(url: str, digest: str, folder: Path) -> None:
    """Fetch as `prepare` does; print the seconds without those that Python took to start."""
    http = Http({}, connections=64)
    store = Store(folder / "store")
    store.open()
    # As in a lock for NVIDIA's index, whose pages have no sizes.
    file = LockedFile(name=NAME, url=url, digest=Digest.parse(digest), size=None)
    began = time.perf_counter()
    Pull(store, http, (), Quiet(), offline=False).fetch(plan_fetch([file], store))
    taken = time.perf_counter() - began
    http.close()
    # Linux counts in KiB (getrusage(2)).
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // MEGABYTE
    print(json.dumps({"seconds": taken, "memory": memory}))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Taken:
    """What one run took: seconds, and seconds of processors."""

    wall: float
    processor: float


def _ways(
    folder: Path, wheel: Path, url: str, memory: list[int]
) -> dict[str, Callable[[Path], float | None]]:
    """What to compare; each gets an empty folder, and may say itself what it took.

    `memory` is filled with the most that our process used, in megabytes.
    """
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    variables = clean_environment(folder, UV_HTTP_TIMEOUT="600")

    def runs(*words: str) -> Callable[[Path], None]:
        return lambda work: _run(work, variables, *words)

    def then_sum(*words: str) -> Callable[[Path], None]:
        def both(work: Path) -> None:
            _run(work, variables, *words)
            _run(work, variables, "sha256sum", NAME)

        return both

    def own(work: Path) -> float:
        words = [sys.executable, "-m", "benchmarks.fetch", "engine", url, digest, str(work)]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        said = json.loads(done.stdout)
        memory.append(said["memory"])
        return float(said["seconds"])

    found: dict[str, Callable[[Path], float | None]] = {
        _SUM: runs("sha256sum", str(wheel)),
        _ENGINE: own,
        "gpuenv (with Python's start)": lambda work: own(work) and None,
    }
    if shutil.which("curl"):
        found["curl, one stream, then sha256sum"] = then_sum("curl", "-sfo", NAME, url)
    if aria2c := os.environ.get("ARIA2C") or shutil.which("aria2c"):
        words = (aria2c, "-q", "--file-allocation=none", "-x8")
        found["aria2c -x8, then sha256sum"] = then_sum(*words, url)
        found["aria2c -x8 -s8, then sha256sum"] = then_sum(*words, "-s8", url)
    found["uv pip install"] = runs(
        str(uv_binary()), "pip", "install", "-q", "--no-deps", "--cache-dir=c", "--target=t", url
    )
    pip = (sys.executable, "-m", "pip")
    if not subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode:
        found["pip download"] = runs(*pip, "download", "-q", "--no-deps", "--no-cache-dir", url)
    return found


def _run(work: Path, variables: Mapping[str, str], *words: str) -> None:
    subprocess.run(words, cwd=work, env=dict(variables), check=True, capture_output=True)


def _measure(
    ways: Mapping[str, Callable[[Path], float | None]], work: Path
) -> dict[str, list[_Taken]]:
    taken: dict[str, list[_Taken]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            work.mkdir()
            os.sync()  # What the one before left to write is not this one's to wait for.
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            began = time.perf_counter()
            said = way(work)
            wall = time.perf_counter() - began
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            processor = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
            taken[name].append(_Taken(wall=said or wall, processor=processor))
            shutil.rmtree(work)
    return taken


def _print(rate: float, taken: dict[str, list[_Taken]]) -> None:
    ours = statistics.median(one.wall for one in taken[_ENGINE])
    limit = f"{rate:.0f} MB/s a connection" if rate else "no limit"
    print(
        f"{f'{SIZE // MEGABYTE} MB, {limit}':<34}{'s':>7}{'min':>7}{'max':>7}{'CPU s':>7}{'x':>7}"
    )
    for name, runs in taken.items():
        walls = [one.wall for one in runs]
        median = statistics.median(walls)
        processor = statistics.median(one.processor for one in runs)
        spread = f"{median:>7.2f}{min(walls):>7.2f}{max(walls):>7.2f}"
        print(f"{name:<34}{spread}{processor:>7.2f}{median / ours:>7.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["engine"]:
        engine(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        main()
