"""Who uses the store now, so that a collection leaves to them what they count on.

A process that works with the store holds a lease from its first look to its last write, and
begins when no collection looks that has not seen it. What it finds held it takes under a shared
lock; a collection looks and removes under the same lock alone. So either the collection sees
that a blob came or was used since the oldest lease began, and leaves it, or whoever looks sees
that it is gone, and fetches it.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from provisioner.adapters._files import (
    SHORT_WAIT_SECONDS,
    is_held,
    locked,
    remove_unheld,
    unless_read_only,
    where_possible,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from provisioner.adapters._files import Flock

GRACE_SECONDS: Final = 86_400
"""How long a lease of another host counts whose lock does not reach here, as on some NFS."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """A process that uses the store, in its own words, since a time of the file system."""

    holder: str
    since: float


class Leases:
    """The locks of a store as a whole."""

    def __init__(self, root: Path, flock: Flock = fcntl.flock) -> None:
        self._flock = flock
        self._folder = root / "leases"
        self._lock = root / "lock"
        self._collecting = root / "gc.lock"

    @contextmanager
    def working(self) -> Iterator[None]:
        """Use the store: what comes, or is taken, from now on stays until this ends."""
        path = self._folder / f"{os.urandom(8).hex()}.lock"
        # A collection that looks whether it is held holds it itself for an instant.
        with where_possible(locked(path, wait_seconds=SHORT_WAIT_SECONDS, flock=self._flock)):
            # A collection that has not seen this lease may remove what comes as long as it looks.
            with where_possible(self._shared()):
                pass
            try:
                yield
            finally:
                with unless_read_only():
                    path.unlink(missing_ok=True)

    @contextmanager
    def taking(self, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
        """Look whether something is held and note that it is used, for a moment.

        `waiting` is told who removes something meanwhile.
        """
        with where_possible(self._shared(waiting)):
            self._follow_the_clock()
            yield

    def _shared(self, waiting: Callable[[str], None] | None = None) -> AbstractContextManager[None]:
        return locked(
            self._lock,
            wait_seconds=SHORT_WAIT_SECONDS,
            waiting=waiting,
            shared=True,
            flock=self._flock,
        )

    @contextmanager
    def removing(self) -> Iterator[None]:
        """Decide and remove while nobody takes anything, for a moment."""
        with locked(self._lock, wait_seconds=SHORT_WAIT_SECONDS, flock=self._flock):
            yield

    @contextmanager
    def collecting(
        self, wait_seconds: float, waiting: Callable[[str], None] | None = None
    ) -> Iterator[None]:
        """Be the only collection.

        Raises:
            LockHeldError: there is another one.
        """
        with locked(
            self._collecting, wait_seconds=wait_seconds, waiting=waiting, flock=self._flock
        ):
            yield

    def _follow_the_clock(self) -> None:
        """Let no lease have begun later than what is taken now.

        Where the clock was set back, that would look as if it was used before all of them.
        """
        now = time.time()
        for path in self._folder.glob("*.lock"):
            with suppress(FileNotFoundError), unless_read_only():
                if path.stat().st_mtime > now:
                    # The clock of files lags behind by some milliseconds.
                    os.utime(path, (now - 1, now - 1))

    def alive(self, now: float) -> tuple[Lease, ...]:
        """The leases of processes that run; those of others are only left over."""
        found = [
            lease
            for path, lease in self._every()
            if is_held(path, self._flock) or _may_run_elsewhere(lease, now)
        ]
        found = [replace(lease, holder=lease.holder or "another process") for lease in found]
        return tuple(sorted(found, key=lambda item: item.since))

    def clear(self, now: float) -> None:
        """Remove the leases of processes that have ended."""
        for path, lease in self._every():
            if not _may_run_elsewhere(lease, now):
                remove_unheld(path, self._flock)

    def _every(self) -> Iterator[tuple[Path, Lease]]:
        """All that are there, with the holder's own words, which may be none yet."""
        for path in self._folder.glob("*.lock"):
            with suppress(FileNotFoundError):
                since = path.stat().st_mtime
                holder = path.read_text(encoding="utf-8", errors="replace")
                yield path, Lease(holder=holder, since=since)


def _may_run_elsewhere(lease: Lease, now: float) -> bool:
    """Whether a process of another host, whose lock may not reach here, may still run."""
    elsewhere = bool(lease.holder) and f" on {os.uname().nodename} " not in lease.holder
    return elsewhere and now - lease.since < GRACE_SECONDS
