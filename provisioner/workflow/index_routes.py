"""Which index has which project, by the settings of whoever works in a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provisioner.adapters import pip, uv_settings
from provisioner.adapters.projects import uv_tables
from provisioner.core.routes import PYPI, Routes, locked_indexes
from provisioner.core.sources import source_indexes
from provisioner.core.urls import is_remote, without_secrets
from provisioner.errors import GpuenvError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from provisioner.adapters.projects import Place
    from provisioner.core.profile import Index
    from provisioner.workflow.world import World


def routes_of(
    world: World,
    place: Place,
    claims: Iterable[Index],
    is_own: Callable[[str], bool] = lambda _: False,
    named: tuple[str, ...] = (),
) -> Routes:
    """Which index has which project, for whoever works in a folder.

    Clients of the project may be set to a server that asks, whose URLs `is_own` knows; `named`
    takes the place of what uv and pip are set to.

    Raises:
        GpuenvError: no other index is left of those that are named.
    """

    def others(urls: Iterable[str]) -> tuple[str, ...]:
        return tuple(url for url in urls if is_remote(url) and not is_own(url))

    def of_others(found: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        return {name: left for name, urls in found.items() if (left := others(urls))}

    where = (world.variables, world.home, place.folder)
    every = named or uv_settings.search_order(*where)
    if not (named or uv_settings.has_default_index(*where)):
        of_pip = (*pip.index_urls(world.variables, world.home),)
        # What clients are set to may be us, and what it was before stands behind it.
        default = others(of_pip)[:1] or of_pip[:1] or (PYPI,)
        every = (*every, *default)
    if any(map(is_own, every)) and not others(every[-1:]):
        message = "the index to take packages from is this server itself"
        raise GpuenvError(
            message,
            causes=tuple(f"`{without_secrets(url)}`" for url in every if is_own(url)),
            hint="name the index that it is to ask, such as `--index https://pypi.org/simple/`",
            code="own-index",
        )
    return Routes(
        locked=of_others(locked_indexes(read_uv_lock(place))),
        sources=of_others(
            source_indexes(uv_tables(place), uv_settings.named_indexes(world.variables))
        ),
        claims=tuple(index for index in claims if index.packages and is_remote(index.url)),
        order=others(every),
        flat=() if named else others(uv_settings.flat_indexes(*where)),
    )


def read_uv_lock(place: Place) -> Mapping[str, Any]:
    """What `uv.lock` of the project has; nothing where there is none that can be read."""
    import tomllib

    try:
        return tomllib.loads((place.home / "uv.lock").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
