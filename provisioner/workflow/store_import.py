"""Take a bundle into the store; every byte of it is verified on the way."""

from __future__ import annotations

import hashlib
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from provisioner.adapters._files import stamp_of
from provisioner.adapters.bundle import BundleReader
from provisioner.adapters.leases import Leases
from provisioner.adapters.roots import Pin, Pins
from provisioner.adapters.store import StoredPage
from provisioner.core.blob_record import BlobRecord
from provisioner.core.bundle import MANIFEST, read_manifest, unknown_format
from provisioner.core.pages import PAGE_BYTES
from provisioner.core.sizes import size_text
from provisioner.errors import STORE_FULL, IntegrityError, SpaceError, UsageError, said
from provisioner.workflow.ledger import Ledger
from provisioner.workflow.place import store_of
from provisioner.workflow.prepared import Count
from provisioner.workflow.wanted import Awaited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from provisioner.adapters.store import Store
    from provisioner.core.bundle import BundledPage, Manifest, Member
    from provisioner.core.digest import Digest
    from provisioner.workflow.world import Options, World

_MANIFEST_BYTES: Final = 64 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportResult:
    """What came, what was held already, and the pin that keeps it.

    `texts` are the locks in it by their names.
    """

    bundle: str
    name: str
    imported: Count
    held: Count
    pages: int
    locks: tuple[str, ...]
    pin: str | None
    texts: Mapping[str, bytes] = field(default_factory=dict, compare=False)

    def to_json(self) -> dict[str, Any]:
        """The fields of `store import --json`."""
        return {
            "bundle": self.bundle,
            "name": self.name,
            "imported": {"files": self.imported.files, "bytes": self.imported.bytes},
            "held": {"files": self.held.files, "bytes": self.held.bytes},
            "pages": self.pages,
            "locks": list(self.locks),
            "pin": self.pin,
        }


def store_import(
    world: World,
    options: Options,
    source: Path | IO[bytes],
    *,
    pin: bool,
    accept: Callable[[Manifest], None] = lambda _: None,
) -> ImportResult:
    """Take a bundle from a file or stream; what is complete stays where it breaks off.

    What it has is kept under a pin of its name until that is removed. `accept` may raise what
    speaks against a bundle, before anything is taken.

    Raises:
        GpuenvError: it is no bundle, or of another format.
        IntegrityError: it is damaged, or a name in it was seen before with other bytes.
        SpaceError: there is no room for it.
    """
    store = store_of(world, options)
    store.check()
    world.guard()
    with _opened(source) as file:
        reader = BundleReader(file)
        members = reader.members()
        manifest = _manifest(reader, members)
        accept(manifest)
        store.open()
        with Leases(store.root).working():
            taking = _Taking(world, store, reader, manifest)
            taking.check()
            taking.run(members)
            label = source.name if isinstance(source, Path) else manifest.name
            if pin and manifest.blobs:
                _pin(store, label, manifest)
    return ImportResult(
        bundle=str(source) if isinstance(source, Path) else "-",
        name=manifest.name,
        imported=taking.imported,
        held=taking.held,
        pages=taking.pages,
        locks=tuple(item.name for item in manifest.locks),
        pin=label if pin and manifest.blobs else None,
        texts={item.name: taking.locks[item.digest] for item in manifest.locks},
    )


@contextmanager
def _opened(source: Path | IO[bytes]) -> Iterator[IO[bytes]]:
    if not isinstance(source, Path):
        yield source
        return
    try:
        file = source.open("rb")
    except OSError as error:
        message = f"cannot read `{source}`"
        raise UsageError(message, causes=(said(error),)) from error
    with file:
        yield file


def _manifest(reader: BundleReader, members: Iterator[tuple[str, int]]) -> Manifest:
    """The manifest, which has to be the first member.

    Raises:
        GpuenvError: it is no bundle, or of another format.
    """
    why = "it does not begin with a manifest"
    try:
        path, size = next(members)
        if path != MANIFEST or size > _MANIFEST_BYTES:
            raise unknown_format(why)
        text = b"".join(reader.blocks())
    except (IntegrityError, StopIteration):
        raise unknown_format(why) from None
    return read_manifest(text)


def _pin(store: Store, label: str, manifest: Manifest) -> None:
    """Keep what came; what another bundle of this name brought stays too."""
    pins = Pins(store.root)
    known = [
        pin.digests for _, pin in pins.every() if pin and (pin.kind, pin.label) == ("bundle", label)
    ]
    digests = frozenset(blob.digest for blob in manifest.blobs).union(*known)
    pins.add(Pin(kind="bundle", label=label, digests=digests))


