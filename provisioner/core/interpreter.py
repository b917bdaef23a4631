"""A Python, as far as choosing files for it goes."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Interpreter:
    """The Python that files are chosen for.

    `version` is `major.minor` or longer; `path` is None where it is not on this machine. `build`
    is what tells builds of one version apart (`sys.version`), where it is known.
    """

    version: str
    implementation: str = "cpython"
    free_threaded: bool = False
    path: str | None = None
    build: str = ""

    @property
    def minor(self) -> tuple[int, int]:
        """Major and minor version, which is all that tags look at."""
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)


def named_version(request: str | None) -> Interpreter | None:
    """The CPython that a request such as `3.12`, `3.12.4` or `3.13t` names, if it names one."""
    found = re.fullmatch(r"(3\.\d+(?:\.\d+)?)(t?)", request or "")
    return Interpreter(version=found[1], free_threaded=bool(found[2])) if found else None
