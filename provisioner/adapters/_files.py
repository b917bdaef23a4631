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
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from provisioner.errors import STORE_FULL, LockHeldError, SpaceError, said

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from provisioner.core.blob_record import Stamp

Flock = Callable[[int, int], None]
"""`fcntl.flock`, or what takes its place."""

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
DAMAGED: Final = (AttributeError, KeyError, TypeError, ValueError)
"""What is raised where JSON of ours is not what it has to be."""

SHORT_WAIT_SECONDS: Final = 600.0
"""How long to wait for a lock that nobody holds for long."""

_POLL_SECONDS: Final = 0.1
_WITHOUT_LOCKS: Final = frozenset(
    {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
)
# Locks that the machines which share a file system do not see of each other: nfs(5), and
# `localflock` of mount.lustre(8).
_ON_ONE_MACHINE: Final = frozenset({"nolock", "local_lock=flock", "local_lock=all", "localflock"})


def write_whole(path: Path, content: str, *, flushed: bool = True) -> None:
    """Write a text file so that a reader or a crash sees the old or the new one.

    One that is not `flushed` may be absent, old or empty after a power failure.

    Raises:
        SpaceError: the file system is full; the old file is as it was.
    """
    staged = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    try:
        with staged.open("w", encoding="utf-8") as file:
            file.write(content)
            if flushed:
                file.flush()
                os.fsync(file.fileno())
        staged.replace(path)
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise no_space(error, path) from error
    if flushed:
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


def stamp_of(path: Path) -> Stamp | None:
    """The stamp of a regular file; None for anything else, and where there is nothing."""
    try:
        return stamp_from(path.lstat())
    except OSError:
        return None


def throw_away(path: Path, trash: Path) -> Path | None:
    """Move something into the trash by one rename; None where it is gone already."""
    trash.mkdir(exist_ok=True)
    thrown = trash / f"{os.urandom(6).hex()}-{path.name[-80:]}"
    try:
        path.rename(thrown)
    except FileNotFoundError:
        return None
    return thrown


def sync_folder(path: Path) -> None:
    """Flush a folder, so that a rename in it outlives a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def names_in(folder: str) -> list[str]:
    """The names in a folder, without an object for each; none where there is none."""
    try:
        return os.listdir(folder)  # noqa: PTH208 - the store has tens of thousands
    except (FileNotFoundError, NotADirectoryError):
        return []


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
    return SpaceError(message, hint=STORE_FULL)


@contextmanager
def locked(  # noqa: PLR0913 - a lock, how to wait for it, and what it is made of
    path: Path,
    *,
    wait_seconds: float,
    waiting: Callable[[str], None] | None = None,
    meanwhile: Callable[[], None] | None = None,
    shared: bool = False,
    flock: Flock = fcntl.flock,
) -> Iterator[None]:
    """Hold a lock between processes (and threads) on a file, which stays when it is let go.

    `shared` holders exclude only those who want it alone. `waiting` is told once who holds
    the lock, and `meanwhile` is called again and again until it is free. Where locks of the
    operating system (`flock`) do not work, files take their place.

    Raises:
        LockHeldError: another process still holds it after `wait_seconds`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    patience = _Patience(path, wait_seconds, waiting, meanwhile)
    if lock_fault(path.parent, flock):
        from provisioner.adapters._lock_files import lock_file

        with lock_file(path, holder_text(), patience.wait, shared=shared):
            if shared:
                path.touch()
            else:
                path.write_text(holder_text(), encoding="utf-8")
            yield
        return
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _acquire(descriptor, patience, flock, shared=shared)
            if not _is_at(descriptor, path):
                continue  # Whoever held it before has removed the file; another one counts now.
            # Those who share it say nothing, and whoever had it alone before has let it go.
            os.ftruncate(descriptor, 0)
            if not shared:
                os.pwrite(descriptor, holder_text().encode(), 0)
            yield
            return
        finally:
            os.close(descriptor)


def lock_fault(folder: Path, flock: Flock = fcntl.flock) -> str | None:
    """Why `flock` keeps nobody out in a folder, for people; None where it does.

    Tried once in each folder and remembered as long as the process runs.
    """
    key = (folder, flock)
    if key not in _TRIED:
        _TRIED[key] = _try_locks(folder, flock)
    return _TRIED[key]


_TRIED: Final[dict[tuple[Path, Flock], str | None]] = {}


def _try_locks(folder: Path, flock: Flock) -> str | None:
    fault = _refused(folder, flock)
    # Only devices without a number of their own can be those of a network.
    if fault is None and os.major(folder.stat().st_dev):
        return None
    from provisioner.adapters._mounts import mount_of

    mount = mount_of(folder)
    if fault is None and mount is not None and mount.options & _ON_ONE_MACHINE:
        fault = f"mounted with `{min(mount.options & _ON_ONE_MACHINE)}`"
    if fault is None:
        return None
    where = f"`{mount.point}` (`{mount.kind}`: {fault})" if mount else f"`{folder}` ({fault})"
    return f"locks do not work on {where}"


def _refused(folder: Path, flock: Flock) -> str | None:
    """What is wrong with locks, by a file that is locked twice."""
    path = folder / f".locks.{os.urandom(6).hex()}"
    descriptors = [os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)]
    try:
        descriptors.append(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        for descriptor in descriptors:
            flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
        return said(error)
    finally:
        path.unlink(missing_ok=True)
        for descriptor in descriptors:
            os.close(descriptor)
    return "two processes get the same lock"


@contextmanager
def where_possible(lock: AbstractContextManager[None]) -> Iterator[None]:
    """Hold a lock; none where this user cannot write to it."""
    with ExitStack() as stack:
        with unless_read_only():
            stack.enter_context(lock)
        yield


def remove_unheld(path: Path, flock: Flock = fcntl.flock) -> bool:
    """Remove the file of a lock that nobody holds; whether it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        if _is_taken(descriptor, path, flock):
            return False
        if _is_at(descriptor, path):
            # While it is held, or another process could hold a file without a name.
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
    return True


def is_held(path: Path, flock: Flock = fcntl.flock) -> bool:
    """Whether some process holds the lock on a file."""
    try:
        # NFS lets only those lock a file alone who may write to it.
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
    try:
        return _is_taken(descriptor, path, flock)
    finally:
        os.close(descriptor)


def _is_taken(descriptor: int, path: Path, flock: Flock) -> bool:
    """Whether somebody else has a lock; else, where locks work, it is ours for now."""
    try:
        flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    # As its folder is named in `_lock_files`, which few need.
    if not os.path.lexists(path.with_name(f".{path.name}.held")):
        return False
    from provisioner.adapters._lock_files import forget, is_held_by_file

    held = is_held_by_file(path)
    if not held:
        forget(path)
    return held


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
        pass
    finally:
        os.close(descriptor)
    return False


class _Patience:
    """How long to wait for a lock, and what to do meanwhile."""

    def __init__(
        self,
        path: Path,
        seconds: float,
        waiting: Callable[[str], None] | None,
        meanwhile: Callable[[], None] | None,
    ) -> None:
        self._path = path
        self._deadline = time.monotonic() + seconds
        self._waiting = waiting
        self._meanwhile = meanwhile

    def wait(self, holder: str) -> None:
        """Wait a moment for a lock that is held.

        Raises:
            LockHeldError: it has been long enough.
        """
        if time.monotonic() >= self._deadline:
            message = f"`{self._path}` is locked"
            raise LockHeldError(message, causes=(f"held by {holder}",))
        if self._waiting:
            self._waiting(holder)
            self._waiting = None
        if self._meanwhile:
            self._meanwhile()
        time.sleep(_POLL_SECONDS)


def _acquire(descriptor: int, patience: _Patience, flock: Flock, *, shared: bool) -> None:
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        try:
            flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 512, 0).decode("utf-8", "replace")
            patience.wait(holder or "another process")
        else:
            return
