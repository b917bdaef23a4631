"""What clients may ask for while a project is resolved and built."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from provisioner.adapters import pip, uv_settings
from provisioner.adapters.projects import manifests_around, read_place
from provisioner.core.admission import Admission, direct_urls
from provisioner.core.routes import PYPI, Search
from provisioner.core.stubs import indexes_in
from provisioner.errors import GpuenvError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from provisioner.core.profile import Index
    from provisioner.workflow.world import World


def admission_for(world: World, folder: Path, indexes: Iterable[Index]) -> Admission:
    """The indexes that count in a folder, and the files that its project names itself.

    Those of uv's settings and variables, of the project and all that it takes from local
    folders, of profiles, of the variables that stubs heed, and of pip or PyPI where uv has no
    default index. What the stubs of a lock name counts as soon as it is known.
    """
    where = (world.variables, world.home, folder)
    named = [*uv_settings.index_urls(*where), *uv_settings.more_places(*where)]
    named += [index.url for index in indexes]
    named += indexes_in(world.variables)
    if not uv_settings.has_default_index(*where):
        named.append(pip.index_url(world.variables, world.home) or PYPI)
    urls: set[str] = set()
    try:
        place = read_place(folder, is_project=(folder / "pyproject.toml").is_file())
    except GpuenvError:
        return Admission().with_places(named)  # Whoever reads the project says so.
    named += uv_settings.index_urls({}, world.home, place.home)
    for data in manifests_around(place) if place.manifest else ():
        urls |= direct_urls(data)
        named += _indexes(data)
    return Admission().with_places(named).with_urls(urls)


def search_for(world: World, folder: Path, indexes: Iterable[Index]) -> Search:
    """Where uv may have found a file while it works in a folder."""
    from provisioner.adapters.projects import uv_tables
    from provisioner.core.sources import source_indexes
    from provisioner.workflow.index_routes import routes_of

    where = (world.variables, world.home, folder)
    try:
        place = read_place(folder, is_project=(folder / "pyproject.toml").is_file())
        routes = routes_of(world, place, indexes)
        tables = uv_tables(place)
        # Local sources bind what they need to indexes of their own.
        around = [_uv(data) for data in manifests_around(place)] if place.manifest else []
    except GpuenvError:
        return Search()  # Whoever reads the project says so.
    named = uv_settings.named_indexes(world.variables)
    sources: dict[str, tuple[str, ...]] = {}
    for table in around:
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
