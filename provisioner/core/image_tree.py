"""What lies in a layer of an image: folders, links and files, in one order for everybody."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioner.core.digest import Digest

FOLDER_MODE: Final = 0o755
FILE_MODE: Final = 0o644
PROGRAM_MODE: Final = 0o755


@dataclass(frozen=True, slots=True)
class Packed:
    """A file as a wheel has it: which wheel, and the name and size in bytes of the member.

    `told` is its SHA-256 as the wheel's `RECORD` tells it, in hexadecimal digits; empty where it
    does not.
    """

    wheel: Digest
    member: str
    size: int
    told: str = ""


@dataclass(frozen=True, slots=True)
class RawMember:
    """A file of a wheel as it is packed there: deflated (RFC 1951) or as it is.

    `crc` is the CRC-32 of the file, and `packed` how many bytes `blocks` have together.
    """

    deflated: bool
    size: int
    packed: int
    crc: int
    blocks: Iterable[bytes]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in a layer; owner and group are always root.

    `path` has no slash at its ends. A link has a `target`, a file either `data`, or what is
    `packed` in a wheel, or a `source`: its path on this machine, and its size in bytes.
    """

    path: str
    kind: Literal["folder", "link", "file"]
    mode: int = FILE_MODE
    target: str = ""
    data: bytes = b""
    packed: Packed | None = None
    source: tuple[str, int] | None = None

    @property
    def size(self) -> int:
        """Bytes of a file, 0 for anything else."""
        if self.source:
            return self.source[1]
        return self.packed.size if self.packed else len(self.data)


def folder(path: str) -> Entry:
    """A folder that everybody may look into."""
    return Entry(path.strip("/"), "folder", FOLDER_MODE)


def link(path: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(path.strip("/"), "link", 0o777, target=target)


def text(path: str, content: str, *, program: bool = False) -> Entry:
    """A file that is made here."""
    mode = PROGRAM_MODE if program else FILE_MODE
    return Entry(path.strip("/"), "file", mode, data=content.encode())


def tree(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Entries with every folder above them, each path once, a folder before what is in it.

    Of two files with one path, the latter counts, as where an installer writes both.
    """
    found: dict[str, Entry] = {}
    for entry in entries:
        found[entry.path] = entry
        above = posixpath.dirname(entry.path)
        while above and above not in found:
            found[above] = folder(above)
            above = posixpath.dirname(above)
    return tuple(sorted(found.values(), key=lambda entry: entry.path.split("/")))
