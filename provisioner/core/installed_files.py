"""The files of an environment as each package's `RECORD` tells them, and what can be wrong."""

from __future__ import annotations

import base64
import binascii
import csv
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FileFault = Literal["missing", "replaced", "wrong-size", "wrong-hash", "unreadable"]
"""`replaced`: by a folder, a link or another thing that is no file."""

UNPACKING_NANOSECONDS: Final = 600 * 10**9
"""How much later than its `METADATA` a file of a wheel may be written when it is unpacked.

That takes as long as the download of a large wheel, where that is unpacked while it comes.
"""

_COLUMNS: Final = 3
_TOLD: Final = 10
_WORDS: Final[dict[FileFault, str]] = {
    "missing": "is gone",
    "replaced": "is no regular file",
    "wrong-size": "has another size",
    "wrong-hash": "has another hash",
    "unreadable": "cannot be read",
}


class Row(NamedTuple):
    """What a `RECORD` tells of a file: its path, its hash and its size, as far as it does.

    The path is relative to `site-packages` and normal; the hash is like `sha256=…`.
    """

    path: str
    hash: str
    size: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FileDamage:
    """A file of a package that is not as it was installed; `more` are both values.

    `path` is relative to `site-packages`. A file that is `shared` has other names: uv's cache
    is damaged with it, and every environment that was made from that.
    """

    package: str
    path: str
    fault: FileFault
    more: str | None = None
    shared: bool = False

    @property
    def message(self) -> str:
        """In words."""
        more = f": {self.more}" if self.more else ""
        return f"`{self.path}` of `{self.package}` {_WORDS[self.fault]}{more}"

    def to_json(self) -> dict[str, Any]:
        """As `--json` has it."""
        return {
            "package": self.package,
            "path": self.path,
            "fault": self.fault,
            "message": self.message,
            "shared": self.shared,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Spoiled:
    """An environment with damaged files; `lost` is why it could not be made again."""

    environment: str
    project: str | None
    profile: str | None
    files: tuple[FileDamage, ...]
    repaired: bool = False
    lost: str | None = None

    @property
    def name(self) -> str:
        """As people know it."""
        if self.profile and self.project:
            which = self.environment.rpartition("/")[2]  # A project may have several of a profile.
            return f"the environment of `{self.profile}` of `{self.project}` (`{which}`)"
        return f"the environment `{self.environment}`"

    @property
    def is_shared(self) -> bool:
        """Whether uv's cache is damaged with it."""
        return any(item.shared for item in self.files)

    @property
    def causes(self) -> tuple[str, ...]:
        """What is wrong, and why it stays so, as the causes of an error."""
        lost = f"; not made again: {self.lost}" if self.lost else ""
        return tuple(f"{self.name}: {cause}{lost}" for cause in told(self.files))

    def to_json(self) -> dict[str, Any]:
        """As `--json` has it."""
        return {
            "environment": self.environment,
            "project": self.project,
            "profile": self.profile,
            "files": [item.to_json() for item in self.files],
            "repaired": self.repaired,
            "lost": self.lost,
        }


def told(damage: Sequence[FileDamage]) -> tuple[str, ...]:
    """Damage as the causes of an error: of a whole package that is gone, only some files."""
    more = len(damage) - _TOLD
    rest = (f"and {more} more {'file' if more == 1 else 'files'}",) if more > 0 else ()
    return (*(item.message for item in damage[:_TOLD]), *rest)


def rows_of(record: str, up: int) -> Iterator[Row]:
    """The rows of a `RECORD`, without the byte code that Python itself writes anew.

    Byte code that stands in the place of a source is a file like others.

    Rows that lead out of the environment, `up` folders above `site-packages`, are left out.

    Raises:
        ValueError: it is no such table, or it is empty.
    """
    count = 0
    above = "../" * (up + 1)
    try:
        # Not `splitlines`: only "\n" ends a line, and a name in quotes may have one.
        for row in csv.reader(f"{line}\n" for line in record.split("\n")):
            if not row:
                continue
            count += 1
            path, told, size = row if len(row) == _COLUMNS else (*row, "", "")[:_COLUMNS]
            if path.endswith(".pyc") and "__pycache__/" in path:
                continue
            if "./" in path or "//" in path or path.startswith("/"):
                path = posixpath.normpath(path)
                if path.startswith(("/", above)):
                    continue
            yield Row(path, told, int(size) if size else None)
    except csv.Error as error:
        raise ValueError(str(error)) from error
    if not count:
        message = "it is empty"
        raise ValueError(message)


def told_hash(text: str) -> tuple[str, str] | None:
    """The algorithm and the hexadecimal digits of a hash as `RECORD` has it; None for none."""
    name, _, value = text.partition("=")
    try:
        found = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
    except (binascii.Error, ValueError):
        return None
    return (name, found) if name and found else None


def latest_times(record: int, metadata: int | None) -> tuple[int, int]:
    """Up to when a file of a package may have been written: its own, and one that is shared.

    All are in nanoseconds since the epoch. An installer writes the `RECORD` last. What an
    environment shares with a cache may be wrong since before that; but a file of a cache is
    about as old as the rest of its wheel, such as the `METADATA`.
    """
    return record, record if metadata is None else min(record, metadata + UNPACKING_NANOSECONDS)
