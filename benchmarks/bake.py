"""What it costs to bake an image beside packing the same tree with `tar` and pigz or zstd.

Run it with `python -m benchmarks.bake`. The project needs CUDA wheels of 1.4 GB, which come
from the public index first; they are held before anything is measured. The peers pack an
environment that is unpacked already, at the same level; gpuenv begins with the wheels and hashes
what is in each layer twice, as the format asks for. A second bake follows a change of the
project's own code.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.prepare import Taken, timed
from tests.simulators.environment import clean_environment, uv_binary

if TYPE_CHECKING:
    from collections.abc import Mapping

WHEELS: Final = (
    "nvidia-cublas-cu12==12.9.1.4",
    "nvidia-cufft-cu12==11.4.1.4",
    "nvidia-cusparse-cu12==12.5.10.65",
    "nvidia-nccl-cu12==2.27.3",
)
TARGET: Final = "driver=580.65.06,cuda=13.0,gpus=9.0"
_PROJECT: Final = """\
[project]
name = "app"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = []

[project.optional-dependencies]
cu12 = {wheels}

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""
_GOAL_MB: Final = 200
_GOAL_SECONDS: Final = 2


def main() -> None:
    """Measure the sides in turns, and print a row for each."""
    parser = argparse.ArgumentParser(description="bake image beside tar and a compressor")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        _measure(Path(name), chosen.rounds)


def _measure(work: Path, rounds: int) -> None:
    variables = clean_environment(
        work / "home",
        PATH=os.pathsep.join([str(uv_binary().parent), os.environ.get("PATH", "")]),
        GPUENV_STORE=str(work / "store"),
        UV_CACHE_DIR=str(work / "uv-cache"),
    )
    del variables["UV_NO_CONFIG"]
    project = _project(work / "app")
    gpuenv = (sys.executable, "-m", "provisioner")
    only = ("--only", "--no-proof", "--profile", "cu12")
    timed(project, variables, *gpuenv, "prepare", "-q", "--target", TARGET, *only)
    tree = (project / ".venv").resolve()
    packed = sum(path.stat().st_size for path in work.glob("store/blobs/**/*") if path.is_file())
    whole = sum(path.lstat().st_size for path in tree.rglob("*") if not path.is_dir())
    print(f"{packed / 1e9:.2f} GB of wheels, {whole / 1e9:.2f} GB unpacked, {rounds} rounds")
    print(f"{'':<34}{'s':>7}{'min':>7}{'max':>7}{'CPU s':>7}{'MB':>6}{'x':>7}")
    for compression, packer in (("gzip", "pigz -6"), ("zstd", "zstd -3 -T0 -q")):
        words = ("-q", "-o", str(work / "image"), "--offline", "--profile", "cu12")
        bake = (*gpuenv, "bake", "image", *words, "--compression", compression)
        peer: list[Taken] = []
        first: list[Taken] = []
        second: list[Taken] = []
        for number in range(rounds):
            peer.append(_packed(tree, variables, packer, work / "packed"))
            for left in ("image", "store/layers"):
                shutil.rmtree(work / left, ignore_errors=True)
            os.sync()
            first.append(timed(project, variables, *bake))
            (project / "src/app/changed.py").write_text(f"VALUE = {number}\n", encoding="utf-8")
            second.append(timed(project, variables, *bake))
        base = statistics.median(one.wall for one in peer)
        _row(f"tar | {packer}", peer, base)
        _row(f"bake image --compression {compression}", first, base)
        _row("  after one small change", second, base)
    print(f"the goals: 1.00x, {_GOAL_SECONDS} s after a small change, {_GOAL_MB} MB")


def _project(folder: Path) -> Path:
    (folder / "src/app").mkdir(parents=True)
    (folder / "src/app/__init__.py").touch()
    wheels = "[" + ", ".join(f'"{wheel}"' for wheel in WHEELS) + "]"
    (folder / "pyproject.toml").write_text(_PROJECT.format(wheels=wheels), encoding="utf-8")
    return folder


def _packed(tree: Path, variables: Mapping[str, str], packer: str, output: Path) -> Taken:
    os.sync()
    line = f"tar -C {tree} -cf - . | {packer} > {output}"
    return timed(tree, variables, "sh", "-c", line)


def _row(title: str, runs: list[Taken], base: float) -> None:
    walls = [one.wall for one in runs]
    median = statistics.median(walls)
    processor = statistics.median(one.processor for one in runs)
    memory = max(one.memory for one in runs)
    print(
        f"{title:<34}{median:>7.2f}{min(walls):>7.2f}{max(walls):>7.2f}{processor:>7.2f}"
        f"{memory:>6}{median / base:>7.2f}"
    )


if __name__ == "__main__":
    main()
