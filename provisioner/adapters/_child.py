"""Child processes that may hang or crash, and that are never waited for without end.

A driver in trouble can hold a process in a state in which nothing ends it. So every question
to the driver is asked in a child, within one time limit for all of them together.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_HIDDEN: Final = frozenset({"CUDA_VISIBLE_DEVICES", "NVML_MPS_DEVICE_ENUMERATION"})
"""They hide GPUs, or show an MPS server's view of them (nvml.h); the machine is asked for."""
_TELL_AFTER_SECONDS: Final = 1.0
_LAST_WAIT_SECONDS: Final = 0.2
_LOOK_SECONDS: Final = 0.05
"""How often to look whether a child has ended whose output is held open by another process."""
_MOST_BYTES: Final = 1 << 22
_BLOCK: Final = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """What a child wrote to stdout, and how it ended.

    `code` is its exit status, the negative number of a signal, or None where it had to be
    ended or could not be started, for which `detail` says why.
    """

    output: bytes
    code: int | None
    timed_out: bool = False
    detail: str | None = None


class Limit:
    """The time that all probes of a machine have together.

    `tell` is told once, after a second, what is waited for.
    """

    def __init__(self, seconds: float, tell: Callable[[str], None]) -> None:
        self.seconds = seconds
        self._tell = tell
        self._end = time.monotonic() + seconds
        self._tell_at: float | None = time.monotonic() + _TELL_AFTER_SECONDS

    @property
    def left(self) -> float:
        """Seconds that are left, not below zero."""
        return max(0.0, self._end - time.monotonic())

    def wait_seconds(self) -> float:
        """How long to wait before looking around again."""
        if self._tell_at is None:
            return self.left
        return max(0.0, min(self.left, self._tell_at - time.monotonic()))

    def tell(self, what: Callable[[], str]) -> None:
        """Say what is waited for, when it is time to."""
        if self._tell_at is not None and time.monotonic() >= self._tell_at:
            self._tell_at = None
            self._tell(f"waiting for {what()}")


def python_command(module: str, packages: Sequence[Path], *arguments: str) -> list[str]:
    """The command that runs `main` of one of gpuenv's modules in a fresh Python.

    It starts without `site`, which takes half of the time; `packages` are the folders that
    the module imports from.
    """
    own = Path(__file__).parents[2]
    folders = [str(folder) for folder in dict.fromkeys([own, *packages])]
    code = f"import sys; sys.path += {folders!r}; from {module} import main; main(sys.argv[1:])"
    return [sys.executable, "-I", "-S", "-c", code, *arguments]


def run(
    command: Sequence[str],
    variables: Mapping[str, str],
    limit: Limit,
    waiting: Callable[[bytearray], str],
    *,
    hidden: frozenset[str] = _HIDDEN,
) -> Ran:
    """Run a command until it ends or the time is up; `waiting` says what it is at.

    It gets a session of its own, which is ended as a whole, by then at the latest. What it
    wrote before that is kept. It does not get the variables that are `hidden`.
    """
    if limit.left <= 0:
        return Ran(output=b"", code=None, timed_out=True)
    environment = {name: value for name, value in variables.items() if name not in hidden}
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        return Ran(output=b"", code=None, detail=(error.strerror or str(error)).lower())
    written = bytearray()
    try:
        whole = _read(process, written, limit, waiting)
        if whole:
            whole = _ends(process, max(limit.left, _LAST_WAIT_SECONDS))
    finally:
        _end(process)
    return Ran(
        output=bytes(written),
        code=process.returncode if whole else None,
        timed_out=not whole,
    )


def _read(
    process: subprocess.Popen[bytes],
    written: bytearray,
    limit: Limit,
    waiting: Callable[[bytearray], str],
) -> bool:
    """Read until the child closes its output or ends; False: the time is up."""
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    descriptor = process.stdout.fileno()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    over = False
    while limit.left > 0:
        if poll.poll(min(limit.wait_seconds(), _LOOK_SECONDS) * 1000):
            block = os.read(descriptor, _BLOCK)
            if not block:
                return True
            if len(written) < _MOST_BYTES:
                written += block
        elif over:
            return True
        if not over and _has_ended(process):
            # Its own children may hold the output open; what is in it is still read.
            over = True
            _end_session(process)
        limit.tell(partial(waiting, written))
    return over


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether the child has ended. It is not collected: its session's number stays taken."""
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    try:
        return os.waitid(os.P_PID, process.pid, options) is not None
    except ChildProcessError:
        return True  # The system collected it: whoever started us ignores SIGCHLD.


def _ends(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the child ends in time."""
    end = time.monotonic() + seconds
    pause = 0.0005
    while not _has_ended(process):
        left = end - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LOOK_SECONDS)
    return True


def _end_session(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the child's session, and wait only shortly: what the driver holds cannot be ended."""
    _end_session(process)
    try:
        process.wait(_LAST_WAIT_SECONDS)
    except subprocess.TimeoutExpired:
        # Whoever collects it is the system, once the driver lets go of it.
        process.returncode = -signal.SIGKILL
    if process.stdout is not None:
        process.stdout.close()
