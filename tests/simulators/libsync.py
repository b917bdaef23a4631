"""What a process flushes and renames, in its order; and disks that lose what was written."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .libnvml import build_library

if TYPE_CHECKING:
    from pathlib import Path


def preloaded(folder: Path, log: Path, *, failures: int = 0) -> dict[str, str]:
    """Return the variables under which a child process tells of its flushes and renames.

    Args:
        folder: Where the library goes.
        log: Where a line is added for each: ``flush NAME`` or ``rename NAME``.
        failures: How often `fdatasync` fails before it works.

    Raises:
        NoCompilerError: There is no C compiler.
    """
    if sys.platform != "linux":
        message = "libraries are preloaded as Linux does it"
        raise NotImplementedError(message)
    library = build_library(folder / "libsync.so", "libsync.c", "libsync.so")
    return {
        "LD_PRELOAD": str(library),
        "SYNC_LOG": str(log),
        "SYNC_FAIL": str(failures),
    }
