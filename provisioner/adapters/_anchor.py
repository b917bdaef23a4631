"""Keep a process in the environment that it was started in, whatever `.venv` leads to later.

This is no part of gpuenv's own program: it is put into each environment as `_gpuenv.py`, and
`_gpuenv.pth` beside it calls `pin` at every start of Python. It has to be quick, to know nothing
but the standard library of any Python that gpuenv supports, and never to spoil a start.
"""

import os
import sys

# As the process came to it: through `.venv`, or straight.
_LINK = __file__.rsplit(os.sep, 4)[0]
_HOME = os.path.realpath(_LINK)
_TRIES = 20
_PAUSE_SECONDS = 0.01


def pin() -> None:
    """Replace the link by where it led when this process started.

    Python reads `.pth` files twice in an environment, and other files among them may add
    folders below the link in between.
    """
    try:
        sys.path[:] = dict.fromkeys(map(_pinned, sys.path))
        # What asks an interpreter about itself does so with `-I`; uv remembers the answer
        # under the path of the link, where it must be true after a switch as well.
        if _absolute(sys.prefix) == _LINK and not sys.flags.isolated:
            sys.executable = _pinned(_absolute(sys.executable))
            sys.prefix = sys.exec_prefix = _HOME
            prefixes = sys.modules["site"].PREFIXES
            prefixes[:] = dict.fromkeys(map(_pinned, prefixes))
    except Exception:  # noqa: BLE001, S110 - a start must not fail by this
        pass


def _absolute(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - what the link leads to is not asked for


def _pinned(path: str) -> str:
    return _HOME + path[len(_LINK) :] if f"{path}/".startswith(f"{_LINK}/") else path


class _Mark:
    """The environment's mark, open as long as the interpreter lives that looked for it."""

    def __init__(self) -> None:
        self.file = os.open(f"{_HOME}.json", os.O_RDONLY)
        self._known = os.fstat(self.file)[1:3]
        # An interpreter that ends may have taken away by then what modules name.
        self._ask, self._close = os.fstat, os.close

    def __del__(self) -> None:
        # Each interpreter within a process has one of these, and there may be many in turn.
        # A program may have closed all its files, and have another one by this number.
        try:
            if self._ask(self.file)[1:3] == self._known:
                self._close(self.file)
        except Exception:  # noqa: BLE001, S110 - it is closed, or was never opened
            pass


def _hold() -> "_Mark | None":
    """Hold a shared lock on the environment's mark as long as this process runs.

    A collection tells by it that the environment is in use; for the moment in which it looks
    it holds the lock itself.
    """
    try:
        import fcntl

        mark = _Mark()
        for _ in range(_TRIES):
            try:
                fcntl.flock(mark.file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                import time

                time.sleep(_PAUSE_SECONDS)
            else:
                return mark
    except Exception:  # noqa: BLE001, S110 - as above; no mark, or no lock to be had
        pass
    return None


_mark = _hold()
