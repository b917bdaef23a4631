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
from provisioner.core.tags import markers
from provisioner.core.urls import is_below
from provisioner.workflow.place import store_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from provisioner.core.plan import LockedFile
    from provisioner.core.select import Candidate
    from provisioner.workflow.job import Job


def check_indexes(
    job: Job, candidate: Candidate, files: Iterable[LockedFile], text: str, path: Path
) -> None:
    """Look whether the files of a lock are from where they have to be, before any is asked for.

    For uv's lock `tool.uv.sources` says that, for one that gpuenv made the profile. A lock of
    another tool is believed: it is the user's word.

    Raises:
        PolicyError: some are not.
    """
    every = tuple(files)
    pins: dict[str, tuple[Pin, ...]] = {}
    by_uv = path == job.place.uv_lock
    if by_uv:
        pins = _of_project(job, candidate)
    elif made_from(text, str(path)) is not None:
        pins = profile_pins(every, candidate.profile.indexes)
    store = store_of(job.world, job.options)

    def named(file: LockedFile) -> Iterable[LockedFile]:
        index, package = file.index, package_of(file.name)
        if index is None or file.digest in store:
            return
        for page in store.pages_of(
            lambda url: is_below(url, index) and subject_of(url).package == package
        ):
            yield from named_files(page.body, page.headers, page.url)

    def hint(packages: Iterable[str]) -> str:
        if not by_uv:
            return f"`gpuenv lock --upgrade` makes `{path.name}` anew"
        words = "".join(f" --upgrade-package {name}" for name in dict.fromkeys(packages))
        return f"if `pyproject.toml` is right, `uv lock{words}` locks it anew"

    refuse_misplaced(every, pins, named, lock=path.name, hint=hint)


def _of_project(job: Job, candidate: Candidate) -> dict[str, tuple[Pin, ...]]:
    place, variables = job.place, job.world.variables
    if place.manifest is None or variables.get("UV_NO_SOURCES"):
        return {}
    return project_pins(
        uv_tables(place),
        place.manifest,
        Turn(
            extras=candidate.extras,
            groups=candidate.groups,
            without=candidate.without,
            environment=markers(job.interpreter, job.target.host.platform),
        ),
        uv_settings.named_indexes(variables),
    )
