"""A Python, as far as choosing files for it goes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Interpreter:
    """The Python that files are chosen for.

    `version` is `major.minor` or longer; `path` is None where it is not on this machine.
    """

    version: str
    implementation: str = "cpython"
    free_threaded: bool = False
    path: str | None = None

    @property
    def minor(self) -> tuple[int, int]:
        """Major and minor version, which is all that tags look at."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)
