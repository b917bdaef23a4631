"""Keep the wheels that uv built from source distributions, out of the environments."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from provisioner.adapters._files import DAMAGED
from provisioner.core.blob_record import Built, built_from_json, built_to_json
from provisioner.core.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from provisioner.core.plan import LockedFile, LockedSet
    from provisioner.workflow.workshop import Workshop
    from provisioner.workflow.world import World


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltWheel:
    """A wheel that was built here, as a blob of the store."""

    digest: Digest
    built: Built

    def to_json(self) -> dict[str, str]:
        """The written form."""
        return {"sha256": self.digest.hex, **built_to_json(self.built)}


def sources_of(contents: LockedSet) -> tuple[LockedFile, ...]:
    """The source distributions that are built: not those that stand for a wheel elsewhere."""
    stubs = {item.stub.digest for item in contents.substitutions}
    every = (file for file in contents.files if not file.name.endswith(".whl"))
    return tuple(file for file in every if file.digest not in stubs)


def keep_built(
    world: World, workshop: Workshop, environment: Path, sources: Iterable[LockedFile]
) -> tuple[BuiltWheel, ...]:
    """Keep a wheel of each source distribution that was built for an environment.

    It is made from what uv has installed, so that nothing is built a second time. Where it
    cannot be made, that is told, and is no error: the environment is there without it.

    Raises:
        SpaceError: the store is full.
    """
    from provisioner.adapters.packing import installed_in, pack

    kept = []
    for file in sources:
        try:
            found = installed_in(environment, file.package or "")
            if found is None:
                continue  # Its lock has it for another environment than this one.
            digest, name = workshop.store.keep_made(partial(pack, environment, found))
        except (OSError, ValueError) as error:
            world.progress.note(f"the wheel that was built from {file.name} is not kept: {error}")
            continue
        wheel = BuiltWheel(digest=digest, built=Built(name=name, source=file.digest))
        workshop.pull.ledger.made(digest, wheel.built)
        kept.append(wheel)
    return tuple(kept)


def built_in(
    world: World, workshop: Workshop, environment: Path, contents: LockedSet
) -> tuple[BuiltWheel, ...]:
    """The wheels that an environment was built with, made again where the store lacks them.

    Raises:
        SpaceError: the store is full.
    """
    from provisioner.adapters.environment import built_wheels

    sources = {file.digest: file for file in sources_of(contents)}
    known = {}
    for item in built_wheels(environment):
        with suppress(*DAMAGED):
            wheel = BuiltWheel(digest=Digest.parse(item["sha256"]), built=built_from_json(item))
            if wheel.built.source in sources and wheel.digest in workshop.pull.ledger:
                known[wheel.built.source] = wheel
    lacking = [file for digest, file in sources.items() if digest not in known]
    if not lacking or not workshop.store.is_writable:
        return tuple(known.values())
    return (*known.values(), *keep_built(world, workshop, environment, lacking))
