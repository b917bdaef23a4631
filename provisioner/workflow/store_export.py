"""A bundle of the store, for a machine without a network."""

from __future__ import annotations

import hashlib
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from provisioner.adapters.bundle import BundleWriter, new_bundle
from provisioner.adapters.environment import is_outdated
from provisioner.adapters.inventory import Inventory
from provisioner.adapters.leases import Leases
from provisioner.adapters.projects import read_place
from provisioner.adapters.records import FirstSeenNames, Records
from provisioner.adapters.state import StateFolder
from provisioner.adapters.store import read_page
from provisioner.core.bundle import (
    MANIFEST,
    SEED_LOCK,
    BundledBlob,
    BundledLock,
    BundledPage,
    Manifest,
)
from provisioner.core.digest import Digest
from provisioner.core.index_policy import subject_of
from provisioner.core.reach import reachable
from provisioner.core.requirements import lock_name
from provisioner.core.sizes import size_text
from provisioner.errors import GpuenvError, IntegrityError, NotPreparedError, UsageError, said
from provisioner.workflow.place import place_of, store_of
from provisioner.workflow.prepared import Count
from provisioner.workflow.store_pin import matching, means, unknown
from provisioner.workflow.survey import take_survey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from provisioner.adapters.projects import Place
    from provisioner.adapters.store import Store
    from provisioner.core.bundle import Member
    from provisioner.workflow.survey import Survey
    from provisioner.workflow.world import Options, World

