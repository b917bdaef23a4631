"""Look for damage in the store, and mend it."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from provisioner.adapters._files import stamp_of
from provisioner.adapters._hashing import hash_all, processors
from provisioner.adapters.inventory import Inventory
from provisioner.adapters.layer_cache import layers_in
from provisioner.adapters.leases import Leases
from provisioner.adapters.records import FirstSeenNames, Records
from provisioner.adapters.static_index import StaticIndex
from provisioner.adapters.store import blob_path
from provisioner.core.blob_record import BlobRecord
from provisioner.core.damage import Damage, Fault, fault_of
from provisioner.core.installed_files import Spoiled
from provisioner.core.pages import named_files
from provisioner.core.plan import FetchPlan, LockedFile
from provisioner.errors import GpuenvError, IntegrityError, SpaceError, said
from provisioner.workflow.place import store_of, tell_of_absence
from provisioner.workflow.soundness import look_at
from provisioner.workflow.survey import take_survey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from provisioner.adapters.environment_files import Looked
    from provisioner.adapters.inventory import Environment
    from provisioner.adapters.store import Store
    from provisioner.core.blob_record import Stamp
    from provisioner.core.digest import Digest
    from provisioner.workflow.pull import Pull
    from provisioner.workflow.survey import Survey
    from provisioner.workflow.world import Options, World


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyResult:
    """What was looked at, and what was found.

    `hashed` are the blobs that were read as a whole, `size` their bytes. `notes` are damaged
    files of our own bookkeeping; they cost no blob. `absent` are files that are needed and
    never came into the store: those are no damage. `environments` is how many were looked at,
    and `spoiled` are those with damaged files.
    """

    checked: int
    hashed: int
    size: int
    damage: tuple[Damage, ...]
    notes: tuple[str, ...]
    notes_repaired: bool
    absent: tuple[Absent, ...] = ()
    environments: int = 0
    installed: int = 0
    spoiled: tuple[Spoiled, ...] = ()

    def failure(self) -> IntegrityError | None:
        """What is still damaged."""
        left = [item for item in self.damage if not item.repaired]
        notes = () if self.notes_repaired else self.notes
        spoiled = [item for item in self.spoiled if not item.repaired]
        if not (left or notes or spoiled):
            return None
        if any(item.lost for item in left) or any(item.lost for item in spoiled):
            hint = "`gpuenv prepare` in the projects that need what is lost fetches it again"
        elif spoiled:
            hint = "`gpuenv store verify --repair` mends them, uv's cache included, from the store"
        elif any(item.fault != "writable" for item in left):
            hint = "`gpuenv store verify --repair` fetches again what is damaged"
        elif left:
            hint = "`gpuenv store verify --repair` takes the permission to write away"
        else:
            hint = "`gpuenv store verify --repair` removes notes that cannot be read"
        return IntegrityError(
            "the store is damaged",
            causes=(
                *(f"{item.message}{f'; lost: {item.lost}' if item.lost else ''}" for item in left),
                *(cause for item in spoiled for cause in item.causes),
                *notes,
            ),
            hint=hint,
            code="store-damaged",
            data=self.to_json(),
        )

    def to_json(self) -> dict[str, Any]:
        """The fields of `store verify --json`."""
        return {
            "checked": self.checked,
            "hashed": {"files": self.hashed, "bytes": self.size},
            "damaged": [item.to_json() for item in self.damage],
            "repaired": sum(item.repaired for item in self.damage)
            + sum(item.repaired for item in self.spoiled),
            "environments": {
                "checked": self.environments,
                "files": self.installed,
                "damaged": [item.to_json() for item in self.spoiled],
            },
            "absent": [item.to_json() for item in self.absent],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Absent:
    """A file that is needed and never came; `below` where it lay in a store that is not named."""

    digest: Digest
    names: tuple[str, ...]
    below: bool

    @property
    def message(self) -> str:
        """In words."""
        name = self.names[0] if self.names else self.digest.hex
        if self.below:
            return f"`{name}` was used from a lower store, and no store that is named has it now"
        return f"`{name}` is needed, and has not come yet"

    def to_json(self) -> dict[str, Any]:
        """As `--json` has it."""
        return {
            "sha256": self.digest.hex,
            "names": list(self.names),
            "below": self.below,
            "message": self.message,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class _Suspect:
    """A blob of a store, or of one below it: how it lies there now, and as it was noted."""

    digest: Digest
    root: Path
    is_below: bool
    size: int
    stamp: Stamp | None
    noted: tuple[Stamp | None, ...]

    @property
    def path(self) -> Path:
        """Where it lies."""
        return blob_path(self.root, self.digest)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Looked:
    """A blob after it was looked at, and what is wrong with it."""

    suspect: _Suspect
    fault: tuple[Fault, str | None] | None
    stamp: Stamp | None


def store_verify(world: World, options: Options, *, quick: bool, repair: bool) -> VerifyResult:
    """Verify every blob: by its hash, or `quick` by a stat, and by its hash where that differs.

    So are the files of environments that are needed. Damaged blobs are fetched again by the
    URL that they came from, and damaged environments made again from the blobs.

    Raises:
        GpuenvError: the store is of another format.
        SpaceError: there is no room to fetch what is damaged.
    """
    store = store_of(world, options)
    store.check(writing=repair)
    tell_of_absence(world, store)
    survey = take_survey(store.root, store.lower)
    every = tuple(_every(store, survey))
    suspects = [item for item in every if not quick or _differs(item)]
    looked = _look(suspects)
    for item in looked:
        if item.stamp and item.fault is None:
            _note_right(store, survey, item.suspect.digest, item.stamp)
    users = survey.users()
    damage = [
        Damage(
            digest=item.suspect.digest,
            names=survey.names(item.suspect.digest),
            fault=item.fault[0],
            more=item.fault[1],
            below=str(item.suspect.root) if item.suspect.is_below else None,
            projects=tuple(users.get(item.suspect.digest, ())),
            built=survey.is_built(item.suspect.digest),
        )
        for item in looked
        if item.fault
    ]
    damage += [
        Damage(
            digest=digest,
            names=survey.names(digest),
            fault="missing",
            projects=tuple(users.get(digest, ())),
            built=survey.is_built(digest),
        )
        for digest in survey.lost()
    ]
    notes = [] if quick else list(_damaged_notes(store.root, survey))
    environments = [
        item for item in survey.environments if item.path.name in survey.needed_environments
    ]
    installed = look_at(
        store, (item.path for item in environments), deep=not quick, protecting=repair
    )
    spoiled = _spoiled(environments, installed)
    if repair:
        damage = _repair(world, options, store, survey, damage)
        spoiled = _mend(world, options, store, survey, spoiled)
        for path, _ in notes:
            Inventory(store.root).throw_away(path)
        Inventory(store.root).empty_trash()
        _list_again(store)
    return VerifyResult(
        checked=len(every),
        hashed=len(looked),
        size=sum(item.suspect.size for item in looked if item.suspect.stamp),
        damage=tuple(damage),
        notes=tuple(text for _, text in notes),
        notes_repaired=repair,
        absent=tuple(
            Absent(digest=digest, names=survey.names(digest), below=below)
            for digest, below in survey.absent().items()
        ),
        environments=len(environments),
        installed=installed.files,
        spoiled=tuple(spoiled),
    )


def _spoiled(environments: Iterable[Environment], installed: Looked) -> list[Spoiled]:
    return [
        Spoiled(
            environment=str(item.path),
            project=item.mark.folder if item.mark else None,
            profile=item.mark.profile if item.mark else None,
            files=tuple(files),
        )
        for item in environments
        if (files := installed.damage[item.path])
    ]


def _mend(
    world: World, options: Options, store: Store, survey: Survey, spoiled: list[Spoiled]
) -> list[Spoiled]:
    from provisioner.workflow.mending import mend

    if not spoiled:
        return []
    store.open()
    with Leases(store.root).working():
        return mend(world, options, store, survey, spoiled)


def _list_again(store: Store) -> None:
    """Give every blob that is held its links again, and leave out what leads nowhere."""
    index, records = StaticIndex(store.root), Records(store.root)
    index.mend()
    for digest, record, _ in records.every():
        if record is not None and digest in store:
            for name in record.names:
                index.add(digest, name, store.blob(digest))


def _every(store: Store, survey: Survey) -> Iterator[_Suspect]:
    """Every blob of the store, and of the stores below that the store itself has not."""
    for digest, stamp in survey.stamps.items():
        record = survey.records.get(digest)
        yield _Suspect(
            digest=digest,
            root=store.root,
            is_below=False,
            size=survey.held[digest].size,
            stamp=stamp,
            noted=(record.stamp if record else None,),
        )
    for item in survey.below:
        record = survey.records.get(item.digest)
        yield _Suspect(
            digest=item.digest,
            root=item.store,
            is_below=True,
            size=item.size,
            stamp=item.stamp,
            noted=(item.noted, record.stamp if record else None),
        )


def _differs(item: _Suspect) -> bool:
    """Whether a blob does not lie there as it did when its hash was last right."""
    return item.stamp is None or item.stamp not in item.noted


def _look(suspects: Iterable[_Suspect]) -> list[_Looked]:
    """Hash what is suspected, the largest first, so that no processor is left with it alone."""
    order = sorted(suspects, key=lambda item: (-item.size, item.digest))
    looked = [
        _Looked(suspect=item, fault=("replaced", None), stamp=None)
        for item in order
        if item.stamp is None
    ]
    regular = [item for item in order if item.stamp is not None]
    found = hash_all(
        (item.path for item in regular),
        threads=processors(),
        steady={item.path for item in regular if not _differs(item)},
    )
    for item, hashed in zip(regular, found, strict=True):
        # As it is now: a file that is written to meanwhile has no stamp that holds.
        stamp = stamp_of(item.path)
        if isinstance(hashed, FileNotFoundError) or stamp is None:
            continue  # A collection has removed it meanwhile.
        if isinstance(hashed, OSError):
            fault: tuple[Fault, str | None] | None = ("unreadable", said(hashed))
        else:
            fault = fault_of(item.digest, hashed, stamp, item.noted[0])
        if item.is_below and fault and fault[0] == "writable":
            fault = None  # Its permissions are for its owner to choose.
        looked.append(
            _Looked(suspect=item, fault=fault, stamp=stamp if stamp == item.stamp else None)
        )
    return looked


def _note_right(store: Store, survey: Survey, digest: Digest, stamp: Stamp) -> None:
    """Keep how a blob lies there, so that a stat is enough the next time."""
    known = survey.records.get(digest) or BlobRecord()
    if known.stamp != stamp and store.root.is_dir():
        Records(store.root).change(digest, lambda known: replace(known, stamp=stamp))


def _damaged_notes(root: Path, survey: Survey) -> Iterator[tuple[Path, str]]:
    """Files of our own bookkeeping that cannot be read: each can be done without."""
    for path in survey.damaged:
        yield path, f"`{path}` cannot be read"
    for path, seen in FirstSeenNames(root).every():
        if seen is None:
            yield path, f"`{path}` cannot be read"
    inventory = Inventory(root)
    for path, head in inventory.pages():
        if head is None:
            yield path, f"`{path}` cannot be read"
    for path in inventory.page_bodies():
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError:
            continue
        # Its name ends with the beginning of its hash.
        if not found.startswith(path.suffix.removeprefix(".")):
            yield path, f"`{path}` no longer has its hash"
    yield from _damaged_layers(root)


def _damaged_layers(root: Path) -> Iterator[tuple[Path, str]]:
    """Layers of images, each of which can be made again."""
    layers = tuple(layers_in(root))
    hashes = hash_all((path for _, path in layers), threads=processors())
    for (digest, path), hashed in zip(layers, hashes, strict=True):
        if isinstance(hashed, str) and hashed != digest.hex:
            yield path, f"the layer `{path}` no longer has its hash"


def _repair(
    world: World, options: Options, store: Store, survey: Survey, damage: list[Damage]
) -> list[Damage]:
    """Fetch again what is damaged, and tell what cannot be had."""
    from provisioner.workflow.workshop import open_pull

    if not damage:
        return []
    store.open()
    mended: list[Damage] = []
    with (
        Leases(store.root).working(),
        open_pull(world, store, world.folder, offline=options.offline) as pull,
    ):
        for item in damage:
            if item.fault == "writable":
                mended.append(replace(item, repaired=pull.ledger.confirm(item.digest)))
                continue
            if item.below is None and item.fault != "missing":
                store.drop(item.digest, survey.stamps[item.digest])
            if item.built and item.below is None:
                # Nobody else has it; without a record it counts as one that never came.
                Records(store.root).remove(item.digest)
                mended.append(replace(item, repaired=True))
                continue
            store.refuse_below(item.digest)
            # Another process may have fetched it meanwhile.
            held = item.digest in pull.ledger
            why = None if held else _fetch(pull, _sources(store, survey, item))
            mended.append(replace(item, repaired=why is None, lost=why))
    return mended


def _fetch(pull: Pull, sources: Iterable[LockedFile]) -> str | None:
    """Fetch a file from the first place that has it; why not, where none has."""
    why = "nothing tells where it came from"
    tried = set()
    for file in sources:
        if file.key in tried:
            continue
        tried.add(file.key)
        try:
            pull.fetch(FetchPlan(missing=(file,), held=()))
        except SpaceError:
            raise
        except GpuenvError as error:
            why = error.line
        else:
            return None
    return why


def _sources(store: Store, survey: Survey, item: Damage) -> Iterator[LockedFile]:
    """Where a blob can be had: where it came from, what a project planned, a kept page."""
    record = survey.records.get(item.digest)
    for origin in record.origins if record else ():
        yield LockedFile(
            name=origin.name, url=origin.url, digest=item.digest, size=None, index=origin.index
        )
    for project in survey.projects:
        yield from (file for file in project.planned if file.digest == item.digest)
    yield from _on_pages(store, item.digest)


def _on_pages(store: Store, digest: Digest) -> Iterator[LockedFile]:
    """The file as kept index pages name it."""
    heads = (item for root in (store.root, *store.lower) for item in Inventory(root).pages())
    for path, head in heads:
        if head is None or head.get("digest"):
            continue
        with suppress(OSError, KeyError, TypeError, AttributeError):
            body = path.with_suffix(f".{head['body']}").read_bytes()
            for file in named_files(body, head["headers"], head["url"]):
                if file.digest == digest:
                    yield file
