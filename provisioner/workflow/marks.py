"""What tells by stats alone that a program or a cache is not as it was."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def signature_of(path: Path | str) -> list[int] | None:
    """What tells that a file was replaced or written: size, time in nanoseconds, inode."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a hundred paths, and no object for each
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def marks_of(caches: Iterable[str], environments: Iterable[str]) -> dict[str, Any]:
    """What tells by stats alone that a cache has lost something, whatever its format.

    The inodes of the folders in it, and how many names a file of each package has: where
    environments share files with a cache, one that is removed there has a name less. A further
    environment gives it one more, which would hide that: any other number counts as a loss.
    """
    folders: dict[str, int] = {}
    for cache in caches:
        folders |= {entry.path: entry.inode() for entry in _folders_in(cache)}
    links = {}
    for path in environments:
        for file in sorted(Path(path).glob("gpuenv-site/*.dist-info/METADATA")):
            count = file.stat().st_nlink
            if count > 1:
                links[str(file)] = count
    return {"folders": folders, "links": links}


def _folders_in(cache: str) -> list[os.DirEntry[str]]:
    """The folders of a cache that stay; uv has others for a moment."""
    try:
        with os.scandir(cache) as entries:
            return [e for e in entries if e.is_dir() and not e.name.startswith(".")]
    except OSError:
        return []


def caches_are_sound(last: Mapping[str, Any] | None) -> bool:
    """Whether caches are as full as they were; one stat a folder, and one a package."""
    marks = (last or {}).get("caches")
    return (
        marks is not None
        and folders_are_there(marks)
        and all(_found(path).st_nlink == count for path, count in marks["links"].items())
    )


def folders_are_there(marks: Mapping[str, Any]) -> bool:
    """Whether the folders of caches are those that were there: no cache was cleaned."""
    return not _lost(marks)


def has_lost(marks: Mapping[str, Any], cache: str) -> bool:
    """Whether a cache lacks one of the folders that were in it."""
    return any(Path(path).parent == Path(cache) for path in _lost(marks))


def _lost(marks: Mapping[str, Any]) -> list[str]:
    return [path for path, inode in marks["folders"].items() if _found(path).st_ino != inode]


def _found(path: str) -> os.stat_result:
    try:
        return os.stat(path)  # noqa: PTH116 - as above
    except OSError:
        return os.stat_result([0] * 10)
