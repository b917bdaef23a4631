"""Refuse locks that take files from other indexes than the project or profile names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.adapters import uv_settings
from provisioner.adapters.projects import uv_tables
from provisioner.core.file_names import package_of
from provisioner.core.index_policy import subject_of
from provisioner.core.pages import named_files
from provisioner.core.requirements import made_from
from provisioner.core.sources import Pin, Turn, profile_pins, project_pins, refuse_misplaced
from provisioner.core.urls import is_below

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provisioner.adapters.projects import Place
    from provisioner.adapters.store import Store
    from provisioner.core.plan import LockedFile
    from provisioner.workflow.locks import Locked
    from provisioner.workflow.world import World


def check_indexes(
    world: World, place: Place, store: Store, locked: Locked, environment: Mapping[str, str]
) -> None:
    """Look whether the files of a lock are from where they have to be, before any is asked for.

    For uv's lock `tool.uv.sources` says that, for one that gpuenv made the profile. A lock of
    another tool is believed: it is the user's word. `environment` is what markers are judged
    in.

    Raises:
        PolicyError: some are not.
    """
    files, name = locked.contents.files, locked.path.name
    pins: dict[str, tuple[Pin, ...]] = {}
    if locked.by_uv:
        pins = _of_project(world, place, locked, environment)
    elif made_from(locked.text, str(locked.path)) is not None:
        pins = profile_pins(files, locked.profile.indexes)

    def named(file: LockedFile) -> Iterable[LockedFile]:
        index, package = file.index, package_of(file.name)
        if index is None or file.digest in store:
            return
        for page in store.pages_of(
            lambda url: is_below(url, index) and subject_of(url).package == package
        ):
            yield from named_files(page.body, page.headers, page.url)

    def hint(packages: Iterable[str]) -> str:
        if not locked.by_uv:
            return f"`gpuenv lock --upgrade` makes `{name}` anew"
        words = "".join(f" --upgrade-package {name}" for name in dict.fromkeys(packages))
        return f"if `pyproject.toml` is right, `uv lock{words}` locks it anew"

    refuse_misplaced(files, pins, named, lock=name, hint=hint)


def _of_project(
    world: World, place: Place, locked: Locked, environment: Mapping[str, str]
) -> dict[str, tuple[Pin, ...]]:
    if place.manifest is None or world.variables.get("UV_NO_SOURCES"):
        return {}
    candidate = locked.candidate
    return project_pins(
        uv_tables(place),
        place.manifest,
        Turn(
            extras=candidate.extras,
            groups=candidate.groups,
            without=candidate.without,
            environment=environment,
        ),
        uv_settings.named_indexes(world.variables),
    )
