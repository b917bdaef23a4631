"""Locks that are files, for where those of the operating system do not work.

Whoever wants a lock puts a file into the lock's folder, under a name that nobody ever had,
and only then looks who else is there. So of two that want it at once at least one sees the
other. It has the lock once nobody is there who excludes it; of several that wait, all but the
one with the lowest name leave and come again. A name is used once, so that anybody may remove
what a dead process left.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from provisioner.adapters._arrival import is_running, this_process
from provisioner.core.journal import Owner, is_orphan
from provisioner.errors import LockHeldError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REFRESH_SECONDS: Final = 20.0
"""Well below what `is_orphan` lets pass without a sign of life."""

_NAME: Final = re.compile(r"([sx])\.([0-9a-f]{16})")
_SHARED: Final = "s"
_ALONE: Final = "x"


class _Other(NamedTuple):
    """Somebody who has a lock or wants it, by the order of those who wait."""

    rank: str
    holder: str


def folder_of(path: Path) -> Path:
    """Where those are who have or want the lock on a file."""
    return path.with_name(f".{path.name}.held")


@contextmanager
def lock_file(
    path: Path, holder: str, wait: Callable[[str], None], *, shared: bool
) -> Iterator[None]:
    """Hold the lock on a file; `wait` is called with the holder's words until it is free.

    `holder` are this process's own words for itself. Whatever `wait` raises ends it.

    Raises:
        LockHeldError: on leaving, that somebody took this process for dead meanwhile.
    """
    mine: Path | None = None
    try:
        while True:
            mine = mine or _enter(folder_of(path), holder, shared=shared)
            try:
                os.utime(mine)
                now = mine.stat().st_mtime
            except FileNotFoundError:
                mine = None  # This machine stood still, and was taken for dead.
                continue
            others = _others(path, now, mine)
            if not others:
                break
            first = min(others)
            if first.rank < _rank(mine.name):
                _leave(mine)
                mine = None
            wait(first.holder)
        with _refreshed(mine):
            yield
        if not mine.exists():
            message = f"the lock on `{path}` was lost"
            raise LockHeldError(
                message,
                causes=("this process showed no sign of life for long, and was taken for dead",),
                hint="run the command again",
                code="lock-lost",
            )
    finally:
        if mine is not None:
            _leave(mine)


def is_held_by_file(path: Path) -> bool:
    """Whether somebody who is alive has or wants the lock on a file."""
    return bool(_others(path, time.time(), None))


def forget(path: Path) -> None:
    """Remove the folder of a lock that nobody holds."""
    with suppress(OSError):
        folder_of(path).rmdir()


def _rank(name: str) -> str:
    return name.partition(".")[2]


def _enter(folder: Path, holder: str, *, shared: bool) -> Path:
    content = json.dumps({"owner": asdict(this_process()), "holder": holder})
    path = folder / f"{_SHARED if shared else _ALONE}.{os.urandom(8).hex()}"
    while True:
        # Whoever leaves last removes the folder, at any time.
        with suppress(FileExistsError):
            folder.mkdir()
        with suppress(FileNotFoundError), path.open("x", encoding="utf-8") as file:
            file.write(content)
            return path


def _leave(mine: Path) -> None:
    mine.unlink(missing_ok=True)
    with suppress(OSError):
        mine.parent.rmdir()


def _others(path: Path, now: float, mine: Path | None) -> list[_Other]:
    """Those who are alive and keep `mine`, or anybody, from the lock; the dead are removed.

    `now` is a time of the file system, whose clock may be another one than ours.
    """
    try:
        names = os.listdir(folder_of(path))  # noqa: PTH208 - names are all that is wanted
    except OSError:
        return []
    found = []
    for name in names:
        known = _NAME.fullmatch(name)
        both_share = mine and mine.name.startswith(_SHARED) and name.startswith(_SHARED)
        if not known or both_share or (mine and name == mine.name):
            continue
        file = folder_of(path) / name
        holder = _alive(file, now)
        if holder is None:
            file.unlink(missing_ok=True)
        else:
            found.append(_Other(rank=known[2], holder=holder))
    return found


def _alive(file: Path, now: float) -> str | None:
    """The words of whoever put a file there; None where it is gone."""
    me = this_process()
    try:
        idle = now - file.stat().st_mtime
        found = json.loads(file.read_text(encoding="utf-8"))
        owner, holder = Owner(**found["owner"]), str(found["holder"])
    except FileNotFoundError:
        return None
    except (OSError, KeyError, TypeError, ValueError):
        # It is being written, or damaged: only its age can tell.
        owner, holder = replace(me, space="unknown"), "another process"
    gone = is_orphan(owner, me, locked=False, running=is_running(owner), idle_seconds=idle)
    return None if gone else holder


@contextmanager
def _refreshed(mine: Path) -> Iterator[None]:
    """Show signs of life, for those who cannot look whether this process runs."""
    ended = threading.Event()

    def refresh() -> None:
        while not ended.wait(REFRESH_SECONDS):
            with suppress(OSError):
                os.utime(mine)

    thread = threading.Thread(target=refresh, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
