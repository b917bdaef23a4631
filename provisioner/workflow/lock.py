"""Resolve, and write the locks; no wheel is fetched but what resolving itself needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provisioner.adapters.leases import Leases
from provisioner.adapters.state import StateFolder
from provisioner.workflow.detect import detect
from provisioner.workflow.job import again, plan_job
from provisioner.workflow.locks import make_locks, make_uv_lock
from provisioner.workflow.place import place_of, store_of
from provisioner.workflow.workshop import open_workshop
from provisioner.workflow.world import Wishes

if TYPE_CHECKING:
    from provisioner.workflow.world import Options, World


@dataclass(frozen=True, kw_only=True, slots=True)
class LockResult:
    """The lock of each profile: names and paths."""

    locks: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """The fields of `lock --json`."""
        return {"locks": [{"profile": name, "path": path} for name, path in self.locks]}


def lock(world: World, options: Options, *, upgrade: bool) -> LockResult:
    """Make the locks that are missing; `upgrade` takes newer versions too.

    Raises:
        LockError: a lock is malformed or stale.
        NetworkError: an index cannot be reached.
    """
    place = place_of(world, options)
    target = detect(world, options, remembered=StateFolder(place.home).read().target)
    job = plan_job(world, options, place, target, Wishes(upgrade=upgrade))
    store = store_of(world, options)
    store.open()
    with (
        Leases(store.root).working(),
        open_workshop(
            world,
            store,
            place.folder,
            python=job.interpreter.path,
            indexes=job.indexes,
            offline=options.offline,
        ) as workshop,
    ):
        if make_uv_lock(job, workshop):
            job = again(job)
        locks = make_locks(job, workshop)
    return LockResult(locks=tuple((item.profile.name, str(item.path)) for item in locks))
