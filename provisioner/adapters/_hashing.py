"""The SHA-256 of many files at once, as fast as the processors hash."""

from __future__ import annotations

import hashlib
import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator
    from pathlib import Path

_BLOCK_BYTES: Final = 1 << 20
_WINDOW_BYTES: Final = 8 << 20
_POPULATE_READ: Final = 22
"""MADV_POPULATE_READ of Linux 5.14: map the pages of a file now, and say if one cannot be read."""


def hash_all(
    paths: Iterable[Path], *, threads: int, steady: Container[Path] = ()
) -> Iterator[str | OSError]:
    """The SHA-256 of each file, or what kept it from being read, in their order.

    Python lets other threads run while one hashes, so that each has a processor. `steady`
    are files that nobody writes to; see `hash_of`.
    """
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(lambda path: hash_of(path, steady=path in steady), paths)


def processors() -> int:
    """How many of them this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def hash_of(path: Path, *, steady: bool = False) -> str | OSError:
    """The SHA-256 of a regular file, or what kept it from being read.

    A `steady` one is hashed where it lies in the page cache, which is faster, but ends the
    process where something cuts the file off meanwhile.
    """
    hasher = hashlib.sha256()
    try:
        # Not through a link: that is not the file that was kept.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        return error
    try:
        if steady:
            os.lseek(descriptor, _hash_mapped(descriptor, hasher), os.SEEK_SET)
        buffer = memoryview(bytearray(_BLOCK_BYTES))
        while count := os.readv(descriptor, [buffer]):
            hasher.update(buffer[:count])
    except OSError as error:
        return error
    finally:
        os.close(descriptor)
    return hasher.hexdigest()


def _hash_mapped(descriptor: int, hasher: hashlib._Hash) -> int:
    """Hash the whole windows of a file where they lie in the page cache, and tell how far.

    Reading would copy every byte, which costs a tenth of the time where the processor hashes
    by itself. A page that cannot be read would end the process; so the kernel is asked for
    all of a window first, and where it refuses, or is too old, the rest is for reading.
    """
    size = os.fstat(descriptor).st_size
    offset = 0
    try:
        while size - offset >= _WINDOW_BYTES:
            with mmap.mmap(descriptor, _WINDOW_BYTES, prot=mmap.PROT_READ, offset=offset) as window:
                window.madvise(_POPULATE_READ)
                hasher.update(window)
            offset += _WINDOW_BYTES
    except (OSError, ValueError):
        pass
    return offset
