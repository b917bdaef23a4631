"""Find out what it takes to build source distributions that uv had built before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from provisioner.adapters import environment
from provisioner.errors import GpuenvError
from provisioner.workflow.stubs import StubReader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioner.core.digest import Digest
    from provisioner.core.plan import LockedFile
    from provisioner.workflow.workshop import Workshop
    from provisioner.workflow.world import World


def learn_builds(
    world: World, workshop: Workshop, python: str, files: Iterable[LockedFile]
) -> bool:
    """Note what each source distribution needs to be built; whether that is known of all now.

    What uv has in its cache it does not ask for, so that where it is not known they are built
    once more, with a cache that is empty. A failure is told, and is no error: the environments
    are there without it. A stub is not built: it takes what it names as its build requirements.
    """
    ledger = workshop.pull.ledger
    unknown = [
        file
        for file in dict.fromkeys(files)
        if not file.name.endswith(".whl") and not ledger.knows_build(file.digest)
    ]
    if not unknown or workshop.pull.offline or not workshop.store.is_writable:
        return not unknown
    learned = True
    stubs = StubReader(world, workshop.pull, keeps=False)
    for file in unknown:
        world.progress.note(f"finding out what it takes to build {file.name}")
        try:
            stub = stubs.stub_in(file)
            source = "\n".join(stub.requires) if stub else f"{file.key}#sha256={file.digest}"
            ledger.built_with([file.digest], _needs(workshop, python, source, file.digest))
        except GpuenvError as error:
            causes = "; ".join((error.message, *error.causes[-1:]))
            world.progress.note(f"what it takes to build {file.name} is not known: {causes}")
            learned = False
    return learned


def _needs(workshop: Workshop, python: str, source: str, own: Digest) -> frozenset[Digest]:
    """What uv takes for a source but its own bytes, in a folder that goes afterwards.

    A backend that is asked for metadata needs what building needs, and compiles nothing.
    """
    for only_metadata in (True, False):
        folder = workshop.store.new_environment("build")
        try:
            folder.mkdir()
            with workshop.pull.watching() as taken, workshop.building() as uv:
                uv.build_alone(source, Path(python), folder, only_metadata=only_metadata)
        finally:
            environment.discard(folder)
        if needs := taken - {own}:
            return frozenset(needs)
    return frozenset()
