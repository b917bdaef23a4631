"""File systems whose locks do not work: in this process as a function, in others preloaded."""

from __future__ import annotations

import errno
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .libnvml import build_library

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class BrokenFlock:
    """A ``flock`` that fails with an error number, or with 0 grants every lock to everybody."""

    fault: int = errno.ENOLCK

    def __call__(self, descriptor: int, operation: int) -> None:
        """Lock nothing."""
        del descriptor, operation
        if self.fault:
            raise OSError(self.fault, "as told")

    def preloaded(self, folder: Path, below: Path) -> dict[str, str]:
        """Return the variables under which a child process has it, for files below a folder.

        Args:
            folder: Where the library goes.
            below: The root of the file system whose locks do not work.

        Raises:
            NoCompilerError: There is no C compiler.
        """
        if sys.platform != "linux":
            message = "libraries are preloaded as Linux does it"
            raise NotImplementedError(message)
        library = build_library(folder / "libflock.so", "libflock.c", "libflock.so")
        return {
            "LD_PRELOAD": str(library),
            "FLOCK_BELOW": str(below.resolve()),
            "FLOCK_ERRNO": str(self.fault),
        }
