"""`records/` and `first-seen/` of the store: what is known of its blobs, and of file names.

A record's own modification time is when the blob was last used: setting it needs no rewrite,
and no lock. Records are not flushed: what a power failure takes of them is found out anew.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from provisioner.adapters._files import (
    DAMAGED,
    names_in,
    read_json,
    unless_read_only,
    write_whole,
)
from provisioner.adapters._notes import alone
from provisioner.core.blob_record import BlobRecord, record_from_json
from provisioner.core.digest import Digest, is_digest
from provisioner.core.first_seen import FirstSeen, first_seen_from_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

_SUFFIX: Final = ".json"
_EARLIER: Final = ".earlier"


class Records:
    """One small file a blob."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = root / "records"

    def read(self, digest: Digest) -> BlobRecord | None:
        """What is known of a blob; None where nothing is, or it cannot be read.

        It is written anew when the hash of the blob was found right.
        """
        return _read_quickly(str(self.path(digest)))[0]

    def change(self, digest: Digest, change: Callable[[BlobRecord], BlobRecord]) -> None:
        """Change what is known of a blob, from nothing on, which counts as a use of it.

        No other process changes it between. In a store that cannot be written to it is found
        out anew each time.
        """
        with unless_read_only(), alone(self._root):
            known = self.read(digest)
            changed = change(known or BlobRecord())
            if changed == known:
                self.touch(digest)
                return
            path = self.path(digest)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(changed.to_json()), flushed=False)

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
        for folder in names_in(str(self._folder)):
            for name in names_in(f"{self._folder}/{folder}"):
                if name.endswith(_SUFFIX) and is_digest(name[: -len(_SUFFIX)]):
                    record, used = _read_quickly(f"{self._folder}/{folder}/{name}")
                    yield Digest(name[: -len(_SUFFIX)]), record, used

    def path(self, digest: Digest) -> Path:
        """Where the record of a blob is, or would be."""
        return self._folder / digest.hex[:2] / f"{digest.hex}.json"


class FirstSeenNames:
    """One small file an index and file name; whoever writes it first is right.

    Beside it lie the hashes that the name had before it was forgotten.

    What the stores below have seen counts too; it is written to the store itself alone.
    """

    def __init__(self, root: Path, lower: Iterable[Path] = ()) -> None:
        self._root = root
        self._folder = root / "first-seen"
        self._lower = tuple(folder / "first-seen" for folder in lower)

    def read(self, index: str, name: str) -> FirstSeen | None:
        """How a file name was first seen; None where it never was, or that cannot be read."""
        for folder in (self._folder, *self._lower):
            found = _read(_seen_path(folder, index, name), first_seen_from_json)
            # Only to be sure that it is of this name, and was not put here by another hand.
            is_it = found and (found.index, found.name) == (index, name)
            if found and is_it and self._counts(folder, found):
                return found
        return None

    def _counts(self, folder: Path, seen: FirstSeen) -> bool:
        """Whether a note was not forgotten; one of a store below stays where it is."""
        if folder == self._folder:
            return True
        return seen.digest.hex not in _earlier(_seen_path(self._folder, seen.index, seen.name))

    def was_right(self, index: str, name: str, digest: Digest) -> bool:
        """Whether a name had these bytes before it was forgotten."""
        folders = (self._folder, *self._lower)
        return any(digest.hex in _earlier(_seen_path(it, index, name)) for it in folders)

    def keep(self, seen: FirstSeen) -> FirstSeen:
        """Keep how a name was seen, and tell how it was seen first.

        What it had before it was forgotten is right too, and does not count as seen anew.
        """
        if self.was_right(seen.index, seen.name, seen.digest):
            return seen
        if first := self.read(seen.index, seen.name):
            return first
        path = _seen_path(self._folder, seen.index, seen.name)
        with alone(self._root):
            if first := self.read(seen.index, seen.name):
                return first
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(seen.to_json()))
        return seen

    def forget(self, seen: FirstSeen) -> None:
        """Let a name be seen with other bytes once more; those that it had stay right."""
        path = _seen_path(self._folder, seen.index, seen.name)
        with alone(self._root):
            path.parent.mkdir(parents=True, exist_ok=True)
            known = dict.fromkeys((*_earlier(path), seen.digest.hex))
            write_whole(path.with_suffix(_EARLIER), "".join(f"{item}\n" for item in known))
            path.unlink(missing_ok=True)

    def seen(self) -> Iterator[FirstSeen]:
        """All that count and can be read, those of the store itself first."""
        for folder in (self._folder, *self._lower):
            for _, found in FirstSeenNames(folder.parent).every():
                if found and self._counts(folder, found):
                    yield found

    def every(self) -> Iterator[tuple[Path, FirstSeen | None]]:
        """All of the store itself, with None for one that cannot be read."""
        for path in sorted(self._folder.glob("??/*.json")):
            if not path.name.startswith("."):
                yield path, _read(path, first_seen_from_json)


def _seen_path(folder: Path, index: str, name: str) -> Path:
    import hashlib

    key = hashlib.sha256(f"{index}\n{name}".encode()).hexdigest()
    return folder / key[:2] / f"{key}.json"


def _earlier(path: Path) -> list[str]:
    """The hashes that a name had before it was forgotten."""
    try:
        return path.with_suffix(_EARLIER).read_text(encoding="utf-8").split()
    except OSError:
        return []


def _read(path: Path, parse: Callable[[Mapping[str, Any]], FirstSeen]) -> FirstSeen | None:
    try:
        data = read_json(path)
        return parse(data) if data is not None else None
    except DAMAGED:
        return None


def _read_quickly(path: str) -> tuple[BlobRecord | None, float]:
    """A record and the time of its last use."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None, 0.0
    try:
        found = os.fstat(descriptor)
        text = os.read(descriptor, found.st_size + 1)
        # An empty one is what a power failure may leave.
        return record_from_json(json.loads(text)) if text else BlobRecord(), found.st_mtime
    except (OSError, *DAMAGED):
        return None, 0.0
    finally:
        os.close(descriptor)
