"""What clients may ask for while a project is resolved and built."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from provisioner.adapters import pip, uv_settings
from provisioner.adapters.projects import manifests_around, uv_tables
from provisioner.core.admission import Admission, direct_urls
from provisioner.core.routes import PYPI, Search
from provisioner.core.stubs import indexes_in
from provisioner.errors import GpuenvError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from provisioner.adapters.projects import Place
    from provisioner.core.profile import Index
    from provisioner.workflow.world import World

    Manifests = tuple[Mapping[str, Any], ...]


def reach_of(
    world: World, place: Place, indexes: Iterable[Index]
) -> tuple[Admission, Callable[[], Search]]:
    """What counts in a project, and where uv may have found a file that no kept page names.

    The indexes of uv's settings and variables count, those of the project and all that it takes
    from local folders, of profiles, of the variables that stubs heed, and PyPI and that of pip
    where uv has no default index: uv asks PyPI, and a build that runs pip asks pip's. Beside
    them what the project names by its URL. What the stubs of a lock name counts as soon as it
    is known.
    """
    around = manifests_around(place) if place.manifest else ()
    every = tuple(indexes)
    return _admission(world, place, around, every), lambda: _search(world, place, around, every)


def _admission(
    world: World, place: Place, around: Manifests, indexes: tuple[Index, ...]
) -> Admission:
    where = (world.variables, world.home, place.folder)
    named = [*uv_settings.index_urls(*where), *uv_settings.more_places(*where)]
    named += uv_settings.index_urls({}, world.home, place.home)
    named += [index.url for index in indexes]
    named += indexes_in(world.variables)
    if not uv_settings.has_default_index(*where):
        named += [PYPI, pip.index_url(world.variables, world.home) or PYPI]
    urls: set[str] = set()
    for data in around:
        urls |= direct_urls(data)
        named += _indexes(data)
    return Admission().with_places(named).with_urls(urls)


def _search(world: World, place: Place, around: Manifests, indexes: tuple[Index, ...]) -> Search:
    from provisioner.core.sources import source_indexes
    from provisioner.workflow.index_routes import routes_of

    where = (world.variables, world.home, place.folder)
    default = () if uv_settings.has_default_index(*where) else (PYPI,)
    order = (*uv_settings.search_order(*where), *default)
    try:
        routes = routes_of(world, place, indexes, named=order)
        tables = uv_tables(place)
    except GpuenvError:
        return Search()  # Whoever reads the project says so.
    named = uv_settings.named_indexes(world.variables)
    sources: dict[str, tuple[str, ...]] = {}
    # Local sources bind what they need to indexes of their own.
    for table in map(_uv, around):
        for package, urls in source_indexes((table, *tables), named).items():
            sources[package] = tuple(dict.fromkeys((*sources.get(package, ()), *urls)))
    return Search(
        routes=replace(routes, sources=sources),
        only_first=uv_settings.hides_later_indexes(*where),
    )


def _indexes(data: Mapping[str, Any]) -> Iterable[str]:
    """The indexes that a `pyproject.toml` names, as far as it can be read."""
    listed = _uv(data).get("index")
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, dict) and isinstance(item.get("url"), str):
            yield item["url"]


def _uv(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """`[tool.uv]` of a `pyproject.toml`."""
    tool = data.get("tool")
    uv = tool.get("uv") if isinstance(tool, dict) else None
    return uv if isinstance(uv, dict) else {}
