"""The half of a probe that runs in a child: loads a library and writes what it answers.

Each answer is a line of JSON, and so is each call before it is made: what was answered before
a hang or a crash is known, and which call it was.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Say = Callable[[dict[str, Any]], None]

_MAPS: Final = "/proc/self/maps"
_ABSENT: Final = "No such file"


def start(seconds: float) -> Say:
    """Prepare the process: nothing that a library prints, dumps or hangs in gets in the way."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Whoever asked may be gone before its limit is reached.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(seconds) + 2)
    output = os.dup(1)
    os.dup2(2, 1)

    def say(line: dict[str, Any]) -> None:
        os.write(output, json.dumps(line).encode() + b"\n")

    return say


def load(candidates: Iterable[str]) -> str | None:
    """Load a library so that it is found under its own name from then on.

    A candidate is a path, or a name that the loader searches for; the first that loads is
    taken. Returns why none was, if so.
    """
    import ctypes

    why = "No such file or directory"
    for candidate in candidates:
        try:
            ctypes.CDLL(candidate, mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            # A file that cannot be loaded says more than one that is missing.
            why = why if _ABSENT in str(error) else str(error)
        else:
            return None
    return why


def loaded_path(name: str) -> str | None:
    """The file of a library that this process has loaded."""
    try:
        with open(_MAPS, encoding="utf-8", errors="replace") as maps:  # noqa: PTH123
            paths = [line.split(maxsplit=5)[-1].strip() for line in maps]
    except OSError:
        return None
    return next((path for path in paths if os.path.basename(path).startswith(name)), None)  # noqa: PTH119


def finish(say: Say, fault: BaseException | None = None) -> None:
    """End the process at once, without what libraries do at their end, which may hang."""
    if fault is not None:
        say({"failed": f"{type(fault).__name__}: {fault}"})
    sys.stdout.flush()
    os._exit(0 if fault is None else 1)
