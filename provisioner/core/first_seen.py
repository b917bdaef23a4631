"""Which bytes a file name of an index had when it was first seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provisioner.core.digest import Digest
from provisioner.core.urls import without_query

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.core.plan import LockedFile


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstSeen:
    """A file as it first came; `seen` is in seconds since the epoch."""

    index: str
    name: str
    digest: Digest
    url: str
    seen: float

    def to_json(self) -> dict[str, Any]:
        """The written form."""
        return {
            "index": self.index,
            "name": self.name,
            "sha256": self.digest.hex,
            "url": self.url,
            "seen": self.seen,
        }


def first_seen_from_json(data: Mapping[str, Any]) -> FirstSeen:
    """Read the written form.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: it is damaged.
    """
    return FirstSeen(
        index=str(data["index"]),
        name=str(data["name"]),
        digest=Digest.parse(data["sha256"]),
        url=str(data["url"]),
        seen=float(data["seen"]),
    )


def index_of(file: LockedFile) -> str:
    """The index of a file; where nothing names it, the folder that the URL lies in.

    Indexes keep file names apart only from their own: the same name elsewhere is another file.
    """
    if file.index:
        return without_query(file.index).rstrip("/")
    return without_query(file.url).rpartition("/")[0]


def index_of_page(url: str) -> str:
    """The index that a project's page belongs to: what stands before the project's name."""
    return without_query(url).rstrip("/").rpartition("/")[0]
