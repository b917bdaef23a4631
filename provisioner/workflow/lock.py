"""Resolve, and write the locks; no wheel is fetched but what resolving itself needs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provisioner.adapters.leases import Leases
from provisioner.adapters.state import StateFolder
from provisioner.core.lock_changes import lock_changes
from provisioner.workflow.detect import detect
from provisioner.workflow.job import again, plan_job
from provisioner.workflow.locks import make_locks, make_uv_lock, stand_ins, with_wheels
from provisioner.workflow.own_server import past_own_server
from provisioner.workflow.place import place_of, store_of
from provisioner.workflow.stubs import told
from provisioner.workflow.workshop import open_workshop
from provisioner.workflow.world import Wishes

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.adapters.projects import Place
    from provisioner.core.lock_changes import LockChange
    from provisioner.workflow.world import Options, World


@dataclass(frozen=True, kw_only=True, slots=True)
class LockResult:
    """The lock of each profile: names and paths; and what stubs in them stand for.

    `changes` are the packages of locks that were there before, by path.
    """

    locks: tuple[tuple[str, str], ...]
    substitutions: tuple[dict[str, Any], ...] = ()
    changes: tuple[tuple[str, tuple[LockChange, ...]], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fields of `lock --json`."""
        return {
            "locks": [{"profile": name, "path": path} for name, path in self.locks],
            "substitutions": list(self.substitutions),
            "changes": [
                {"path": path, **change.to_json()}
                for path, changes in self.changes
                for change in changes
            ],
        }


def lock(world: World, options: Options, *, upgrade: bool) -> LockResult:
    """Make the locks that are missing; `upgrade` takes newer versions too.

    Raises:
        LockError: a lock is malformed or stale.
        NetworkError: an index cannot be reached.
    """
    place = place_of(world, options)
    store = store_of(world, options)
    world = past_own_server(world, store, place, offline=options.offline)
    target = detect(world, options, remembered=StateFolder(place.home).read().target)
    job = plan_job(world, options, place, target, Wishes(upgrade=upgrade))
    store.open()
    before = _texts(place)
    with (
        Leases(store.root).working(),
        open_workshop(
            world,
            store,
            place,
            python=job.interpreter.path,
            indexes=job.indexes,
            offline=options.offline,
        ) as workshop,
    ):
        if make_uv_lock(job, workshop):
            job = again(job)
        locks = with_wheels(job, workshop, make_locks(job, workshop), keeps=False)
    return LockResult(
        locks=tuple((item.profile.name, str(item.path)) for item in locks),
        substitutions=told(stand_ins(locks)),
        changes=tuple(
            (str(path), lock_changes(before[path], text))
            for path, text in _texts(place).items()
            if before.get(path, text) != text
        ),
    )


def _texts(place: Place) -> dict[Path, str]:
    """The locks that a project has now; whoever needs one that cannot be read says so."""
    found = {}
    for path in (place.uv_lock, *sorted(place.folder.glob("pylock.*.toml"))):
        with suppress(OSError, UnicodeDecodeError):
            found[path] = path.read_text(encoding="utf-8")
    return found
