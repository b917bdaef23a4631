"""Remove what runs that were killed have left of environments."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from provisioner.adapters._files import unless_read_only
from provisioner.adapters.inventory import Inventory
from provisioner.adapters.leases import Leases
from provisioner.adapters.processes import environments_in_use
from provisioner.workflow.survey import take_survey

if TYPE_CHECKING:
    from provisioner.adapters.store import Store
    from provisioner.workflow.world import World


def remove_leftovers(world: World, store: Store) -> None:
    """Remove environments that were begun and never finished, and that nobody works at.

    Whoever makes one has held a lease since before. A uv that outlives its gpuenv by a moment
    is found by what `/proc` tells of it; the next run removes what that leaves. One that a
    project uses was finished, and has only lost its mark.
    """
    inventory = Inventory(store.root)
    alive = Leases(store.root).alive(world.now())
    before = alive[0].since if alive else float("inf")
    half = [path for path, changed in inventory.unfinished() if changed < before]
    if not half:
        return
    used = environments_in_use(inventory.environments_folder, world.root / "proc")
    used |= take_survey(store.root, store.lower).needed_environments
    for path in half:
        if path.name in used:
            continue
        with unless_read_only():
            if thrown := inventory.throw_away(path):
                world.progress.note(f"removing `{path.name}`, which was never finished")
                shutil.rmtree(thrown, ignore_errors=True)
