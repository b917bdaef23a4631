"""Files that are whole or absent, and locks between processes.

The one module that other adapters may import: it is about the operating system, not about
an outside thing.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from provisioner.errors import LockHeldError, SpaceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

_POLL_SECONDS: Final = 0.1


def write_whole(path: Path, content: str) -> None:
    """Write a text file so that a reader or a crash sees the old or the new one.

    Raises:
        SpaceError: the file system is full; the old file is as it was.
    """
    staged = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    try:
        with staged.open("w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise no_space(error, path) from error
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Flush a folder, so that a rename in it outlives a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:  # noqa: ANN401 - what JSON holds is for the caller to check
    """Read a JSON file; None where it is absent.

    Raises:
        ValueError: it is damaged; what we write is whole.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None


def no_space(error: OSError, path: Path) -> Exception:
    """The user's words for a full file system; any other error as it is."""
    if error.errno not in NO_SPACE:
        return error
    message = f"no space left on the file system of `{path.parent}`"
    return SpaceError(message, hint="free some space, or choose another folder with `--store`")


@contextmanager
def locked(
    path: Path, *, wait_seconds: float, waiting: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold an exclusive lock between processes (and threads) on a file.

    `waiting` is told once who holds the lock.

    Raises:
        LockHeldError: another process still holds it after `wait_seconds`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _acquire(descriptor, path, wait_seconds, waiting)
        os.ftruncate(descriptor, 0)
        holder = f"process {os.getpid()} on {os.uname().nodename} (`{' '.join(sys.argv[:2])}`)"
        os.pwrite(descriptor, holder.encode(), 0)
        yield
    finally:
        os.close(descriptor)


def is_exclusive(path: Path) -> bool:
    """Whether somebody's lock on a file keeps others out; on some file systems none does."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    else:
        return False
    finally:
        os.close(descriptor)


def _acquire(
    descriptor: int, path: Path, wait_seconds: float, waiting: Callable[[str], None] | None
) -> None:
    deadline = time.monotonic() + wait_seconds
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 512, 0).decode("utf-8", "replace") or "another process"
            if time.monotonic() >= deadline:
                message = f"`{path}` is locked"
                raise LockHeldError(message, causes=(f"held by {holder}",)) from None
            if waiting and not told:
                waiting(holder)
                told = True
            time.sleep(_POLL_SECONDS)
        else:
            return