class _Taking:
    """The way of one bundle into the store."""

    def __init__(
        self, world: World, store: Store, reader: BundleReader, manifest: Manifest
    ) -> None:
        self._world = world
        self._store = store
        self._reader = reader
        self._manifest = manifest
        self._ledger = Ledger(store, world.progress.note)
        self._blobs = {blob.digest: blob for blob in manifest.blobs}
        self.locks: dict[Digest, bytes] = {}
        self.imported = Count()
        self.held = Count()
        self.pages = 0

    def check(self) -> None:
        """Refuse what cannot be taken, before anything is.

        Raises:
            IntegrityError: a name was seen before with other bytes.
            SpaceError: there is no room.
        """
        self._ledger.check_names(
            ((seen.index, seen.name, seen.digest) for seen in self._manifest.first_seen),
            "the bundle",
        )
        missing = [blob for blob in self._manifest.blobs if blob.digest not in self._store]
        needed, free = sum(blob.size for blob in missing), self._store.free_bytes()
        if needed > free:
            message = f"the store `{self._store.root}` has no room for the bundle"
            raise SpaceError(
                message,
                causes=(f"needed are {size_text(needed)}, free are {size_text(free)}",),
                hint=STORE_FULL,
            )
        files = f"{len(missing)} file{'' if len(missing) == 1 else 's'}"
        self._world.progress.note(f"importing {files} ({size_text(needed)})")

    def run(self, members: Iterator[tuple[str, int]]) -> None:
        """Take every member that the manifest names.

        Raises:
            IntegrityError: others are there, some are not, or one is not what it has to be.
        """
        expected = self._manifest.members()
        done = set()
        for path, size in members:
            member = expected.pop(path, None)
            if member is None:
                what = "there twice" if path in done else "not in its manifest"
                why = f"`{ascii(path)[1:-1]}` is {what}"
                raise _damaged(why)
            if size != member.size:
                why = f"`{member.name}` has {size} bytes, its manifest says {member.size}"
                raise _damaged(why)
            done.add(path)
            if member.kind == "blobs":
                self._take_blob(member)
            elif member.kind == "pages":
                self._take_page(member)
            else:
                found, self.locks[member.digest] = self._hashed(member)
                self._refuse_wrong(member, found)
        if expected:
            raise _damaged(*(f"`{member.name}` is not there" for member in expected.values()))
        for page in self._manifest.pages:
            if page.digest is not None:
                self._keep_page(page, b"")

    def _take_blob(self, member: Member) -> None:
        digest, blob = member.digest, self._blobs[member.digest]
        came = False
        if digest not in self._ledger:
            awaited = Awaited(
                self._world.progress,
                self._store,
                digest.hex,
                member.name,
                size=member.size,
                # Whoever waits is the main thread, which Ctrl-C ends.
                stopped=threading.Event(),
            )
            with self._store.claim(digest.hex, awaited.tell, awaited.look):
                if digest not in self._store:
                    self._receive(member)
                    came = True
        told = BlobRecord(origins=blob.origins, needs=blob.needs, built=blob.built)
        if came:
            stamp = stamp_of(self._store.place(digest))
            told = replace(told, fetched=time.time(), stamp=stamp)
            self._world.progress.note(f"imported {member.name} ({size_text(member.size)})")
        self._ledger.imported(
            digest,
            told,
            (
                replace(seen, seen=min(seen.seen, self._world.now()))
                for seen in self._manifest.first_seen
                if seen.digest == digest
            ),
        )
        before = self.imported if came else self.held
        after = Count(files=before.files + 1, bytes=before.bytes + member.size)
        if came:
            self.imported = after
        else:
            self.held = after

    def _receive(self, member: Member) -> None:
        with self._store.arriving(member.digest.hex) as arrival:
            arrival.begin(validator=None, size=member.size)
            at = 0
            for block in self._reader.blocks():
                arrival.write(at, block)
                at += len(block)
                while arrival.hash_more():
                    pass
                arrival.flush_if_due()
            try:
                self._store.keep(arrival, member.digest, member.name)
            except IntegrityError as error:
                error.hint = "the bundle is damaged; nothing of this file was kept"
                raise

    def _take_page(self, member: Member) -> None:
        found, body = self._hashed(member)
        self._refuse_wrong(member, found)
        for page in self._manifest.pages:
            if page.body == member.digest:
                self._keep_page(page, body)

    def _keep_page(self, page: BundledPage, body: bytes) -> None:
        """Keep a page, unless a later one is there."""
        known = self._store.page(page.key)
        if known is not None and known.stored >= page.stored:
            return
        self._store.keep_page(
            page.key,
            StoredPage(
                url=page.url,
                headers=dict(page.headers),
                stored=min(page.stored, self._world.now()),
                body=body,
                digest=page.digest,
            ),
        )
        self.pages += 1

    def _hashed(self, member: Member) -> tuple[str, bytes]:
        """The hash and the bytes of a small member."""
        if member.size > PAGE_BYTES:
            why = f"`{member.name}` is too large: more than {PAGE_BYTES} bytes"
            raise _damaged(why)
        body = b"".join(self._reader.blocks())
        return hashlib.sha256(body).hexdigest(), body

    def _refuse_wrong(self, member: Member, found: str) -> None:
        if found != member.digest.hex:
            message = f"`{member.name}` has the wrong hash"
            raise IntegrityError(
                message,
                causes=(f"expected sha256 `{member.digest}`, got `{found}`",),
                hint="the bundle is damaged",
                code="wrong-hash",
            )


def _damaged(*causes: str) -> IntegrityError:
    return IntegrityError("the bundle is damaged", causes=causes, code="bundle-damaged")
