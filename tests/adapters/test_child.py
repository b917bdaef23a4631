"""Children that hang, crash, shout and do not start."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters._child import Limit, Ran, python_command, run

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux's drivers are asked")

PYTHON = (sys.executable, "-I", "-S", "-c")


def silent(_: str) -> None:
    """Tell nobody."""


def child(code: str, seconds: float = 20, variables: Mapping[str, str] | None = None) -> Ran:
    return run([*PYTHON, code], variables or {}, Limit(seconds, silent), lambda _: "it")


def test_what_a_child_writes_is_read_to_its_end() -> None:
    ran = child("print('x' * 300000)")
    assert (len(ran.output), ran.code, ran.timed_out) == (300_001, 0, False)


def test_a_hang_ends_in_time_and_keeps_what_was_written() -> None:
    started = time.monotonic()
    ran = child("import time; print('so far', flush=True); time.sleep(60)", 0.6)
    assert time.monotonic() - started < 5
    assert (ran.output, ran.code, ran.timed_out) == (b"so far\n", None, True)


def test_a_child_that_ignores_what_it_is_told_ends_all_the_same() -> None:
    code = (
        "import signal, time\n"
        "for number in (1, 2, 15): signal.signal(number, signal.SIG_IGN)\n"
        "print(flush=True)\ntime.sleep(60)"
    )
    assert child(code, 0.6).timed_out


def is_there(process: int) -> bool:
    """Whether a process runs; one that ended and was not collected does not."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def ended(process: int) -> bool:
    """Whether a process ends within a second: what is killed needs a moment."""
    end = time.monotonic() + 1
    while is_there(process) and time.monotonic() < end:
        time.sleep(0.01)
    return not is_there(process)


GRANDCHILD = "import os, time\nother = os.fork()\nif other == 0: {first}time.sleep(60)\n"


@pytest.mark.parametrize("first", ["", "os.close(1); "], ids=["with the output", "without it"])
def test_a_child_that_ended_is_not_waited_for_because_of_its_children(first: str) -> None:
    code = GRANDCHILD.format(first=first) + "print(other, flush=True)\nraise SystemExit(3)"
    started = time.monotonic()
    ran = child(code)
    assert time.monotonic() - started < 10
    assert (ran.code, ran.timed_out) == (3, False)
    assert ended(int(ran.output))


def test_the_children_of_a_child_end_with_it() -> None:
    code = GRANDCHILD.format(first="") + "print(other, flush=True)\ntime.sleep(60)"
    ran = child(code, 0.6)
    assert ran.timed_out
    assert ended(int(ran.output))


def test_all_that_a_child_wrote_is_read_though_its_children_hold_the_output() -> None:
    code = GRANDCHILD.format(first="") + "print('x' * 300000, flush=True)"
    ran = child(code)
    assert (len(ran.output), ran.code, ran.timed_out) == (300_001, 0, False)


def test_a_grandchild_that_shouts_does_not_keep_the_answer_back() -> None:
    shout = "[os.write(1, b'x' * 100) for _ in iter(int, 1)]; "
    ran = child(GRANDCHILD.format(first=shout) + "raise SystemExit(0)", 10)
    assert (ran.code, ran.timed_out) == (0, False)


def test_a_child_that_the_system_collects_is_read_all_the_same() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        ran = child("print('x')")
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert (ran.output, ran.timed_out) == (b"x\n", False)


def test_a_child_of_another_session_is_not_waited_for() -> None:
    code = GRANDCHILD.format(first="os.setsid(); ") + "print(other, flush=True)"
    started = time.monotonic()
    ran = child(code)
    assert time.monotonic() - started < 10
    assert (ran.code, ran.timed_out) == (0, False)
    os.kill(int(ran.output), signal.SIGKILL)


def test_a_child_that_closes_its_output_and_stays_is_ended() -> None:
    assert child("import os, time\nos.close(1)\ntime.sleep(60)", 0.6).timed_out


def test_a_crash_gives_the_signals_number() -> None:
    assert child("import os; os.abort()").code == -6


def test_an_exit_status_is_told() -> None:
    assert child("raise SystemExit(3)").code == 3


def test_a_program_that_is_not_there_says_so() -> None:
    ran = run(["/no/such/program"], {}, Limit(1, silent), lambda _: "it")
    assert (ran.output, ran.code, ran.timed_out) == (b"", None, False)
    assert ran.detail == "no such file or directory"


def test_nothing_is_started_when_the_time_is_up() -> None:
    ran = run(["/no/such/program"], {}, Limit(0, silent), lambda _: "it")
    assert (ran.timed_out, ran.detail) == (True, None)


def test_variables_that_hide_gpus_do_not_reach_a_child() -> None:
    code = "import os; print(sorted(name for name in os.environ if 'V' in name))"
    given = {"CUDA_VISIBLE_DEVICES": "1", "NVML_MPS_DEVICE_ENUMERATION": "1", "V": "1"}
    assert child(code, variables=given).output == b"['V']\n"


def test_what_is_waited_for_is_told_once_and_after_a_second() -> None:
    told: list[tuple[float, str]] = []
    started = time.monotonic()
    limit = Limit(1.8, lambda text: told.append((time.monotonic() - started, text)))
    code = "import time\nwhile True: print('line', flush=True); time.sleep(0.1)"
    run([*PYTHON, code], {}, limit, lambda written: f"it after {len(written)} bytes")
    run([*PYTHON, code], {}, limit, lambda _: "another")
    ((at, text),) = told
    assert 1 <= at < 1.7
    assert text.startswith("waiting for it after ")


def test_a_quick_child_is_not_told_of() -> None:
    told: list[str] = []
    run([*PYTHON, "pass"], {}, Limit(20, told.append), lambda _: "it")
    assert told == []


@pytest.mark.parametrize("module", ["provisioner.adapters.nvml", "provisioner.adapters.libcuda"])
def test_a_probe_starts_without_the_site_packages_of_its_python(module: str) -> None:
    candidates = "[5, [], []]" if module.endswith("nvml") else "[5, []]"
    ran = run(python_command(module, [], candidates), {}, Limit(20, silent), lambda _: "it")
    assert (ran.code, ran.timed_out) == (0, False)
    assert b"No such file" in ran.output
