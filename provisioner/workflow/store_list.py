"""The files of the store, and how much what takes of the disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provisioner.adapters.inventory import Inventory, Usage, usage
from provisioner.adapters.layer_cache import FOLDER as LAYERS
from provisioner.workflow.place import store_of, tell_of_absence
from provisioner.workflow.survey import take_survey

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from provisioner.adapters.store import Store
    from provisioner.core.digest import Digest
    from provisioner.workflow.survey import Survey
    from provisioner.workflow.world import Options, World


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    """A blob: its names, where it came from without secrets, and who uses it.

    Times are in seconds since the epoch. `below` is the store below that has it, where it is
    not the store itself, and `source` the source distribution that it was built from here.
    """

    digest: Digest
    size: int
    names: tuple[str, ...]
    urls: tuple[str, ...]
    fetched: float | None
    used: float | None
    projects: tuple[str, ...]
    pinned: bool
    below: str | None = None
    source: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As `--json` has it."""
        return {
            "sha256": self.digest.hex,
            "bytes": self.size,
            "names": list(self.names),
            "urls": list(self.urls),
            "fetched": self.fetched,
            "used": self.used,
            "projects": list(self.projects),
            "pinned": self.pinned,
            "below": self.below,
            "built_from": self.source,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class ListResult:
    """Every file, by its name."""

    store: str
    files: tuple[StoredFile, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields of `store list --json`."""
        return {"store": self.store, "files": [file.to_json() for file in self.files]}


@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectUse:
    """What one project needs of the store, shared or not, and of the stores below."""

    home: str
    whereabouts: str
    blobs: Usage
    environments: Usage
    below: Usage

    def to_json(self) -> dict[str, Any]:
        """As `--json` has it."""
        return {
            "project": self.home,
            "whereabouts": self.whereabouts,
            "blobs": self.blobs.to_json(),
            "environments": self.environments.to_json(),
            "below": self.below.to_json(),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class LowerUse:
    """A store below: what it holds that counts, and what of that is needed."""

    store: str
    blobs: Usage
    needed: Usage

    def to_json(self) -> dict[str, Any]:
        """As `--json` has it."""
        return {
            "store": self.store,
            "blobs": self.blobs.to_json(),
            "needed": self.needed.to_json(),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class InfoResult:
    """What takes how much of the disk; bytes with several links count once.

    `unneeded` is what `store gc` would remove of the blobs.
    """

    store: str
    parts: dict[str, Usage]
    total: Usage
    unneeded: Usage
    free: int
    projects: tuple[ProjectUse, ...]
    pins: int
    lower: tuple[LowerUse, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fields of `store info --json`."""
        return {
            "store": self.store,
            **{name: used.to_json() for name, used in self.parts.items()},
            "total": self.total.to_json(),
            "unneeded": self.unneeded.to_json(),
            "free_bytes": self.free,
            "projects": [project.to_json() for project in self.projects],
            "pins": self.pins,
            "lower": [below.to_json() for below in self.lower],
        }


def store_list(world: World, options: Options) -> ListResult:
    """List the files of the store.

    Raises:
        GpuenvError: the store is of another format.
    """
    store = store_of(world, options)
    store.check(writing=False)
    tell_of_absence(world, store)
    survey = take_survey(store.root, store.lower)
    users, pinned = survey.users(), survey.pinned()
    sizes = {digest: (blob.size, blob.used, None) for digest, blob in survey.held.items()}
    below = {
        digest: (item.size, None, str(item.store)) for digest, item in survey.found_below.items()
    }
    files = [
        StoredFile(
            digest=digest,
            size=size,
            names=survey.names(digest),
            urls=_urls(survey, digest),
            fetched=survey.records[digest].fetched if digest in survey.records else None,
            used=used,
            projects=tuple(users.get(digest, ())),
            pinned=digest in pinned,
            below=where,
            source=_source(survey, digest),
        )
        for digest, (size, used, where) in {**sizes, **below}.items()
    ]
    files.sort(key=lambda file: (file.names or ("~",), file.digest))
    return ListResult(store=str(store.root), files=tuple(files))


def store_info(world: World, options: Options) -> InfoResult:
    """Tell what takes how much of the disk.

    Raises:
        GpuenvError: the store is of another format.
    """
    store = store_of(world, options)
    store.check(writing=False)
    tell_of_absence(world, store)
    survey = take_survey(store.root, store.lower)
    needed, below = survey.needed, survey.found_below
    # Not the locks of what has arrived.
    arriving = [path for part in Inventory(store.root).parts() for path in part.paths]
    parts = {
        "blobs": [store.root / "blobs"],
        "environments": [store.root / "envs"],
        "layers": [store.root / LAYERS],
        "pages": [store.root / "pages"],
        "partial": arriving,
        "trash": [store.root / "trash"],
    }
    return InfoResult(
        store=str(store.root),
        parts={name: usage(paths) for name, paths in parts.items()},
        total=usage([store.root]),
        unneeded=_blobs(store, survey.held.keys() - needed),
        free=store.free_bytes(),
        projects=tuple(
            ProjectUse(
                home=project.home,
                whereabouts=project.whereabouts,
                blobs=_blobs(store, project.wanted & survey.held.keys()),
                environments=usage(
                    store.root / "envs" / name for name in sorted(project.environments)
                ),
                below=_blobs(store, project.wanted & below.keys()),
            )
            for project in survey.projects
        ),
        pins=len(survey.pins),
        lower=tuple(_lower_use(store, root, survey) for root in store.lower),
    )


def _lower_use(store: Store, root: Path, survey: Survey) -> LowerUse:
    own = {digest for digest, item in survey.found_below.items() if item.store == root}
    return LowerUse(
        store=str(root), blobs=_blobs(store, own), needed=_blobs(store, own & survey.needed)
    )


def _blobs(store: Store, digests: Iterable[Digest]) -> Usage:
    return usage(store.blob(digest) for digest in digests)


def _urls(survey: Survey, digest: Digest) -> tuple[str, ...]:
    record = survey.records.get(digest)
    return tuple(origin.url for origin in record.origins) if record else ()


def _source(survey: Survey, digest: Digest) -> str | None:
    """The name of the source distribution that a wheel was built from here."""
    record = survey.records.get(digest)
    if record is None or record.built is None:
        return None
    return next(iter(survey.names(record.built.source)), record.built.source.hex)
