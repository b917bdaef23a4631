"""How uv is to bring files from its cache into environments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.adapters import uv_settings
from provisioner.adapters.links import link_mode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from provisioner.workflow.world import World

_SYMLINK: Final = "symlink"


def choose_link_mode(
    world: World, folder: Path, environments: Path, cache: Callable[[], Path]
) -> str:
    """What the user has set for uv, else what keeps the cache safest and still shares bytes.

    An environment of symbolic links is broken by `uv cache clean`, so that there is none.
    """
    wished = uv_settings.link_mode(world.variables, world.home, folder)
    if wished not in {None, _SYMLINK}:
        return str(wished)
    found = link_mode(cache(), environments)
    if wished:
        world.progress.note(
            f"uv is set to make symbolic links (`link-mode`), which cleaning its cache would "
            f"break: environments are made by `{found}`"
        )
    return found
