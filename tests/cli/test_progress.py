"""What is told while files arrive: bars on a terminal, a line a file elsewhere."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import threading
from itertools import count, islice
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from provisioner.cli.progress import Lines, Terminal, beats, short_name
from tests.cli.machine import GPUENV
from tests.cli.projects import LOCKED, SDISTS, TARGET, WHEELS

if TYPE_CHECKING:
    from collections.abc import Iterator
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
    # Small source distributions are looked into before the rest is planned.
    assert f"{len(SDISTS)} files" in said
    assert f"{len(WHEELS)} files" in said
    assert "lean_cu13 1.0" in said
    assert "lean_cu13-1.0-py3-none-any.whl" not in said
    assert "fetched lean" not in said
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said).splitlines()
    assert shown[-1].startswith("cu13 is active (generation 1)")


def test_elsewhere_every_file_is_one_line(machine: Machine, app: Path) -> None:
    done = machine.gpuenv(app, "prepare", "--target", TARGET)

    lines = [line for line in done.err.splitlines() if line.startswith("fetched ")]
    # A slow machine may need signs of life.
    lines = [line for line in lines if " of " not in line]
    assert {line.split()[1] for line in lines} >= set(LOCKED)
    assert len(lines) == len({line.split()[1] for line in lines})
    assert "\x1b" not in done.err


def test_elsewhere_there_are_signs_of_life_as_long_as_something_is_to_come(
    capsys: pytest.CaptureFixture[str],
) -> None:
    counted = threading.Event()

    def every() -> Iterator[float]:
        yield 0.0
        counted.wait(30)
        yield from (0.0, 0.0)

    lines = Lines(clock=iter(count(0.0, 2.0)).__next__, every=every)
    lines.planned({"a": 4_000_000, "b": 2_000_000})
    lines.started("a", "a.whl", 4_000_000)
    lines.has("a", 1_000_000)
    lines.advanced("a", 2_000_000)
    counted.set()
    while "left" not in (said := capsys.readouterr().err):
        assert "error" not in said
    lines.close()
    lines.finished("a")
    after = capsys.readouterr().err.splitlines()
    assert after[-1].startswith("fetched a.whl (4.0 MB, 1.0 MB of it were there, 0:")


def test_what_another_process_fetched_is_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = Lines()
    lines.awaited("a", "a.whl", 4_000_000)
    lines.has("a", 1_000_000)
    lines.finished("a")
    lines.finished("a")
    lines.finished("never started")
    lines.close()
    assert capsys.readouterr().err == "another process fetched a.whl (4.0 MB)\n"


def test_signs_of_life_come_at_most_every_ten_seconds_and_at_least_every_thirty() -> None:
    first = list(islice(beats(), 100))
    assert first == sorted(first)
    assert {first[0], first[-1]} == {10.0, 30.0}


def test_a_terminal_shows_what_was_there_as_done_and_the_pace_of_what_comes() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, legacy_windows=False)
    now = [0.0]
    terminal = Terminal(console, clock=lambda: now[0])
    terminal.planned({"a": 100_000_000, "b": 100_000_000})
    terminal.started("a", "demo-1.0-py3-none-any.whl", 100_000_000)
    terminal.has("a", 60_000_000)
    terminal.awaited("b", "other-2.0-py3-none-any.whl", 100_000_000)
    now[0] = 2.0
    terminal.advanced("a", 10_000_000)
    shown = drawn(terminal)
    assert "2 files" in shown["total"]
    assert "70.0/200.0 MB" in shown["total"]
    assert "5.0 MB/s 0:26 left" in shown["total"]
    assert "70.0/100.0 MB" in shown["demo 1.0"]
    assert "5.0 MB/s 0:06 left" in shown["demo 1.0"]
    assert "0.0/100.0 MB" in shown["other 2.0 (another process)"]
    terminal.started("a", "demo-1.0-py3-none-any.whl", 100_000_000)
    terminal.has("a", 0)
    assert "0.0/200.0 MB" in drawn(terminal)["total"]
    terminal.finished("a")
    terminal.finished("b")
    assert drawn(terminal) == {}
    terminal.close()


def test_where_a_terminal_is_narrow_the_name_is_shortened() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, legacy_windows=False)
    now = [0.0]
    terminal = Terminal(console, clock=lambda: now[0])
    terminal.planned({"a": 100_000_000, "b": 100_000_000})
    terminal.started("a", f"{'a-source-of-a-long-name' * 3}-1.0.tar.gz", 100_000_000)
    now[0] = 2.0
    terminal.advanced("a", 10_000_000)
    total, one = (line.rstrip() for line in drawn(terminal, width=80).values())
    terminal.close()

    assert total.endswith("5.0 MB/s 0:38 left")
    assert one.endswith("5.0 MB/s 0:18 left")
    assert "…" in one
    assert max(len(total), len(one)) <= 78


def drawn(terminal: Terminal, width: int = 100) -> dict[str, str]:
    """The bars as they are drawn now, by the words they begin with."""
    paper = io.StringIO()
    Console(file=paper, width=width).print(terminal.picture())
    lines = [re.split(r" {2,}|━", line)[0].strip() for line in paper.getvalue().splitlines()]
    names = ["total" if name.endswith(" files") else name for name in lines if name]
    return dict(zip(names, paper.getvalue().splitlines(), strict=False))


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
