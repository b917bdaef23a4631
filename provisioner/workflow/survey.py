"""The store as a whole: what it holds, who needs it, and what was found damaged on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioner.adapters._files import stamp_from
from provisioner.adapters._whereabouts import Site
from provisioner.adapters._whereabouts import whereabouts as whereabouts_of
from provisioner.adapters.inventory import Inventory
from provisioner.adapters.projects import find_home
from provisioner.adapters.records import Records
from provisioner.adapters.roots import Pins, Roots
from provisioner.adapters.state import StateFolder
from provisioner.core.blob_record import merged
from provisioner.core.digest import Digest
from provisioner.core.reach import HeldBlob, reachable
from provisioner.errors import GpuenvError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provisioner.adapters._whereabouts import Whereabouts
    from provisioner.adapters.inventory import Environment
    from provisioner.adapters.roots import Pin, Root
    from provisioner.adapters.state import State
    from provisioner.core.blob_record import BlobRecord, Stamp
    from provisioner.core.plan import LockedFile


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """A project that uses the store.

    `required` is what its environments were made from, and `wanted` also what it asked for
    and may not have got yet; `environments` are names. `known` is False where its state
    cannot be read: everything that names it counts then.
    """

    home: str
    whereabouts: Whereabouts
    known: bool
    required: frozenset[Digest]
    wanted: frozenset[Digest]
    environments: frozenset[str]
    planned: tuple[LockedFile, ...] = ()

    @property
    def counts(self) -> bool:
        """Whether what it needs has to stay."""
        return self.whereabouts != "gone"


@dataclass(frozen=True, kw_only=True, slots=True)
class BlobBelow:
    """A blob of a store below: its bytes, how it lies there, and how its own record has it."""

    digest: Digest
    store: Path
    size: int
    stamp: Stamp | None
    noted: Stamp | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What is in a store, and what of it is needed; `damaged` are notes of ours.

    `below` is what the stores below have and the store itself has not, in their order;
    `records` know of that too. `arrived` is what came into the store itself at some time.
    """

    held: Mapping[Digest, HeldBlob]
    stamps: Mapping[Digest, Stamp | None]
    records: Mapping[Digest, BlobRecord]
    environments: tuple[Environment, ...]
    projects: tuple[Project, ...]
    pins: tuple[Pin, ...]
    gone_roots: tuple[Path, ...]
    damaged: tuple[Path, ...]
    needs: Mapping[Digest, frozenset[Digest]] = field(default_factory=dict)
    below: tuple[BlobBelow, ...] = ()
    arrived: frozenset[Digest] = frozenset()

    @property
    def found_below(self) -> dict[Digest, BlobBelow]:
        """The first of the blobs below for each digest: the one that counts."""
        return {item.digest: item for item in reversed(self.below)}

    @property
    def there(self) -> frozenset[Digest]:
        """Every blob that is held, here or below."""
        return frozenset({*self.held, *(item.digest for item in self.below)})

    @property
    def needed(self) -> frozenset[Digest]:
        """Everything that a project or a pin needs, whether it is held or not."""
        starts = [digest for project in self.living for digest in project.wanted]
        starts += [digest for pin in self.pins for digest in pin.digests]
        return reachable(starts, self.needs)

    @property
    def living(self) -> tuple[Project, ...]:
        """The projects that count."""
        return tuple(project for project in self.projects if project.counts)

    @property
    def needed_environments(self) -> frozenset[str]:
        """The names of the environments that projects use."""
        return frozenset(name for project in self.living for name in project.environments)

    def users(self) -> dict[Digest, list[str]]:
        """The projects that need each blob."""
        found: dict[Digest, list[str]] = {}
        for project in self.living:
            for digest in reachable(project.wanted, self.needs):
                found.setdefault(digest, []).append(project.home)
        return found

    def pinned(self) -> frozenset[Digest]:
        """The blobs that pins keep."""
        return reachable((item for pin in self.pins for item in pin.digests), self.needs)

    def lost(self) -> list[Digest]:
        """Blobs that are needed, came into the store, and are not there now."""
        return sorted((self.needed - self.there) & self.arrived)

    def absent(self) -> dict[Digest, bool]:
        """Blobs that are needed and never came into the store itself; True where they were used.

        An environment of the store was made from those: they lay in a store below.
        """
        marks = [item.mark for item in self.environments if item.mark]
        used = {digest for mark in marks for digest in mark.blobs or ()}
        # What was built here is made again by the next `prepare`, and not waited for.
        built = {digest for mark in marks for digest in mark.built}
        absent = self.needed - self.there - self.arrived - built
        return {digest: digest in used for digest in sorted(absent)}

    def is_built(self, digest: Digest) -> bool:
        """Whether a blob is a wheel that was built here."""
        record = self.records.get(digest)
        return record is not None and record.built is not None

    def names(self, digest: Digest) -> tuple[str, ...]:
        """The file names of a blob, as far as they are known."""
        record = self.records.get(digest)
        found = list(record.names) if record else []
        found += [
            file.name
            for project in self.projects
            for file in project.planned
            if file.digest == digest
        ]
        return tuple(dict.fromkeys(found))


