"""What clients may ask for while a project is resolved and built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from provisioner.adapters import pip, uv_settings
from provisioner.adapters.projects import manifests_around, read_place
from provisioner.core.admission import Admission, direct_urls
from provisioner.core.stubs import indexes_in
from provisioner.errors import GpuenvError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from provisioner.core.profile import Index
    from provisioner.workflow.world import World

PUBLIC_INDEX: Final = "https://pypi.org/simple/"


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
        named.append(pip.index_url(world.variables, world.home) or PUBLIC_INDEX)
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


def _indexes(data: Mapping[str, Any]) -> Iterable[str]:
    """The indexes that a `pyproject.toml` names, as far as it can be read."""
    tool = data.get("tool")
    uv = tool.get("uv") if isinstance(tool, dict) else None
    listed = uv.get("index") if isinstance(uv, dict) else None
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, dict) and isinstance(item.get("url"), str):
            yield item["url"]
