"""`records/` and `first-seen/` of the store: what is known of its blobs, and of file names.

A record's own modification time is when the blob was last used: setting it needs no rewrite,
and no lock.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from provisioner.adapters._files import read_json, stamp_from, unless_read_only, write_whole
from provisioner.core.blob_record import BlobRecord, Stamp, record_from_json
from provisioner.core.digest import Digest, is_digest
from provisioner.core.first_seen import FirstSeen, first_seen_from_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

_SUFFIX: Final = ".json"
_DAMAGED: Final = (AttributeError, KeyError, TypeError, ValueError)


def stamp_of(path: Path) -> Stamp | None:
    """The stamp of a regular file; None for anything else, and where there is nothing."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return stamp_from(found)


class Records:
    """One small file a blob."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "records"

    def read(self, digest: Digest) -> BlobRecord | None:
        """What is known of a blob; None where nothing is, or it cannot be read."""
        try:
            data = read_json(self.path(digest))
            return record_from_json(data) if data is not None else None
        except _DAMAGED:
            return None  # It is written anew when the hash of the blob was found right.

    def write(self, digest: Digest, record: BlobRecord) -> None:
        """Keep what is known of a blob, which counts as a use of it.

        In a store that cannot be written to it is found out anew each time.
        """
        path = self.path(digest)
        with unless_read_only():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(record.to_json()))

    def touch(self, digest: Digest) -> None:
        """Note that a blob is used now, where there is a record of it that is ours."""
        with suppress(FileNotFoundError), unless_read_only():
            os.utime(self.path(digest))

    def remove(self, digest: Digest) -> None:
        """Know nothing of a blob any more."""
        self.path(digest).unlink(missing_ok=True)

    def every(self) -> Iterator[tuple[Digest, BlobRecord | None, float]]:
        """Every record with the time of its last use, and None for one that cannot be read."""
        # Strings and not paths: verifying by stat is about reading these quickly.
        for folder in _names(str(self._folder)):
            for name in _names(f"{self._folder}/{folder}"):
                if name.endswith(_SUFFIX) and is_digest(name[: -len(_SUFFIX)]):
                    record, used = _read_quickly(f"{self._folder}/{folder}/{name}")
                    yield Digest(name[: -len(_SUFFIX)]), record, used

    def path(self, digest: Digest) -> Path:
        """Where the record of a blob is, or would be."""
        return self._folder / digest.hex[:2] / f"{digest.hex}.json"


class FirstSeenNames:
    """One small file an index and file name; whoever writes it first is right.

    What the stores below have seen counts too; it is written to the store itself alone.
    """

    def __init__(self, root: Path, lower: Iterable[Path] = ()) -> None:
        self._folder = root / "first-seen"
        self._lower = tuple(folder / "first-seen" for folder in lower)

    def read(self, index: str, name: str) -> FirstSeen | None:
        """How a file name was first seen; None where it never was, or that cannot be read."""
        for folder in (self._folder, *self._lower):
            found = _read(_seen_path(folder, index, name), first_seen_from_json)
            # Only to be sure that it is of this name, and was not put here by another hand.
            if found and (found.index, found.name) == (index, name):
                return found
        return None

    def keep(self, seen: FirstSeen) -> FirstSeen:
        """Keep how a name was seen, and tell how it was seen first."""
        if self._lower and (first := self.read(seen.index, seen.name)):
            return first
        path = self._path(seen.index, seen.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
        write_whole(staged, json.dumps(seen.to_json()))
        try:
            # Unlike a rename, a link takes the place of nothing that is there.
            os.link(staged, path)
        except FileExistsError:
            first = self.read(seen.index, seen.name)
            if first is not None:
                return first
            staged.replace(path)  # What was there could not be read.
        except OSError:
            staged.replace(path)  # A file system without links.
        finally:
            staged.unlink(missing_ok=True)
        return seen

    def forget(self, seen: FirstSeen) -> None:
        """Let a name be seen for the first time again."""
        self._path(seen.index, seen.name).unlink(missing_ok=True)

    def every(self) -> Iterator[tuple[Path, FirstSeen | None]]:
        """All of them, with None for one that cannot be read."""
        for path in sorted(self._folder.glob("??/*.json")):
            if not path.name.startswith("."):
                yield path, _read(path, first_seen_from_json)

    def _path(self, index: str, name: str) -> Path:
        return _seen_path(self._folder, index, name)


def _seen_path(folder: Path, index: str, name: str) -> Path:
    import hashlib

    key = hashlib.sha256(f"{index}\n{name}".encode()).hexdigest()
    return folder / key[:2] / f"{key}.json"


def _read(path: Path, parse: Callable[[Mapping[str, Any]], FirstSeen]) -> FirstSeen | None:
    try:
        data = read_json(path)
        return parse(data) if data is not None else None
    except _DAMAGED:
        return None


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - as above
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read_quickly(path: str) -> tuple[BlobRecord | None, float]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None, 0.0
    try:
        found = os.fstat(descriptor)
        data = json.loads(os.read(descriptor, found.st_size + 1))
        return record_from_json(data), found.st_mtime
    except (OSError, *_DAMAGED):
        return None, 0.0
    finally:
        os.close(descriptor)