def take_survey(
    root: Path, lower: Iterable[Path] = (), *, forget_before: float | None = None
) -> Survey:
    """Look at a whole store, and at what the stores below it hold.

    A project of another host, or on a file system that is not mounted, is forgotten where it
    asked for nothing, and used nothing, since `forget_before`, in seconds since the epoch.
    """
    records, used, damaged = _records(root)
    # One that has neither was noted of a blob below, or before its blob was known.
    arrived = frozenset(
        digest for digest, item in records.items() if item.origins or item.fetched is not None
    )
    held: dict[Digest, HeldBlob] = {}
    stamps: dict[Digest, Stamp | None] = {}
    inventory = Inventory(root)
    for digest, found in inventory.blobs():
        # Where nothing was noted, it was used when it came at the latest.
        last = max(used.get(digest, 0.0), found.st_mtime)
        held[digest] = HeldBlob(
            digest=digest, size=found.st_size, used=last, changed=found.st_ctime
        )
        stamps[digest] = stamp_from(found)
    below = []
    for other in lower:
        noted, _, _ = _records(other)
        for digest, found in Inventory(other).blobs():
            if digest not in held:
                below.append(
                    BlobBelow(
                        digest=digest,
                        store=other,
                        size=found.st_size,
                        stamp=stamp_from(found),
                        noted=noted[digest].stamp if digest in noted else None,
                    )
                )
        for digest, record in noted.items():
            records[digest] = merged(records[digest], record) if digest in records else record
    environments = inventory.environments()
    projects, gone, unreadable = _projects(root, environments, forget_before)
    pins = []
    for path, pin in Pins(root).every():
        if pin is None:
            unreadable.append(path)
        else:
            pins.append(pin)
    return Survey(
        held=held,
        stamps=stamps,
        records=records,
        environments=environments,
        projects=projects,
        pins=tuple(pins),
        gone_roots=tuple(gone),
        damaged=(*damaged, *unreadable),
        needs=_needs(records),
        below=tuple(below),
        arrived=arrived,
    )


def _needs(records: Mapping[Digest, BlobRecord]) -> dict[Digest, frozenset[Digest]]:
    """What source distributions lead to: what they are built with, and what was built of them."""
    needs: dict[Digest, frozenset[Digest]] = {}
    for digest, record in records.items():
        if record.needs:
            needs[digest] = needs.get(digest, frozenset()) | record.needs
        if record.built:
            source = record.built.source
            needs[source] = needs.get(source, frozenset()) | {digest}
    return needs


