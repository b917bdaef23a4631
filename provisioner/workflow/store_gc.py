"""Remove from the store what no generation, pin or running process uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from provisioner.adapters.inventory import Beside, Inventory, Usage, usage, usage_without
from provisioner.adapters.layer_cache import FOLDER as LAYERS
from provisioner.adapters.layer_cache import layers_in, notes_in
from provisioner.adapters.leases import Leases
from provisioner.adapters.processes import environments_in_use
from provisioner.adapters.records import Records
from provisioner.adapters.static_index import StaticIndex
from provisioner.core.digest import Digest, is_digest
from provisioner.core.reach import Limits, to_remove
from provisioner.core.urls import without_secrets
from provisioner.errors import IntegrityError
from provisioner.workflow.place import store_of, tell_of_locks
from provisioner.workflow.survey import take_survey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from provisioner.adapters.leases import Lease
    from provisioner.adapters.store import Store
    from provisioner.workflow.survey import Survey
    from provisioner.workflow.world import Options, World

Kind = Literal["blobs", "environments", "layers", "partial", "pages", "other"]
KINDS: Final[tuple[Kind, ...]] = ("blobs", "environments", "layers", "partial", "pages", "other")

_WAIT_SECONDS: Final = 60.0
_LAYERS_SECONDS: Final = 30 * 86_400
"""How long layers of images stay that are not used: each can be made again from its wheels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Removal:
    """Something that goes: of what kind, what people call it, and what it takes of the disk."""

    kind: Kind
    label: str
    usage: Usage


@dataclass(frozen=True, kw_only=True, slots=True)
class GcResult:
    """What went, or would go; `freed` are the bytes of files that have no links elsewhere."""

    dry_run: bool
    removals: tuple[Removal, ...]
    freed: int
    kept: int
    notes: tuple[str, ...]

    def of(self, kind: Kind) -> tuple[int, int]:
        """How many things of a kind, and their bytes."""
        found = [item.usage.bytes for item in self.removals if item.kind == kind]
        return len(found), sum(found)

    def to_json(self) -> dict[str, Any]:
        """The fields of `store gc --json`."""
        return {
            "dry_run": self.dry_run,
            "removed": {
                kind: dict(zip(("count", "bytes"), self.of(kind), strict=True)) for kind in KINDS
            },
            "items": [
                {"kind": item.kind, "name": item.label, "bytes": item.usage.bytes}
                for item in self.removals
            ],
            "freed_bytes": self.freed,
            "kept_bytes": self.kept,
            "notes": list(self.notes),
        }


@dataclass(kw_only=True)
class _Going:
    """What is chosen to go, by kind and label, with the paths of each."""

    chosen: list[tuple[Kind, str, list[Path]]] = field(default_factory=list)
    digests: list[Digest] = field(default_factory=list)

    def add(self, kind: Kind, label: str, *paths: Path) -> None:
        self.chosen.append((kind, label, list(paths)))


def store_gc(world: World, options: Options, limits: Limits, *, dry_run: bool) -> GcResult:
    """Remove what nobody needs: all of it, or what goes beyond the limits.

    It is safe beside everything else, and may be ended at any time: what goes is renamed
    into the trash, a rename each, and deleted from there.

    Raises:
        LockHeldError: another collection is running.
        IntegrityError: what tells who needs what is damaged, so that nothing can be removed.
    """
    store = store_of(world, options)
    store.check(writing=not dry_run)
    if not store.root.is_dir():
        return GcResult(dry_run=dry_run, removals=(), freed=0, kept=0, notes=())
    inventory, leases = Inventory(store.root), Leases(store.root)
    if dry_run:
        going, notes = _choose(world, store, limits, _beside(inventory, limits))
        removals, freed = _measured(going.chosen)
        gone = [path for _, _, paths in going.chosen for path in paths]
        kept = usage_without(store.root, [*gone, store.root / "trash"])
    else:
        store.open()
        tell_of_locks(world, store.root)
        with leases.collecting(
            _WAIT_SECONDS, lambda holder: world.progress.note(f"waiting for {holder}")
        ):
            inventory.empty_trash()
            beside = _beside(inventory, limits)
            with leases.removing():
                going, notes = _choose(world, store, limits, beside)
                thrown = list(_throw(inventory, going))
            leases.clear(world.now())
            inventory.remove_claim_locks()
            StaticIndex(store.root).mend()
            removals, freed = _measured(thrown)
            inventory.empty_trash()
        kept = usage([store.root]).bytes
    if limits.max_size is not None and kept > limits.max_size:
        notes = (*notes, "what is needed takes more than `--max-size`")
    return GcResult(dry_run=dry_run, removals=removals, freed=freed, kept=max(kept, 0), notes=notes)


