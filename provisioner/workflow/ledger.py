"""What the store learns as blobs arrive and are taken: records, and first-seen file names."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from provisioner.adapters._files import unless_read_only
from provisioner.adapters.leases import Leases
from provisioner.adapters.records import FirstSeenNames, Records, stamp_of
from provisioner.core.blob_record import BlobRecord, Origin, Stamp, merged
from provisioner.core.digest import Digest
from provisioner.core.first_seen import FirstSeen, index_of, name_of
from provisioner.core.urls import without_query
from provisioner.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from provisioner.adapters.store import Store
    from provisioner.core.plan import LockedFile


_NEVER: Final[Stamp] = (0, 0, 0, 0)
"""The stamp of no file."""


class Ledger:
    """The account of one store's blobs.

    It is a container of the digests that are held: asking it takes the blob, so that no
    collection removes it as long as this process works.
    """

    def __init__(self, store: Store, note: Callable[[str], None] = lambda _: None) -> None:
        self._store = store
        self._note = note
        self._records = Records(store.root)
        self._lower = tuple(Records(root) for root in store.lower)
        self._names = FirstSeenNames(store.root, store.lower)
        self._leases = Leases(store.root)
        self._damaged: dict[Digest, str] = {}
        # For a store that cannot be written to: no file is hashed twice in one run.
        self._right: set[tuple[Digest, Stamp | None]] = set()

    def __contains__(self, digest: object) -> bool:
        """Whether a blob is held, and as it was when its hash was last right.

        One that has changed is hashed; where that is wrong it is removed, and `check` tells.
        A wrong one of a store below is as good as absent.
        """
        if not isinstance(digest, Digest) or digest not in self._store:
            return False
        with self._leases.taking():
            if digest not in self._store:
                return False
            path = self._store.blob(digest)
            is_own = path == self._store.place(digest)
            record = self._records.read(digest)
            if is_own and record is None:
                self._records.write(digest, BlobRecord())
            elif is_own:
                self._records.touch(digest)
        if not is_own:
            return self._is_below(digest, path)
        if record is None or record.stamp in {None, stamp_of(path)}:
            return True
        return (digest, stamp_of(path)) in self._right or self.confirm(digest, record)

    def drop(self, digest: Digest) -> None:
        """Hold a blob no longer that turned out to be damaged.

        One of a store below is left to its owner, and not trusted by its stat again.
        """
        if self._store.blob(digest) != self._store.place(digest):
            known = self._records.read(digest) or BlobRecord()
            self._records.write(digest, replace(known, stamp=_NEVER))
        self._store.drop(digest)

    def confirm(self, digest: Digest, record: BlobRecord) -> bool:
        """Hash a blob: note how it lies there if it is right, else remove it."""
        if not self._store.verify(digest):
            self._store.drop(digest)
            name = record.origins[0].name if record.origins else digest.hex
            self._damaged[digest] = f"`{name}` has no longer sha256 `{digest}`"
            return False
        path = self._store.blob(digest)
        with unless_read_only():  # Another user's, in a shared store.
            path.chmod(0o444)
        stamp = stamp_of(path)
        self._right.add((digest, stamp))
        self._records.write(digest, replace(record, stamp=stamp))
        return True

    def _is_below(self, digest: Digest, path: Path) -> bool:
        """Whether a blob of a store below is right, looked for until one is.

        A copy of a store, as in an image, has other inodes than its records: it is hashed
        once, and noted in the store itself, whose word counts from then on.
        """
        own = self._records.read(digest)
        noted = (records.read(digest) for records in self._lower)
        stamps = {own.stamp} if own and own.stamp else {record.stamp for record in noted if record}
        while path != self._store.place(digest):
            stamp = stamp_of(path)
            if stamp in stamps - {None} or (digest, stamp) in self._right:
                return True
            if self._store.verify(digest):
                self._right.add((digest, stamp))
                self._records.write(digest, replace(own or BlobRecord(), stamp=stamp))
                return True
            self._store.drop(digest)
            self._note(f"`{path}` is damaged, and is not used")
            path = self._store.blob(digest)
        return False

    def check(self, files: Iterable[LockedFile]) -> None:
        """Refuse file names that were seen before with other bytes, and tell of damage.

        Raises:
            IntegrityError: some were, or the store held some that are damaged.
        """
        every = tuple(dict.fromkeys(files))
        damaged = [self._damaged.pop(file.digest, None) for file in every]
        if any(damaged):
            raise _damage((cause for cause in damaged if cause), removed=self._store.is_writable)
        self.check_names((index_of(file), name_of(file), file.digest) for file in every)

    def check_names(self, named: Iterable[tuple[str, str, Digest]]) -> None:
        """Refuse file names of indexes that were seen before with other bytes.

        Raises:
            IntegrityError: some were.
        """
        causes, names = [], []
        for index, name, digest in named:
            first = self._names.read(index, name)
            if first and first.digest != digest:
                causes.append(_both(first, digest))
                names.append(first.name)
        if causes:
            raise _changed(causes, names)

    def arrived(self, file: LockedFile, *, hashed: bool) -> None:
        """Note that a blob has come; `hashed` where its hash was known before.

        Raises:
            IntegrityError: its name was seen with other bytes in the meantime.
        """
        url = without_query(file.url)
        index = without_query(file.index) if file.index else None
        origin = Origin(name=name_of(file), url=url, index=index)
        # A collection may be about to remove the record of an earlier blob of these bytes.
        with self._leases.taking():
            known = self._records.read(file.digest) or BlobRecord()
            others = tuple(item for item in known.origins if item.url != url)
            stamp = stamp_of(self._store.blob(file.digest))
            self._records.write(
                file.digest,
                replace(known, origins=(origin, *others), fetched=time.time(), stamp=stamp),
            )
        if not hashed:
            return  # Only what has a hash is meant to stay the same.
        seen = FirstSeen(
            index=index_of(file),
            name=origin.name,
            digest=file.digest,
            url=url,
            seen=time.time(),
        )
        first = self._names.keep(seen)
        if first.digest != file.digest:
            raise _changed([_both(first, file.digest)], [first.name])

    def imported(self, digest: Digest, told: BlobRecord, names: Iterable[FirstSeen]) -> None:
        """Note what a bundle tells of a blob that is held now; with a stamp where it has come.

        Raises:
            IntegrityError: one of its names was seen with other bytes in the meantime.
        """
        with self._leases.taking():
            known = merged(self._records.read(digest) or BlobRecord(), told)
            came = told.stamp is not None
            self._records.write(
                digest,
                replace(known, stamp=told.stamp, fetched=told.fetched) if came else known,
            )
        first = [self._names.keep(seen) for seen in names]
        other = [seen for seen in first if seen.digest != digest]
        if other:
            raise _changed([_both(seen, digest) for seen in other], [seen.name for seen in other])

    def built_with(self, sources: Iterable[Digest], needs: Iterable[Digest]) -> None:
        """Note what was used to build source distributions: they need it to be built again."""
        used = frozenset(needs)
        if not used:
            return
        for source in sources:
            known = self._records.read(source) or BlobRecord()
            if not used <= known.needs:
                self._records.write(source, replace(known, needs=known.needs | used))


def _damage(causes: Iterable[str], *, removed: bool) -> IntegrityError:
    return IntegrityError(
        "the store held damaged files",
        causes=tuple(causes),
        hint="they are held no longer; run the command again to fetch them anew"
        if removed
        else "whoever may write to the store mends it with `gpuenv store verify --repair`",
        code="blob-damaged",
    )


def _both(first: FirstSeen, digest: Digest) -> str:
    when = time.strftime("%Y-%m-%d", time.gmtime(first.seen))
    return (
        f"`{first.name}` of {first.index} was seen on {when} with sha256 `{first.digest}`, "
        f"now it has `{digest}`"
    )


def _changed(causes: list[str], names: list[str]) -> IntegrityError:
    return IntegrityError(
        "a file name has other bytes than when it was first seen",
        causes=tuple(causes),
        hint="if its publisher has replaced it and you trust the new one, "
        f"`gpuenv store forget {names[0]}` lets it be seen anew",
        code="file-changed",
    )
