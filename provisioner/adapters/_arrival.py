"""A file that arrives, in a folder of its own, with a journal of what is on the disk."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.adapters._files import is_exclusive, sync_folder
from provisioner.core.digest import Digest
from provisioner.core.journal import Journal, Owner, is_orphan, read_journal
from provisioner.core.ranges import Span, added, clipped, frontier, total
from provisioner.errors import NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from provisioner.core.ranges import Spans

FLUSH_BYTES: Final = 16 << 20
"""So much may be lost, beside what is under way, when a process is killed."""

_FLUSH_SECONDS: Final = 1.0
_BLOCK_BYTES: Final = 1 << 20
_BLOCKS_AT_ONCE: Final = 16
_TRIES: Final = 3


class Arrival:
    """A file in `partial/` to which many threads write at once.

    Its hash follows the bytes that are there from the first one on, read back from the page
    cache. What an earlier try left is hashed again: only the whole hash is trusted.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` is this process's own; see `adopt`."""
        import hashlib

        self._folder = folder
        self._path = folder / "part"
        try:
            self._file = self._path.open("r+b" if self._path.exists() else "w+b", buffering=0)
        except FileNotFoundError as error:
            raise _taken(folder) from error
        self._inode = os.fstat(self._file.fileno()).st_ino
        self._changing = threading.Condition()
        self._flushing = threading.Lock()
        self._writing = 0
        self._closed = self._is_lost = False
        self._synced = False
        self._hasher = hashlib.sha256()
        self._hashed = 0
        self._hashing = threading.Condition()
        self._buffer = bytearray(_BLOCK_BYTES)
        found = _read(folder) or Journal(owner=None)
        there = clipped(found.flushed, os.fstat(self._file.fileno()).st_size)
        self._done = there if found.validator is not None else ()
        self._journal = replace(found, owner=this_process(), flushed=self._done)
        self._flushed_bytes = total(self._done)
        self._flushed_at = self._looked_at = time.monotonic()
        if self._journal.size is not None:
            self._file.truncate(self._journal.size)
        try:
            self._save(self._journal, sync=False)
        except BaseException:
            self._file.close()
            raise

    @property
    def path(self) -> Path:
        """Where it arrives."""
        return self._path

    @property
    def done(self) -> Spans:
        """What is there."""
        return self._done

    @property
    def size(self) -> int | None:
        """How large the file is going to be, where that is known."""
        return self._journal.size

    @property
    def validator(self) -> str | None:
        """The server's word for what is there; None if nothing can be gone on with."""
        return self._journal.validator

    @property
    def is_whole(self) -> bool:
        """Whether every byte is there."""
        return self.size is not None and total(self._done) == self.size

    @property
    def digest(self) -> Digest:
        """The hash of what is there from the first byte on."""
        while self.hash_more():
            pass
        return Digest.parse(self._hasher.hexdigest())

    def begin(self, *, validator: str | None, size: int | None) -> None:
        """Begin at the first byte.

        Without a validator nothing is kept for another try.
        """
        import hashlib

        with self._flushing, self._changing:
            self._renew(size or 0)
            self._hasher = hashlib.sha256()
            self._hashed = self._flushed_bytes = 0
            self._done = ()
            self._journal = replace(self._journal, validator=validator, size=size, flushed=())
        self._save(self._journal, sync=False)

    def _renew(self, size: int) -> None:
        """Put a new file in the place of the one that is there.

        Who took this one over may have published it: it is theirs to cut off.
        """
        staged = self._folder / _STAGED_PART
        try:
            file = staged.open("w+b", buffering=0)
            try:
                file.truncate(size)
                staged.rename(self._path)
            except BaseException:
                file.close()
                raise
        except FileNotFoundError as error:
            raise _taken(self._folder) from error
        self._file.close()
        self._file, self._inode = file, os.fstat(file.fileno()).st_ino

    def write(self, offset: int, block: bytes) -> None:
        """Write where a block belongs.

        Raises:
            NetworkError: another process took the file over.
            ValueError: the file was closed meanwhile.
        """
        with self._changing:
            if self._closed:
                message = "write to a file that was closed"
                raise ValueError(message)
            self._writing += 1
        try:
            self._look()
            view = memoryview(block)
            at = offset
            while view:
                written = os.pwrite(self._file.fileno(), view, at)
                view, at = view[written:], at + written
            with self._changing:
                before = frontier(self._done)
                self._done = added(self._done, Span(offset, at))
                if frontier(self._done) > before:
                    self._changing.notify_all()
        finally:
            with self._changing:
                self._writing -= 1
                if self._closed:
                    self._changing.notify_all()

    def hash_more(self) -> bool:
        """Hash some more of what is there without a gap; whether there was any."""
        stop = min(frontier(self._done), self._hashed + _BLOCKS_AT_ONCE * _BLOCK_BYTES)
        moved = self._hashed < stop
        view = memoryview(self._buffer)
        while self._hashed < stop:
            wanted = view[: min(_BLOCK_BYTES, stop - self._hashed)]
            count = os.preadv(self._file.fileno(), [wanted], self._hashed)
            if not count:
                message = f"`{self._path}` was cut off by something else"
                raise OSError(message)
            self._hasher.update(wanted[:count])
            self._hashed += count
        if moved:
            with self._hashing:
                self._hashing.notify_all()
        return moved

    def wait_written(self, ended: Callable[[], bool]) -> None:
        """Wait until there is more to hash; `wake` lets `ended` be looked at again."""
        with self._changing:
            self._changing.wait_for(lambda: frontier(self._done) > self._hashed or ended())

    def wake(self) -> None:
        """Let whoever waits for more look whether to end."""
        with self._changing:
            self._changing.notify_all()

    def wait_hashed(self, offset: int, seconds: float) -> int:
        """How many bytes from the first one on are hashed; waits a moment for more than these."""
        with self._hashing:
            self._hashing.wait_for(lambda: self._hashed > offset, seconds)
            return self._hashed

    def reader(self) -> BinaryIO:
        """A file of its own to read what is there, also after it was published and closed.

        Raises:
            ValueError: it was closed before.
        """
        with self._changing:
            if self._closed:
                message = "read from a file that was closed"
                raise ValueError(message)
            return os.fdopen(os.dup(self._file.fileno()), "rb", buffering=0)

    def flush_if_due(self) -> None:
        """Flush what is there, if it is much, or was not flushed for long."""
        late = time.monotonic() - self._flushed_at >= _FLUSH_SECONDS
        much = total(self._done) - self._flushed_bytes >= FLUSH_BYTES
        if late or much:
            self.flush()

    def flush(self) -> None:
        """Bring what is there to the disk, and only then into the journal."""
        with self._flushing:
            done = self._done
            self._flushed_at = time.monotonic()
            self._look()
            if self.validator is None or total(done) == self._flushed_bytes:
                with suppress(OSError):
                    os.utime(self._folder / _JOURNAL)  # Somebody is still at it.
                return
            try:
                _sync_data(self._file.fileno())
            except OSError:
                self._is_lost = True
                raise
            journal = replace(self._journal, flushed=done)
            self._save(journal, sync=True)
            self._journal, self._flushed_bytes = journal, total(done)

    def publish(self, path: Path) -> None:
        """Flush it, and give it its name for good."""
        os.fsync(self._file.fileno())
        os.fchmod(self._file.fileno(), 0o444)
        try:
            self._path.rename(path)
        except FileNotFoundError as error:
            raise _taken(self._folder) from error
        self.discard()

    def discard(self) -> None:
        """Keep nothing of it."""
        with self._changing:
            self._done = ()
        remove(self._folder)

    def close(self) -> None:
        """Leave what there is to the next try, if that can go on from there.

        Where the file system is full, or failed to flush, that is what was flushed before:
        Linux tells of a write that failed once, and lets the next flush succeed (fsync(2)).
        """
        with self._changing:
            self._closed = True
            self._changing.wait_for(lambda: not self._writing)
        try:
            if self.validator is None or not self._done:
                self.discard()
                return
            with suppress(OSError, NetworkError):
                if not self._is_lost:
                    self.flush()
                self._save(replace(self._journal, owner=None), sync=False)
            if not self._journal.flushed:
                self.discard()
        finally:
            self._file.close()

    def _look(self) -> None:
        """Raises NetworkError where the file is not at its place any more."""
        now = time.monotonic()
        if now - self._looked_at < _FLUSH_SECONDS:
            return
        self._looked_at = now
        try:
            found = self._path.stat().st_ino
        except FileNotFoundError:
            found = None
        if found != self._inode:
            raise _taken(self._folder)

    def _save(self, journal: Journal, *, sync: bool) -> None:
        """Write the journal; a reader or a crash sees the old or the new one."""
        try:
            _write(self._folder, journal, sync=sync)
        except FileNotFoundError as error:
            raise _taken(self._folder) from error
        if sync:
            sync_folder(self._folder)
            if not self._synced:
                sync_folder(self._folder.parent)
                self._synced = True


_JOURNAL: Final = "journal.json"
_STAGED_PART: Final = "part.new"
_TAKING: Final = ".taking"


def open_arrival(partial: Path, key: str) -> Arrival:
    """What arrives for a key, going on with what others left of it.

    Raises:
        NetworkError: others took it over again and again.
    """
    for _ in range(_TRIES):
        with suppress(NetworkError):
            return Arrival(adopt(partial, key))
    return Arrival(adopt(partial, key))


def adopt(partial: Path, key: str) -> Path:
    """A folder of this process's own for a key, with the most that others left of it.

    One rename takes an orphan over, so that of many processes one gets it, also where locks
    do not work. Until its journal names this process it has a name by which nobody takes it.
    """
    mine = partial / f"{key}.{os.urandom(8).hex()}"
    taking = mine.with_name(f"{mine.name}{_TAKING}")
    orphans = sorted(_orphans(partial, key), reverse=True)
    mine.mkdir()
    adopted = False
    for _, folder in orphans:
        if adopted:
            remove(folder)
            continue
        with suppress(OSError):
            # Whoever finds it half taken over goes by its age, which begins now.
            os.utime(folder / _JOURNAL)
        with suppress(OSError):
            folder.rename(taking)
            adopted = True
    if adopted:
        with suppress(OSError):
            _write(taking, replace(_read(taking) or Journal(owner=None), owner=this_process()))
        with suppress(OSError):
            taking.rename(mine)  # An empty folder gives way.
    return mine


def arrived(partial: Path, key: str) -> tuple[int, int | None]:
    """How many bytes of a key are on the disk, whoever is at it, and of how many if that is known.

    What has arrived since the last flush is not known to other processes.
    """
    journals = [found for folder in partial.glob(f"{key}.*/") if (found := _read(folder))]
    most = max(journals, key=lambda one: total(one.flushed), default=None)
    return (total(most.flushed), most.size) if most else (0, None)


def remove(folder: Path) -> None:
    """Remove a folder of ours, whatever of it is there."""
    for name in ("part", _STAGED_PART, f"{_JOURNAL}.new", _JOURNAL):
        with suppress(OSError):
            (folder / name).unlink()
    with suppress(OSError):
        folder.rmdir()


def _orphans(partial: Path, key: str) -> Iterator[tuple[int, Path]]:
    """The folders for a key that nobody is at, with how many bytes can be gone on with."""
    me = this_process()
    locked = is_exclusive(partial / f"{key}.lock")
    for folder in partial.glob(f"{key}.*/"):
        journal = _read(folder)
        # Only a lock, or its age, can tell.
        owner: Owner | None = replace(me, space="unknown")
        if journal and not folder.name.endswith(_TAKING):
            owner = journal.owner
        idle = _idle_seconds(folder)
        running = owner is not None and is_running(owner)
        if is_orphan(owner, me, locked=locked, running=running, idle_seconds=idle):
            yield total(journal.flushed) if journal else 0, folder


def _idle_seconds(folder: Path) -> float:
    for path in (folder / _JOURNAL, folder):
        with suppress(OSError):
            return time.time() - path.stat().st_mtime
    return 0.0


def _write(folder: Path, journal: Journal, *, sync: bool = False) -> None:
    staged = folder / f"{_JOURNAL}.new"
    with staged.open("w", encoding="utf-8") as file:
        file.write(journal.text())
        if sync:
            file.flush()
            os.fsync(file.fileno())
    staged.replace(folder / _JOURNAL)


def _read(folder: Path) -> Journal | None:
    """The journal; None where there is none that can be read."""
    try:
        return read_journal((folder / _JOURNAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _taken(folder: Path) -> NetworkError:
    message = f"another process took over what had arrived in `{folder.name}`"
    return NetworkError(message, hint="run the command again", code=TAKEN)


TAKEN: Final = "taken-over"


def _sync_data(descriptor: int) -> None:
    # macOS has no `fdatasync`.
    getattr(os, "fdatasync", os.fsync)(descriptor)


def this_process() -> Owner:
    """This process, as others recognise it."""
    return Owner(
        host=os.uname().nodename,
        boot=_text("/proc/sys/kernel/random/boot_id"),
        space=_link("/proc/self/ns/pid"),
        pid=os.getpid(),
        started=_started(os.getpid()),
    )


def is_running(owner: Owner) -> bool:
    """Whether a process of the owner's number is there that started when the owner did."""
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return _started(owner.pid) == owner.started


def _started(pid: int) -> str:
    """Field 22 of `/proc/<pid>/stat` (proc_pid_stat(5)): ticks since boot."""
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""  # noqa: PLR2004 - counted after the name


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""
