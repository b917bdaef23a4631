"""What the store learns as blobs arrive and are taken: records, and first-seen file names."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from provisioner.adapters._files import stamp_of, unless_read_only
from provisioner.adapters.leases import Leases
from provisioner.adapters.records import FirstSeenNames, Records
from provisioner.adapters.static_index import StaticIndex
from provisioner.core.blob_record import BlobRecord, Built, Origin, Stamp, either, merged
from provisioner.core.digest import Digest
from provisioner.core.first_seen import FirstSeen, index_of
from provisioner.core.urls import without_query
from provisioner.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping
    from pathlib import Path

    from provisioner.adapters.store import Store
    from provisioner.core.plan import LockedFile


_LOCK: Final = "the lock"
_CAME: Final = "what came now"
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
        self._index = StaticIndex(store.root)
        self._leases = Leases(store.root)
        self._damaged: set[Digest] = set()
        # For a store that cannot be written to: no file is hashed twice in one run.
        self._right: set[tuple[Digest, Stamp | None]] = set()

    def __contains__(self, digest: object) -> bool:
        """Whether a blob is held, and as it was when its hash was last right.

        One that has changed is hashed; where that is wrong it is removed, and `check` tells.
        A wrong one of a store below is as good as absent.
        """
        if not isinstance(digest, Digest) or digest not in self._store:
            return False
        with self._leases.taking(self._waits):
            if digest not in self._store:
                return False
            path = self._store.blob(digest)
            is_own = path == self._store.place(digest)
            record = self._records.read(digest)
            if is_own and record is None:
                self._records.change(digest, lambda known: known)
            elif is_own:
                self._records.touch(digest)
        stamp = stamp_of(path)
        if is_own:
            is_right = record is None or record.stamp in {None, stamp}
        elif record and record.stamp:
            # A copy of a store, as in an image, has other inodes than its records: it is
            # hashed once, and noted in the store itself, whose word counts from then on.
            is_right = record.stamp == stamp
        else:
            noted = (records.read(digest) for records in self._lower)
            is_right = stamp in {item.stamp for item in noted if item} - {None}
        return is_right or (digest, stamp) in self._right or self.confirm(digest)

    def confirm(self, digest: Digest) -> bool:
        """Hash a blob: note how it lies there if it is right, else remove it.

        One of a store below is left to its owner, and not trusted by its stat again.
        """
        while digest in self._store:
            path = self._store.blob(digest)
            is_own = path == self._store.place(digest)
            before = stamp_of(path)
            if self._store.verify(digest):
                self._note_right(digest, path, before, is_own=is_own)
                return True
            if not is_own:
                self._store.refuse(path)
                self._records.change(digest, lambda known: replace(known, stamp=_NEVER))
                self._note(f"`{path}` is damaged, and is not used")
            elif self._store.drop(digest, before):
                self._damaged.add(digest)
                self._index.refresh(self._names_of(digest))
                return False
            # Another process has removed it meanwhile, or fetched it anew.
        return False

    def blame(self, files: Iterable[LockedFile]) -> None:
        """Hash files that a client could not use.

        Raises:
            IntegrityError: some are damaged.
        """
        every = tuple(files)
        self._damaged |= {
            file.digest
            for file in every
            if file.digest in self._store and not self.confirm(file.digest)
        }
        self.check(every)

    def _note_right(
        self, digest: Digest, path: Path, before: Stamp | None, *, is_own: bool
    ) -> None:
        if is_own:
            with unless_read_only():  # Another user's, in a shared store.
                path.chmod(0o444)
        stamp = stamp_of(path)
        # One that was written to while it was hashed has no stamp that holds.
        if before is not None and stamp is not None and stamp[:3] == before[:3]:
            self._right.add((digest, stamp))
            self._records.change(digest, lambda known: replace(known, stamp=stamp))

    def _waits(self, holder: str) -> None:
        self._note(f"waiting for {holder}, which removes files from the store")

    def check(
        self, files: Iterable[LockedFile], *, mends: bool = False, locked: Container[Digest] = ()
    ) -> None:
        """Refuse file names that were seen before with other bytes, and tell of damage.

        What was damaged is no error where it `mends`: it is fetched anew then. `locked` is what
        a lock has named; an index has named the rest.

        Raises:
            IntegrityError: some were, or the store held some that are damaged.
        """
        every = tuple(dict.fromkeys(files))
        damaged = {file.digest: file.name for file in every if file.digest in self._damaged}
        if damaged:
            self._damaged -= damaged.keys()
            removed = self._store.is_writable
            if not (mends and removed):
                raise _damage(damaged, removed=removed)
            for name in damaged.values():
                self._note(f"`{name}` was damaged in the store, and is fetched anew")
        for by, said in (
            (_LOCK, [file for file in every if file.digest in locked]),
            ("the index", [file for file in every if file.digest not in locked]),
        ):
            self.check_names(((index_of(file), file.name, file.digest) for file in said), by)
        for file in every:
            # Another index may name it too, or whoever fetched it was killed before the note.
            if file.digest in self._store:
                self._note_origin(file)
                self._list(file.digest, file.name)
                with unless_read_only():
                    self._note_name(file)

    def check_names(self, named: Iterable[tuple[str, str, Digest]], by: str) -> None:
        """Refuse file names of indexes that were seen before with other bytes; `by` has them.

        Raises:
            IntegrityError: some were.
        """
        changed = [
            (first, digest)
            for index, name, digest in named
            if (first := self._names.read(index, name))
            and first.digest != digest
            and not self._names.was_right(index, name, digest)
        ]
        if changed:
            raise _changed(changed, by)

    def arrived(self, file: LockedFile, *, hashed: bool) -> None:
        """Note that a blob has come; `hashed` where its hash was known before.

        Raises:
            IntegrityError: its name was seen with other bytes in the meantime.
        """
        # A collection may be about to remove the record of an earlier blob of these bytes.
        with self._leases.taking(self._waits):
            stamp = stamp_of(self._store.blob(file.digest))
            self._records.change(
                file.digest,
                lambda known: replace(_with_origin(known, file), fetched=time.time(), stamp=stamp),
            )
        self._list(file.digest, file.name)
        if hashed:  # Only what has a hash is meant to stay the same.
            self._note_name(file)

    def _note_origin(self, file: LockedFile) -> None:
        if self._store.blob(file.digest) != self._store.place(file.digest):
            return
        known = self._records.read(file.digest) or BlobRecord()
        if all(origin.url != without_query(file.url) for origin in known.origins):
            self._records.change(file.digest, lambda known: _with_origin(known, file))

    def _note_name(self, file: LockedFile) -> None:
        """Raises IntegrityError where a name was seen with other bytes."""
        seen = FirstSeen(
            index=index_of(file),
            name=file.name,
            digest=file.digest,
            url=without_query(file.url),
            seen=time.time(),
        )
        first = self._names.keep(seen)
        if first.digest != file.digest:
            raise _changed([(first, file.digest)], _CAME)

    def imported(self, digest: Digest, told: BlobRecord, names: Iterable[FirstSeen]) -> None:
        """Note what a bundle tells of a blob that is held now; with a stamp where it has come.

        Raises:
            IntegrityError: one of its names was seen with other bytes in the meantime.
        """
        came = told.stamp is not None

        def learn(known: BlobRecord) -> BlobRecord:
            both = merged(known, told)
            return replace(both, stamp=told.stamp, fetched=told.fetched) if came else both

        with self._leases.taking(self._waits):
            self._records.change(digest, learn)
        for name in told.names:
            self._list(digest, name)
        first = [self._names.keep(seen) for seen in names]
        other = [(seen, digest) for seen in first if seen.digest != digest]
        if other:
            raise _changed(other, _CAME)

    def _list(self, digest: Digest, name: str) -> None:
        """Link a blob under its name, for clients that read the store as an index."""
        self._index.add(digest, name, self._store.blob(digest))

    def _names_of(self, digest: Digest) -> tuple[str, ...]:
        record = self._records.read(digest)
        return record.names if record else ()

    def made(self, digest: Digest, built: Built) -> None:
        """Note a wheel that was built here, which is held now."""
        if self._store.blob(digest) == self._store.place(digest):
            with self._leases.taking(self._waits):
                stamp = stamp_of(self._store.place(digest))
                self._records.change(
                    digest,
                    lambda known: replace(known, built=built, fetched=time.time(), stamp=stamp),
                )
        self._list(digest, built.name)

    def link(self, digest: Digest, name: str) -> Path | None:
        """The path of a blob that is held under its own name; None where it cannot have one."""
        self._list(digest, name)
        return self._index.link(digest, name)

    def built_with(self, sources: Iterable[Digest], needs: Iterable[Digest]) -> None:
        """Note what was used to build source distributions: they need it to be built again.

        That it was nothing is worth a note too.
        """
        used = frozenset(needs)
        for source in sources:
            self._records.change(
                source, lambda known: replace(known, needs=either(known.needs, used))
            )

    def knows_build(self, source: Digest) -> bool:
        """Whether it was noted, here or below, what it takes to build a source distribution."""
        noted = (records.read(source) for records in (self._records, *self._lower))
        return any(record is not None and record.needs is not None for record in noted)


def _with_origin(known: BlobRecord, file: LockedFile) -> BlobRecord:
    """A record with where a file is from as the first of its origins."""
    url = without_query(file.url)
    index = without_query(file.index) if file.index else None
    origin = Origin(name=file.name, url=url, index=index)
    others = tuple(item for item in known.origins if item.url != url)
    return replace(known, origins=(origin, *others))


def _damage(names: Mapping[Digest, str], *, removed: bool) -> IntegrityError:
    return IntegrityError(
        "the store held damaged files",
        causes=tuple(f"`{name}` no longer has sha256 `{digest}`" for digest, name in names.items()),
        hint="they are held no longer; run the command again with a network to fetch them anew"
        if removed
        else "whoever may write to the store mends it with `gpuenv store verify --repair`",
        code="blob-damaged",
    )


def _changed(changed: Iterable[tuple[FirstSeen, Digest]], by: str) -> IntegrityError:
    """Names that were first seen with other bytes, and who has which instead."""
    every = tuple(changed)
    names = " ".join(dict.fromkeys(first.name for first, _ in every))
    anew = f"`gpuenv store forget {names}` lets it be seen anew"
    trusted = f"if its publisher has replaced it and you trust the new one, {anew}"
    return IntegrityError(
        "a file name stands for other bytes than when it was first seen",
        causes=tuple(
            f"`{first.name}` of {first.index} was seen on "
            f"{time.strftime('%Y-%m-%d', time.gmtime(first.seen))} with sha256 "
            f"`{first.digest}`, {by} has `{digest}`"
            for first, digest in every
        ),
        hint=f"look first whether the lock is as it was committed; {trusted}"
        if by == _LOCK
        else trusted,
        code="file-changed",
    )
