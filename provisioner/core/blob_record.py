"""What the store remembers of a blob: its names, where it came from, and how it lay there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from provisioner.core.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

Stamp = tuple[int, int, int, int]
"""Size, modification time in nanoseconds, inode and permissions of a file."""

WRITE_BITS: Final = 0o222
_LATEST: Final = 1e12  # Seconds since 1970, which is beyond the year 30,000.


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """A name of a blob, and where it was fetched; the URLs have no secrets in them.

    `index` is the index that named it, where one did.
    """

    name: str
    url: str
    index: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """The name of a wheel that was built here, and the source distribution that it is from."""

    name: str
    source: Digest


@dataclass(frozen=True, kw_only=True, slots=True)
class BlobRecord:
    """What is known of a blob.

    `fetched` is in seconds since the epoch, None where it was not seen to arrive. `stamp` is
    the blob's as it was when its hash was last known to be right, None where that is not
    known. `needs` are other blobs that were used to build this one, a source distribution,
    None where that is not known. `built` is set for a wheel that was built here.
    """

    origins: tuple[Origin, ...] = ()
    fetched: float | None = None
    stamp: Stamp | None = None
    needs: frozenset[Digest] | None = None
    built: Built | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Its file names."""
        every = (*(item.name for item in self.origins), *([self.built.name] if self.built else []))
        return tuple(dict.fromkeys(every))

    def to_json(self) -> dict[str, Any]:
        """The written form."""
        built = {"built": built_to_json(self.built)} if self.built else {}
        return {
            "origins": [
                {"name": item.name, "url": item.url, "index": item.index} for item in self.origins
            ],
            "fetched": self.fetched,
            "stamp": self.stamp,
            "needs": None if self.needs is None else sorted(item.hex for item in self.needs),
            **built,
        }


def merged(record: BlobRecord, other: BlobRecord) -> BlobRecord:
    """What two records know together; of how the blob lies there, the first one's word counts."""
    return replace(
        record,
        origins=tuple(dict.fromkeys((*record.origins, *other.origins))),
        fetched=other.fetched if record.fetched is None else record.fetched,
        needs=either(record.needs, other.needs),
        built=record.built or other.built,
    )


def either(
    needs: frozenset[Digest] | None, other: frozenset[Digest] | None
) -> frozenset[Digest] | None:
    """What is needed by two accounts, of which each may know nothing."""
    return other if needs is None else needs | (other or frozenset())


def record_from_json(data: Mapping[str, Any]) -> BlobRecord:
    """Read the written form.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: it is damaged.
    """
    stamp = data["stamp"]
    if stamp is not None:
        size, modified, inode, mode = stamp
        stamp = (int(size), int(modified), int(inode), int(mode))
    fetched = data["fetched"]
    # Also what is no number at all, as NaN is written, is no date.
    if fetched is not None and not 0 <= fetched <= _LATEST:
        message = f"`{fetched}` is no date"
        raise ValueError(message)
    needs = data["needs"]
    return BlobRecord(
        origins=tuple(
            Origin(name=str(item["name"]), url=str(item["url"]), index=item["index"])
            for item in data["origins"]
        ),
        fetched=None if fetched is None else float(fetched),
        stamp=stamp,
        needs=None if needs is None else frozenset(Digest.parse(text) for text in needs),
        # Absent in records from before wheels were kept.
        built=built_from_json(data["built"]) if data.get("built") else None,
    )


def built_to_json(built: Built) -> dict[str, str]:
    """The written form."""
    return {"name": built.name, "source": built.source.hex}


def built_from_json(data: Mapping[str, Any]) -> Built:
    """Read the written form.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: it is damaged.
    """
    return Built(name=str(data["name"]), source=Digest.parse(data["source"]))