def _beside(inventory: Inventory, limits: Limits) -> Beside | None:
    """What lies beside the blobs, where that counts; measured before anybody has to wait."""
    return None if limits.max_size is None else Beside(inventory.root)


def _measured(
    things: Iterable[tuple[Kind, str, list[Path]]],
) -> tuple[tuple[Removal, ...], int]:
    """What each thing takes, and what all of them together make free."""
    every = list(things)
    removals = tuple(
        Removal(kind=kind, label=label, usage=usage(paths)) for kind, label, paths in every
    )
    together = usage(path for _, _, paths in every for path in paths)
    return removals, together.bytes - together.shared


def _throw(inventory: Inventory, going: _Going) -> Iterator[tuple[Kind, str, list[Path]]]:
    for kind, label, paths in going.chosen:
        moved = [there for path in paths if (there := inventory.throw_away(path))]
        if moved:
            yield kind, label, moved
    records = Records(inventory.root)
    for digest in going.digests:
        records.remove(digest)


def _choose(
    world: World, store: Store, limits: Limits, beside: Beside | None
) -> tuple[_Going, tuple[str, ...]]:
    """What goes, and what is to be told about the rest.

    Raises:
        IntegrityError: what tells who needs what is damaged.
    """
    root, now = store.root, world.now()
    inventory = Inventory(root)
    alive = Leases(root).alive(now)
    before = alive[0].since if alive else float("inf")
    too_old = float("inf") if limits.max_age is None else now - limits.max_age
    forget_before = None if limits.max_age is None else too_old
    survey = take_survey(root, store.lower, forget_before=forget_before)
    _refuse_damaged(root, survey)
    going = _Going()
    used = environments_in_use(root / "envs", world.root / "proc")
    _choose_environments(inventory, survey, used, min(before, too_old), going)
    needed = survey.needed
    _choose_parts(inventory, needed - survey.there, min(before, too_old), going)
    _choose_layers(root, limits, beside, now=now, before=before, going=going)
    gone = {path for _, _, paths in going.chosen for path in paths}
    other = beside.without(gone) if beside else 0
    for blob in to_remove(
        survey.held.values(), needed, limits, other_bytes=other, now=now, before=before
    ):
        names = survey.names(blob.digest)
        going.add("blobs", names[0] if names else blob.digest.hex, store.blob(blob.digest))
        going.digests.append(blob.digest)
    stay = survey.held.keys() - set(going.digests)
    nobody = not (survey.living or survey.pins)
    found = stay | survey.found_below.keys()
    _choose_pages(inventory, found, min(before, too_old), going, every=nobody)
    _choose_rest(root, survey, stay, min(before, too_old), going)
    going.chosen.sort(key=lambda item: KINDS.index(item[0]))
    return going, tuple(_notes(survey, alive, used))


def _choose_environments(
    inventory: Inventory, survey: Survey, used: frozenset[str], before: float, going: _Going
) -> None:
    stay = survey.needed_environments | used
    # One whose mark tells nothing may be that of a project whose state cannot be read.
    doubt = not all(project.known for project in survey.living)
    for item in survey.environments:
        changed = max(item.changed, item.mark.used if item.mark else 0.0)
        unclear = doubt and item.mark is not None and item.mark.folder is None
        if item.path.name not in stay and changed < before and not unclear:
            mark = item.path.with_name(f"{item.path.name}.json")
            going.add("environments", item.path.name, item.path, mark)
    for mark in inventory.lost_marks():
        if mark.stem not in stay and _is_older(mark, before):
            going.add("other", mark.name, mark)