_BLOCK_BYTES: Final = 1 << 20
_EVERYTHING: Final = "store"


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """What is to be exported: files and projects by what they are called, pins, everything.

    Nothing of this means the project at hand.
    """

    words: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()
    every: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportResult:
    """What went into a bundle of `size` bytes; `notes` are what it may lack."""

    bundle: str
    name: str
    size: int
    blobs: Count
    pages: int
    locks: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fields of `store export --json`."""
        return {
            "bundle": self.bundle,
            "name": self.name,
            "bytes": self.size,
            "blobs": {"files": self.blobs.files, "bytes": self.blobs.bytes},
            "pages": self.pages,
            "locks": list(self.locks),
            "notes": list(self.notes),
        }


@dataclass(kw_only=True)
class _Contents:
    """What goes in, and where each member lies now."""

    manifest: Manifest
    paths: dict[str, Path | bytes]
    notes: list[str] = field(default_factory=list)


def store_export(
    world: World, options: Options, chosen: Chosen, target: Path | IO[bytes]
) -> ExportResult:
    """Write what was chosen, with all that it takes to build it, as one file or stream.

    Two bundles of the same things are equal byte for byte.

    Raises:
        GpuenvError: the store lacks something of it, or the file is there already.
        IntegrityError: a file of the store is damaged; there is no bundle then.
        SpaceError: there is no room for the bundle.
    """
    modified = _modified(world)
    store = store_of(world, options)
    store.check(writing=False)
    # What was named, or asked for by a project, cannot be there either, and that says more.
    if not (store.is_there or store.lower) and (chosen.every or store.root.exists()):
        hint = "`gpuenv prepare` makes one, `--store` and `GPUENV_STORE` name another one"
        raise GpuenvError(store.absence, hint=hint, code="no-store")
    world.guard()
    leases = Leases(store.root)
    with leases.working() if store.root.is_dir() else nullcontext():
        contents = _contents(world, options, store, chosen)
        manifest = contents.manifest
        records = Records(store.root)
        with leases.taking() if store.root.is_dir() else nullcontext():
            # From now on a collection leaves them.
            for blob in manifest.blobs:
                records.touch(blob.digest)
        if isinstance(target, Path):
            with new_bundle(target, replace=options.force) as file:
                size = _write(world, contents, file, modified)
        else:
            size = _write(world, contents, target, modified)
    return ExportResult(
        bundle=str(target) if isinstance(target, Path) else "-",
        name=manifest.name,
        size=size,
        blobs=Count(files=len(manifest.blobs), bytes=manifest.size),
        pages=len(manifest.pages),
        locks=tuple(item.name for item in manifest.locks),
        notes=tuple(contents.notes),
    )


def _write(world: World, contents: _Contents, file: IO[bytes], modified: int) -> int:
    manifest = contents.manifest
    files = f"{len(manifest.blobs)} file{'' if len(manifest.blobs) == 1 else 's'}"
    world.progress.note(f"exporting {files} ({size_text(manifest.size)})")
    writer = BundleWriter(file, modified)
    text = contents.manifest.text().encode()
    writer.add(MANIFEST, len(text), [text])
    for member in contents.manifest.members().values():
        writer.add(member.path, member.size, _verified(contents.paths[member.path], member))
        if member.kind == "blobs":
            world.progress.note(f"exported {member.name} ({size_text(member.size)})")
    writer.end()
    return writer.written


def _verified(content: Path | bytes, member: Member) -> Iterator[bytes]:
    """The bytes of a member, of which the last ones come only if all are right.

    Raises:
        IntegrityError: they are not what they have to be.
    """
    hasher = hashlib.sha256()
    try:
        with BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                hasher.update(block)
                yield block
    except OSError as error:
        message = f"`{member.name}` cannot be read"
        raise IntegrityError(message, causes=(said(error),), code="blob-damaged") from error
    if hasher.hexdigest() != member.digest.hex:
        if member.kind != "blobs":
            message = f"`{member.name}` has changed while it was exported"
            raise GpuenvError(message, hint="run the command again", code="changed")
        message = f"`{member.name}` no longer has its hash"
        raise IntegrityError(
            message,
            causes=(f"expected sha256 `{member.digest}`, got `{hasher.hexdigest()}`",),
            hint="`gpuenv store verify --repair` fetches it again",
            code="blob-damaged",
        )


def _contents(world: World, options: Options, store: Store, chosen: Chosen) -> _Contents:
    survey = take_survey(store.root, store.lower)
    place = None
    if chosen.every:
        name, starts = _EVERYTHING, survey.there
    elif chosen.words or chosen.pins:
        name, starts = _called(world, survey, chosen)
    else:
        place = place_of(world, options)
        name, starts = _of_project(world, survey, place)
    digests = reachable(starts, survey.needs)
    _refuse_missing(survey, digests)
    blobs = tuple(_blob(world, store, survey, digest) for digest in sorted(digests))
    pages, bodies = _pages(store, blobs, every=chosen.every)
    locks, texts = _locks(name, place)
    paths: dict[str, Path | bytes] = {
        **texts,
        **bodies,
        **{f"blobs/{digest}": store.blob(digest) for digest in digests},
    }
    first_seen = {
        (seen.index, seen.name): seen
        for seen in reversed(tuple(FirstSeenNames(store.root, store.lower).seen()))
        if seen.digest in digests
    }
    manifest = Manifest(
        name=name,
        blobs=blobs,
        first_seen=tuple(first_seen.values()),
        pages=pages,
        locks=locks,
    )
    notes = [*_unknown_builds(blobs), *_outdated(place)]
    return _Contents(manifest=manifest, paths=paths, notes=notes)


def _of_project(world: World, survey: Survey, place: Place) -> tuple[str, frozenset[Digest]]:
    """The name of the project at hand, and what it asked for last, for every target.

    Raises:
        NotPreparedError: it asked for nothing yet.
    """
    home = str(place.home)
    project = next((item for item in survey.living if item.home == home), None)
    wanted = frozenset(file.digest for file in project.planned) if project else None
    if project is None or not (wanted or project.wanted):
        message = f"nothing was ever prepared in `{place.home}`"
        hint = "`gpuenv prepare` comes first; `--all` exports everything that is held"
        raise NotPreparedError(message, hint=hint)
    # Before there were plans, the environments alone told.
    return _project_name(world, home), wanted or project.wanted


def _called(world: World, survey: Survey, chosen: Chosen) -> tuple[str, frozenset[Digest]]:
    """What some words and pins stand for, and the name of the first.

    Raises:
        GpuenvError: one stands for nothing.
    """
    names, digests = [], set()
    for word in chosen.words:
        found = list(matching(world, survey, word, survey.there))
        if not found:
            raise unknown(word, pinned=False)
        names += [Path(pin.label).name for pin in found]
        digests |= {digest for pin in found for digest in pin.digests}
    for word in chosen.pins:
        found = [pin for pin in survey.pins if means(world, word, pin)]
        if not found:
            raise unknown(word, pinned=True)
        names += [Path(pin.label).name for pin in found]
        digests |= {digest for pin in found for digest in pin.digests}
    return names[0], frozenset(digests)


def _refuse_missing(survey: Survey, digests: frozenset[Digest]) -> None:
    missing = sorted(digests - survey.there)
    if missing:
        message = "the store lacks files that belong into the bundle"
        raise GpuenvError(
            message,
            causes=tuple(
                f"`{(survey.names(digest) or (digest.hex,))[0]}` (sha256 {digest})"
                for digest in missing
            ),
            hint="`gpuenv prepare` fetches them",
            code="missing",
        )


def _blob(world: World, store: Store, survey: Survey, digest: Digest) -> BundledBlob:
    record = survey.records.get(digest)
    planned = [
        project.home
        for project in survey.living
        if any(file.digest == digest for file in project.planned)
    ]
    return BundledBlob(
        digest=digest,
        size=store.size(digest),
        origins=record.origins if record else (),
        needs=record.needs if record else None,
        built=record.built if record else None,
        projects=tuple(dict.fromkeys(_project_name(world, home) for home in planned)),
    )


def _project_name(world: World, home: str) -> str:
    """What a project calls itself, else its folder; never where that is."""
    path = Path(home)
    try:
        manifest = read_place(path, is_project=(path / "pyproject.toml").is_file()).manifest
    except (GpuenvError, OSError):
        manifest = None
    if manifest and manifest.name:
        return manifest.name
    # The name of a home folder is often that of its user.
    return "project" if path == world.home or not path.name.isprintable() else path.name


def _pages(
    store: Store, blobs: Iterable[BundledBlob], *, every: bool
) -> tuple[tuple[BundledPage, ...], dict[str, Path]]:
    """The kept pages of the packages that are exported, and where their bodies lie."""
    digests = {blob.digest for blob in blobs}
    packages = {subject_of(origin.url).package for blob in blobs for origin in blob.origins} - {
        None
    }
    found: dict[str, tuple[BundledPage, Path]] = {}
    for root in (store.root, *store.lower):
        for path, head in Inventory(root).pages():
            url = str(head.get("url")) if head else ""
            key = str(head.get("key") or url) if head else ""
            about = head is not None and (every or subject_of(url).package in packages)
            page = read_page(path) if about or (head and head.get("digest")) else None
            if page is None or hashlib.sha256(key.encode()).hexdigest() != path.stem:
                continue
            if page.digest is not None and page.digest not in digests:
                continue
            item = BundledPage(
                key=key,
                url=page.url,
                headers=page.headers,
                stored=page.stored,
                digest=page.digest,
                body=None if page.digest else _hash(page.body),
                size=len(page.body),
            )
            if key not in found or found[key][0].stored < item.stored:
                found[key] = item, path.with_suffix(f".{(head or {}).get('body')}")
    bodies = {f"pages/{item.body}": path for item, path in found.values() if item.body}
    return tuple(item for item, _ in found.values()), bodies


def _locks(
    name: str, place: Place | None
) -> tuple[tuple[BundledLock, ...], dict[str, Path | bytes]]:
    """Copies of the locks of the project at hand, and of what its environments get beside them."""
    if place is None:
        return (), {}
    found: list[tuple[str, Path | bytes, bytes]] = [
        (path.name, path, path.read_bytes())
        for path in (place.uv_lock, *sorted(place.folder.glob(lock_name("*"))))
        if path.is_file()
    ]
    with suppress(GpuenvError):
        if seed := StateFolder(place.home).read().seed:
            found.append((SEED_LOCK, seed.encode(), seed.encode()))
    locks, paths = [], {}
    for called, source, content in found:
        lock = BundledLock(project=name, name=called, digest=_hash(content), size=len(content))
        locks.append(lock)
        paths[f"locks/{lock.digest}"] = source
    return tuple(locks), paths


def _unknown_builds(blobs: Iterable[BundledBlob]) -> Iterator[str]:
    """Source distributions of which nobody noted what it takes to build them."""
    for blob in blobs:
        is_source = not blob.name.endswith(".whl") and bool(blob.origins)
        if is_source and blob.needs is None:
            yield (
                f"what it takes to build `{blob.name}` is not known, so that the bundle may lack "
                "it: `gpuenv prepare` finds it out where there is a network"
            )


def _outdated(place: Place | None) -> Iterator[str]:
    if place is None:
        return
    try:
        prepared = StateFolder(place.home).read().prepared
    except GpuenvError:
        return
    for item in prepared:
        if is_outdated(item):
            lock = Path(item.recipe["lock"]).name
            yield f"`{lock}` has changed since `{item.profile}` was prepared"


def _hash(content: bytes) -> Digest:
    return Digest(hashlib.sha256(content).hexdigest())


def _modified(world: World) -> int:
    """The time of every member: `SOURCE_DATE_EPOCH` (reproducible-builds.org), else 0.

    Raises:
        UsageError: it is no number of seconds.
    """
    text = world.variables.get("SOURCE_DATE_EPOCH") or "0"
    if not (text.isascii() and text.isdigit()):
        message = "`SOURCE_DATE_EPOCH` is no number of seconds"
        raise UsageError(message, causes=(f"it is `{text}`",))
    return int(text)
