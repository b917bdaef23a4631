"""Which indexes the files of a lock are from, and whether these are the right ones."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from provisioner.adapters import uv_settings
from provisioner.adapters.projects import uv_tables
from provisioner.adapters.uv import lock_command
from provisioner.core.file_names import package_of
from provisioner.core.index_policy import subject_of
from provisioner.core.packages import read_locked
from provisioner.core.pages import named_files
from provisioner.core.profile import Index
from provisioner.core.requirements import made_from
from provisioner.core.sources import (
    Pin,
    Turn,
    profile_pins,
    project_pins,
    refuse_misplaced,
    with_indexes,
)
from provisioner.core.urls import is_remote

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from provisioner.adapters.projects import Place
    from provisioner.adapters.store import Store
    from provisioner.core.plan import LockedFile
    from provisioner.workflow.locks import Locked
    from provisioner.workflow.pull import Pull
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

    @cache
    def kept(package: str | None) -> tuple[LockedFile, ...]:
        return tuple(_kept(store, {package}))

    def named(file: LockedFile) -> Iterable[LockedFile]:
        return kept(package_of(file.name))

    def hint(packages: Iterable[str]) -> str:
        if not locked.by_uv:
            return f"`gpuenv lock --upgrade` makes `{name}` anew"
        command = lock_command(world.variables, *dict.fromkeys(packages))
        return f"if `pyproject.toml` is right, `{command}` locks it anew"

    refuse_misplaced(
        files,
        pins,
        named,
        lock=name,
        hint=hint,
        indexes=(*_configured(world, place), *locked.profile.indexes),
        held=store,
    )


def _configured(world: World, place: Place) -> Iterable[Index]:
    """The indexes that the project, its workspace, uv's settings and variables name."""
    urls = uv_settings.index_urls(world.variables, world.home, place.folder)
    of_root = uv_settings.index_urls({}, world.home, place.home)
    return (Index(name="", url=url) for url in dict.fromkeys((*urls, *of_root)) if is_remote(url))


def record_indexes(pull: Pull, text: str) -> str:
    """A lock that uv has just resolved, with the index of each package, as pages have told.

    uv asks for no page that its own cache has; the store has what it asked for before.
    """
    packages = {package.name for package in read_locked(text).packages}

    @cache
    def kept() -> dict[str, str | None]:
        return {file.key: file.index for file in _kept(pull.store, packages)}

    return with_indexes(text, lambda url: pull.index_of(url) or kept().get(url))


def _kept(store: Store, packages: Container[str | None]) -> Iterable[LockedFile]:
    """The files that kept pages of packages name."""
    for page in store.pages_of(lambda url: subject_of(url).package in packages):
        yield from named_files(page.body, page.headers, page.url)


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
