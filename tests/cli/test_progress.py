"""What is told while files arrive: bars on a terminal, a line a file elsewhere."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from provisioner.cli.progress import short_name
from tests.cli.machine import GPUENV
from tests.cli.projects import LOCKED, TARGET

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.machine import Machine


def on_a_terminal(machine: Machine, folder: Path, *words: str) -> tuple[int, str]:
    """Run `gpuenv` with all of its output on a pseudo-terminal 100 columns wide."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*GPUENV, *words],
        cwd=folder,
        env=machine.variables({"COLUMNS": "100", "TERM": "xterm-256color"}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            block = os.read(ours, 1 << 16)
        except OSError:
            break
        if not block:
            break
        said += block
    os.close(ours)
    return process.wait(), said.decode()


@pytest.mark.skipif(sys.platform != "linux", reason="reads a pseudo-terminal as Linux ends it")
def test_a_terminal_shows_bars_and_then_only_the_result(machine: Machine, app: Path) -> None:
    code, said = on_a_terminal(machine, app, "prepare", "--target", TARGET)

    assert code == 0, said
    assert f"{len(LOCKED)} files" in said
    assert "lean_cu13 1.0" in said
    assert "lean_cu13-1.0-py3-none-any.whl" not in said
    assert "fetched lean" not in said
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said).splitlines()
    assert shown[-1].startswith("cu13 is active (generation 1)")


def test_elsewhere_every_file_is_one_line(machine: Machine, app: Path) -> None:
    done = machine.gpuenv(app, "prepare", "--target", TARGET)

    lines = [line for line in done.err.splitlines() if line.startswith("fetched ")]
    assert {line.split()[1] for line in lines} >= set(LOCKED)
    assert len(lines) == len({line.split()[1] for line in lines})
    assert "\x1b" not in done.err


def test_quiet_says_nothing(machine: Machine, app: Path) -> None:
    done = machine.gpuenv(app, "prepare", "--target", TARGET, "-q")

    assert (done.code, done.out, done.err) == (0, "", "")


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("nvidia_cublas-13.1.0-py3-none-manylinux_2_27_x86_64.whl", "nvidia_cublas 13.1.0"),
        ("six-1.17.0-1-py2.py3-none-any.whl", "six 1.17.0"),
        ("tensorrt_cu12-10.16.1.11.tar.gz", "tensorrt_cu12-10.16.1.11.tar.gz"),
        ("odd.whl", "odd.whl"),
    ],
)
def test_a_bar_leaves_out_the_tags_of_a_wheel(name: str, short: str) -> None:
    assert short_name(name) == short
