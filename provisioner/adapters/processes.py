"""Which environments of the store running processes use."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from provisioner.adapters._files import is_held

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TOLD_BY: Final = ("cmdline", "environ", "maps")
_LINKS: Final = ("exe", "cwd")


def environments_in_use(environments: Path, proc: Path) -> frozenset[str]:
    """The names of the environments in a folder that some process was started in, or has open.

    A Python of such an environment holds a lock on the environment's mark. `proc` tells of
    other programs, and of those that closed all their files: their libraries, their program,
    their current folder, the files that they have open, their arguments and `VIRTUAL_ENV`.
    Processes of other users tell only the lock.
    """
    used = {path.stem for path in environments.glob("*.json") if is_held(path)}
    # Where the store is reached by several paths, processes tell the one they were given.
    places = {os.fsencode(environments), os.fsencode(environments.resolve())}
    pattern = re.compile(
        b"(?:" + b"|".join(re.escape(place) for place in sorted(places)) + rb")/([^/\0\n ]+)"
    )
    own = str(os.getpid())
    for process in _processes(proc):
        if process.name != own:
            for text in _told(process):
                used |= {os.fsdecode(name) for name in pattern.findall(text)}
    return frozenset(used)


def _processes(proc: Path) -> Iterator[Path]:
    try:
        yield from (path for path in proc.iterdir() if path.name.isdigit())
    except OSError:
        return  # macOS has none.


def _told(process: Path) -> Iterator[bytes]:
    for name in _TOLD_BY:
        try:
            yield (process / name).read_bytes()
        except OSError:
            continue  # It has ended, or is another user's.
    for link in (*(process / name for name in _LINKS), *_open_files(process)):
        try:
            yield os.fsencode(link.readlink())
        except OSError:
            continue


def _open_files(process: Path) -> list[Path]:
    try:
        return list((process / "fd").iterdir())
    except OSError:
        return []
