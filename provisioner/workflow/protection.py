"""See to it that a new environment is sound, and cannot spoil what it shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.adapters.environment import discard
from provisioner.adapters.environment_files import protect
from provisioner.core.digest import Digest
from provisioner.core.installed_files import told
from provisioner.errors import IntegrityError
from provisioner.workflow.environments import install
from provisioner.workflow.seeding import make_seeded
from provisioner.workflow.soundness import by_package, real_damage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from provisioner.adapters.uv import Uv
    from provisioner.core.installed_files import FileDamage
    from provisioner.workflow.environments import Order
    from provisioner.workflow.workshop import Workshop
    from provisioner.workflow.world import World


def install_protected(
    world: World, workshop: Workshop, uv: Uv, order: Order, path: Path
) -> tuple[str, ...]:
    """Let uv make an environment, and take the permission to write from what it shares.

    Where uv's cache turns out to be damaged, it is mended: uv forgets the packages and takes
    them from the store again. The paths of files that are not as their packages tell even so,
    and of which no wheel tells more, such as of a local project with a wrong `RECORD`.

    Raises:
        ToolError: uv fails.
        IntegrityError: what uv installs is not what the packages' own lists tell.
    """
    _install(workshop, uv, order, path)
    if not (damage := _protect(workshop, order, path)):
        return ()
    packages = sorted({item.package for item in damage})
    named = ", ".join(f"`{name}`" for name in packages)
    world.progress.note(f"uv's cache has damaged files of {named}, and is filled with them again")
    discard(path)
    uv.forget_packages(packages)
    _install(workshop, uv, order, path)
    damage = _protect(workshop, order, path)
    wheels = by_package(_wheels(workshop, order))
    if certain := [item for item in damage if item.package in wheels]:
        message = f"uv makes a damaged environment of `{order.profile}`"
        raise IntegrityError(
            message,
            causes=told(certain),
            hint="`gpuenv store verify --repair` looks at the files that it was made from",
            code="environment-damaged",
        )
    return tuple(item.path for item in damage)


def _install(workshop: Workshop, uv: Uv, order: Order, path: Path) -> None:
    if order.recipe.seed:
        make_seeded(workshop.store, uv, order.recipe, path)
    install(uv, order.recipe, path)


def _protect(workshop: Workshop, order: Order, path: Path) -> list[FileDamage]:
    damage = protect(path).damage[path]
    return real_damage(path, damage, by_package(_wheels(workshop, order))) if damage else []


def _wheels(workshop: Workshop, order: Order) -> Iterator[tuple[str, Path]]:
    for file in order.files:
        yield file.name, workshop.store.blob(file.digest)
    for name, digest in order.recipe.seed:
        yield name, workshop.store.blob(Digest(digest))
