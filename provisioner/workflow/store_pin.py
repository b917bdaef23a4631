"""Keep a file or a project, whoever needs it, and let a file name be seen anew."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from provisioner.adapters.leases import Leases
from provisioner.adapters.records import FirstSeenNames
from provisioner.adapters.roots import Pin, Pins
from provisioner.core.reach import reachable
from provisioner.errors import GpuenvError
from provisioner.workflow.place import store_of
from provisioner.workflow.survey import take_survey

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from provisioner.adapters.store import Store
    from provisioner.core.digest import Digest
    from provisioner.core.first_seen import FirstSeen
    from provisioner.workflow.survey import Survey
    from provisioner.workflow.world import Options, World

_PREFIX: Final = 8
"""As many digits of a hash name a file as nobody types by accident."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PinResult:
    """The pins after the change, and what changed."""

    pins: tuple[Pin, ...]
    changed: tuple[Pin, ...] = ()
    removed: bool = False

    def to_json(self) -> dict[str, Any]:
        """The fields of `store pin --json`."""
        return {
            "pins": [_json(pin) for pin in self.pins],
            "removed" if self.removed else "added": [_json(pin) for pin in self.changed],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class ForgetResult:
    """The file names that count as never seen from now on."""

    forgotten: tuple[FirstSeen, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields of `store forget --json`."""
        return {"forgotten": [seen.to_json() for seen in self.forgotten]}


def store_pin(
    world: World, options: Options, wanted: tuple[str, ...], *, remove: bool
) -> PinResult:
    """Keep files and projects, or keep them no longer; without any, tell what is kept.

    Raises:
        GpuenvError: there is no such file or project.
    """
    store = store_of(world, options)
    store.check(writing=bool(wanted))
    pins = Pins(store.root)
    changed: list[Pin] = []
    if wanted:
        store.open()
        # What is found stays until it is pinned: no collection comes between.
        with Leases(store.root).taking(lambda holder: world.progress.note(f"waiting for {holder}")):
            changed = _meant(world, store, wanted, remove=remove)
            for pin in changed:
                (pins.remove if remove else pins.add)(pin)
    return PinResult(
        pins=tuple(pin for _, pin in pins.every() if pin is not None),
        changed=tuple(changed),
        removed=remove,
    )


def _meant(world: World, store: Store, wanted: Iterable[str], *, remove: bool) -> list[Pin]:
    """The pins that words stand for: those to remove, or new ones."""
    known = [pin for _, pin in Pins(store.root).every() if pin is not None]
    survey = None if remove else take_survey(store.root)
    meant: list[Pin] = []
    for word in wanted:
        found = (
            [pin for pin in known if means(world, word, pin)]
            if survey is None
            else list(matching(world, survey, word, survey.held))
        )
        if not found:
            raise unknown(word, pinned=remove)
        meant += found
    return meant


def store_forget(world: World, options: Options, names: Iterable[str]) -> ForgetResult:
    """Forget which bytes file names had, so that a replaced file may come.

    What they had stays right, for the projects that have it in their lock. What a store below
    has seen is forgotten for the store itself.

    Raises:
        GpuenvError: a name was never seen.
    """
    store = store_of(world, options)
    store.check()
    kept = FirstSeenNames(store.root, store.lower)
    known = list(kept.seen())
    chosen: list[FirstSeen] = []
    for name in names:
        found = [seen for seen in known if seen.name == name]
        if not found:
            message = f"no file `{name}` was ever seen"
            raise GpuenvError(message, hint="`gpuenv store list` has the names", code="unknown")
        chosen += found
    if chosen:
        store.open()
    for seen in chosen:
        kept.forget(seen)
    return ForgetResult(forgotten=tuple(chosen))


def matching(world: World, survey: Survey, word: str, among: Collection[Digest]) -> Iterator[Pin]:
    """What a word stands for: files by name, pattern or hash, or the folder of a project."""
    hexadecimal = len(word) >= _PREFIX and set(word.lower()) <= set("0123456789abcdef")
    for digest in sorted(among):
        names = survey.names(digest)
        by_hash = hexadecimal and digest.hex.startswith(word.lower())
        if by_hash or any(fnmatch.fnmatchcase(name, word) for name in names):
            label = names[0] if names else digest.hex
            yield Pin(kind="file", label=label, digests=frozenset({digest}))
    home = str((world.folder / word).resolve())
    for project in survey.projects:
        if project.home == home and project.counts:
            digests = reachable(project.wanted, survey.needs).intersection(among)
            yield Pin(kind="project", label=home, digests=digests)


def means(world: World, word: str, pin: Pin) -> bool:
    """Whether a word stands for a pin: by its name, and for a file by its hash too."""
    if pin.kind == "project":
        return pin.label in {word, str((world.folder / word).resolve())}
    if pin.kind == "bundle":
        return fnmatch.fnmatchcase(pin.label, word)
    by_hash = len(word) >= _PREFIX and any(
        digest.hex.startswith(word.lower()) for digest in pin.digests
    )
    return by_hash or fnmatch.fnmatchcase(pin.label, word)


def _json(pin: Pin) -> dict[str, Any]:
    return {
        "kind": pin.kind,
        "name": pin.label,
        "sha256": sorted(digest.hex for digest in pin.digests),
    }


def unknown(word: str, *, pinned: bool) -> GpuenvError:
    """A word that stands for nothing in the store, or for none of its pins."""
    if pinned:
        return GpuenvError(
            f"nothing that is pinned is called `{word}`",
            hint="`gpuenv store pin` lists the pins",
            code="unknown",
        )
    return GpuenvError(
        f"the store has no file or project `{word}`",
        hint="`gpuenv store list` has the files, `gpuenv store info` the projects",
        code="unknown",
    )
