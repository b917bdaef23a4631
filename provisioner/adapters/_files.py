"""Files that are whole or absent, and locks between processes.

The one module that other adapters may import: it is about the operating system, not about
an outside thing.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from provisioner.errors import LockHeldError, SpaceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from provisioner.core.blob_record import Stamp

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})

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


@contextmanager
def unless_read_only() -> Iterator[None]:
    """Do without a note where it cannot be written, as in another user's store."""
    try:
        yield
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise


def stamp_from(found: os.stat_result) -> Stamp | None:
    """The stamp of a file whose `lstat` is known; None for what is no regular file."""
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino, stat.S_IMODE(found.st_mode)


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
    path: Path,
    *,
    wait_seconds: float,
    waiting: Callable[[str], None] | None = None,
    shared: bool = False,
) -> Iterator[None]:
    """Hold a lock between processes (and threads) on a file, which stays when it is let go.

    `shared` holders exclude only those who want it alone. `waiting` is told once who holds
    the lock.

    Raises:
        LockHeldError: another process still holds it after `wait_seconds`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_seconds
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _acquire(descriptor, path, deadline, waiting, shared=shared)
            if not _is_at(descriptor, path):
                continue  # Whoever held it before has removed the file; another one counts now.
            if not shared:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, holder_text().encode(), 0)
            yield
            return
        finally:
            os.close(descriptor)


def remove_unheld(path: Path) -> bool:
    """Remove the file of a lock that nobody holds; whether it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(descriptor, path):
            # While it is held, or another process could hold a file without a name.
            path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def is_held(path: Path) -> bool:
    """Whether some process holds the lock on a file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder_text() -> str:
    """This process, as others are told of it."""
    return f"process {os.getpid()} on {os.uname().nodename} (`{' '.join(sys.argv[:2])}`)"


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)


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
    descriptor: int,
    path: Path,
    deadline: float,
    waiting: Callable[[str], None] | None,
    *,
    shared: bool,
) -> None:
    told = False
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
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