def _choose_layers(  # noqa: PLR0913 - the limits, and the times that they are held against
    root: Path, limits: Limits, beside: Beside | None, *, now: float, before: float, going: _Going
) -> None:
    """Layers of images that were not used for long; all that nobody uses now, for want of room.

    What was learnt of the layers of bases goes with them.
    """
    unused = now - (_LAYERS_SECONDS if limits.max_age is None else limits.max_age)
    if beside is not None and limits.max_size is not None:
        blobs = usage([root / "blobs"]).bytes
        if blobs + beside.without(frozenset()) > limits.max_size:
            unused = before
    stay: set[Digest] = set()
    for note, digest in notes_in(root):
        if _is_older(note, min(before, unused)):
            layer = root / LAYERS / digest.hex if digest else None
            paths = [note, *([layer] if layer and layer.exists() else [])]
            going.add("layers", digest.hex if digest else note.stem, *paths)
        elif digest:
            stay.add(digest)
    chosen = {path for _, _, paths in going.chosen for path in paths}
    for digest, path in layers_in(root):
        # Written before its note, by a bake that may go on.
        if digest not in stay and path not in chosen and _is_older(path, before):
            going.add("layers", digest.hex, path)


def _choose_parts(
    inventory: Inventory, lacking: frozenset[Digest], before: float, going: _Going
) -> None:
    from provisioner.adapters._files import is_held

    wanted = {digest.hex for digest in lacking}
    for part in inventory.parts():
        # What a project still wants is gone on with by its next `prepare`.
        held = is_held(inventory.claim_lock(part.key))
        if part.key not in wanted and part.changed < before and not held:
            going.add("partial", part.paths[0].name, *part.paths)


def _choose_pages(
    inventory: Inventory, stay: set[Digest], before: float, going: _Going, *, every: bool
) -> None:
    """Pages of files that went, and bodies without a head; while building others are of use."""
    held = {digest.hex for digest in stay}
    bodies = set()
    for path, head in inventory.pages():
        stands_for = head.get("digest") if head else None
        body = path.with_suffix(f".{head.get('body')}") if head else None
        useless = head is None or every or (stands_for and stands_for not in held)
        if useless and _is_older(path, before):
            label = without_secrets(str(head.get("url"))) if head else path.name
            going.add("pages", label, path, *([body] if body and body.exists() else []))
        if body is not None:
            bodies.add(body.name)
    for path in inventory.page_bodies():
        if path.name not in bodies and _is_older(path, before):
            going.add("pages", path.name, path)


def _choose_rest(
    root: Path, survey: Survey, stay: set[Digest], before: float, going: _Going
) -> None:
    """Files that never got their name, records of nothing, and projects that are gone."""
    for path, changed in Inventory(root).staged():
        if changed < before:
            going.add("other", path.name, path)
    of_something = stay | survey.needed | set(going.digests)
    nothing = [Records(root).path(digest) for digest in survey.records.keys() - of_something]
    nothing += [
        path
        for path in survey.damaged
        if is_digest(path.stem) and Digest(path.stem) not in of_something
    ]
    for path in sorted(nothing):
        if _is_older(path, before):
            going.add("other", path.name, path)
    for path in survey.gone_roots:
        going.add("other", path.name, path)


def _refuse_damaged(root: Path, survey: Survey) -> None:
    """A project or pin that cannot be read may need anything."""
    telling = {root / "roots", root / "pins"}
    unreadable = [path for path in survey.damaged if path.parent in telling]
    if unreadable:
        message = "what tells who needs what is damaged, so that nothing can be removed"
        raise IntegrityError(
            message,
            causes=tuple(f"`{path}` cannot be read" for path in unreadable),
            hint="`gpuenv store verify --repair` removes it; pins have to be made anew",
            code="store-damaged",
        )


def _notes(survey: Survey, alive: tuple[Lease, ...], used: frozenset[str]) -> Iterator[str]:
    for lease in alive:
        yield f"{lease.holder} is at work: what it may have used since it began stays"
    for name in sorted(used - survey.needed_environments):
        if any(item.path.name == name for item in survey.environments):
            yield f"environment `{name}` is in use by a running process and stays"
    for project in survey.living:
        if project.whereabouts != "here":
            yield f"project `{project.home}` is {project.whereabouts}: what it needs stays"
        elif not project.known:
            yield f"the state of `{project.home}` cannot be read: what names it stays"


def _is_older(path: Path, before: float) -> bool:
    try:
        return path.lstat().st_mtime < before
    except FileNotFoundError:
        return False