def _records(root: Path) -> tuple[dict[Digest, BlobRecord], dict[Digest, float], list[Path]]:
    """The records, when each was last used, and those that cannot be read."""
    found, times, damaged = {}, {}, []
    records = Records(root)
    for digest, record, used in records.every():
        if record is None:
            damaged.append(records.path(digest))
        else:
            found[digest] = record
            times[digest] = used
    return found, times, damaged


def _projects(
    root: Path, environments: tuple[Environment, ...], forget_before: float | None
) -> tuple[tuple[Project, ...], list[Path], list[Path]]:
    """The projects, the roots of those that are gone, and roots that cannot be read."""
    from provisioner.adapters.roots import Root

    known: dict[str, Root] = {}
    files: dict[str, Path] = {}
    damaged = []
    for path, found in Roots(root).every():
        if found is None:
            damaged.append(path)
        else:
            known[found.home] = found
            files[found.home] = path
    # An environment tells its project too: before there were roots, they alone did.
    of_home: dict[str, list[Environment]] = {}
    for item in environments:
        if item.mark and item.mark.folder:
            of_home.setdefault(_home_of(item.mark.folder), []).append(item)
    for home, own in of_home.items():
        mark = max(own, key=_used).mark
        known.setdefault(home, Root(home=home, site=mark.site if mark else Site(), plans={}))
    marks = {item.path.name: item for item in environments}
    projects = []
    gone = []
    for home, found in sorted(known.items()):
        own = of_home.get(home, [])
        project = _project(found, own, marks)
        if forget_before is not None and project.whereabouts in {"elsewhere", "unmounted"}:
            used = [plan.made for plan in found.plans.values()]
            used += [_used(item) for item in own]
            if max(used, default=0.0) < forget_before:
                project = _gone(found)
        projects.append(project)
        if not project.counts and home in files:
            gone.append(files[home])
    return tuple(projects), gone, damaged


def _project(root: Root, own: Iterable[Environment], marks: Mapping[str, Environment]) -> Project:
    whereabouts = whereabouts_of(Path(root.home), root.site)
    if whereabouts == "gone":
        return _gone(root)
    state: State | None = None
    if whereabouts == "here":
        try:
            folder = StateFolder(Path(root.home))
            state = folder.read()
            linked = folder.linked()
        except (GpuenvError, OSError):
            state = None
    if state is None:
        names = {item.path.name for item in own}
        last: Iterable[str] = ()
    else:
        paths = [Path(item.environment) for item in state.prepared]
        paths += [Path(item.prepared.environment) for item in state.history.generations]
        names = {path.name for path in (*paths, *([linked] if linked else []))}
        last = _last_blobs(state.last)
    required = {Digest.parse(text) for text in last}
    for name in names:
        mark = marks[name].mark if name in marks else None
        required |= (mark.blobs if mark else None) or set()
    # A plan of a member of the workspace that is gone is nobody's any more.
    plans = [
        plan
        for purpose, plan in root.plans.items()
        if not purpose.startswith("/") or whereabouts != "here" or Path(purpose).is_dir()
    ]
    planned = tuple(file for plan in plans for file in plan.files)
    return Project(
        home=root.home,
        whereabouts=whereabouts,
        known=state is not None,
        required=frozenset(required),
        wanted=frozenset({*required, *(file.digest for file in planned)}),
        environments=frozenset(names),
        planned=planned,
    )


def _gone(root: Root) -> Project:
    nothing: frozenset[Any] = frozenset()
    return Project(
        home=root.home,
        whereabouts="gone",
        known=True,
        required=nothing,
        wanted=nothing,
        environments=nothing,
    )


def _used(item: Environment) -> float:
    return item.mark.used if item.mark else 0.0


def _last_blobs(last: Mapping[str, Any] | None) -> Iterable[str]:
    return last["blobs"] if last else ()


def _home_of(folder: str) -> str:
    """Where the state of a project is, as its own pointer says."""
    try:
        return str(find_home(Path(folder), is_project=False))
    except (GpuenvError, OSError):
        return folder
