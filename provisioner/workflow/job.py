"""All that `prepare` and `lock` decide before anything is resolved or fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioner.adapters.uv import find_uv
from provisioner.workflow.choose import judge_profiles
from provisioner.workflow.pythons import begin_search

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from provisioner.adapters.projects import Place
    from provisioner.core.facts import Facts
    from provisioner.core.host import Target
    from provisioner.core.interpreter import Interpreter
    from provisioner.core.profile import Index
    from provisioner.core.select import Candidate, Selection
    from provisioner.workflow.pythons import Search
    from provisioner.workflow.world import Options, Wishes, World


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """The selection for a target and project, the profiles to prepare, and their Python.

    `program` is the uv that does the work, of some `version`. `not_here` says why no environment
    for the target can be made on this machine, if so.
    `read` are the texts of locks that were read already, by profile.
    """

    world: World
    options: Options
    wishes: Wishes
    place: Place
    target: Target
    program: Path
    version: str
    search: Search
    facts: Facts
    selection: Selection
    candidates: tuple[Candidate, ...]
    interpreter: Interpreter
    not_here: str | None
    read: Mapping[str, str]

    @property
    def indexes(self) -> tuple[Index, ...]:
        """The indexes whose policies count: of the profiles to prepare, then of all others."""
        every = (*self.candidates, *self.selection.candidates)
        return tuple(index for one in every for index in one.profile.indexes)


def plan_job(  # noqa: PLR0913, PLR0917 - everything that it is planned from
    world: World,
    options: Options,
    place: Place,
    target: Target,
    wishes: Wishes,
    search: Search | None = None,
) -> Job:
    """Choose the profiles and the Python, which may be looked for already.

    Raises:
        ProfileError: a profile is not valid, or the named one is not known.
        SelectionError: nothing fits, or the named profile does not.
        ToolError: there is no Python for the project, or uv is too old.
        GpuenvError: the folder has a project of a kind that is not supported.
    """
    if place.manifest is None and options.profile is None:
        _refuse_other_project(place)
    program = find_uv(world.variables)
    search = search or begin_search(world, place, target, program)
    version = search.version.result()
    judged = judge_profiles(world, place, target, options, anew=wishes.upgrade, search=search)
    selection = judged.select(options)
    interpreter, not_here = search.found.result()
    return Job(
        world=world,
        options=options,
        wishes=wishes,
        place=place,
        target=target,
        program=program,
        version=version,
        search=search,
        facts=judged.facts,
        selection=selection,
        candidates=_wanted(selection, wishes, in_project=place.manifest is not None),
        interpreter=interpreter,
        not_here=not_here,
        read=judged.locks,
    )


def again(job: Job) -> Job:
    """The same job, planned from the locks as they are now."""
    return plan_job(job.world, job.options, job.place, job.target, job.wishes, job.search)


def _refuse_other_project(place: Place) -> None:
    """Refuse a folder with another tool's project, unless it was locked for a profile."""
    from provisioner.adapters.projects import names_in
    from provisioner.core.other_tools import refuse_other_project

    names = names_in(place.folder)
    if not any(name.startswith("pylock.") for name in names):
        refuse_other_project(str(place.folder), names)


def _wanted(selection: Selection, wishes: Wishes, *, in_project: bool) -> tuple[Candidate, ...]:
    """The profiles to prepare, the chosen one first; no other one that the host cannot run."""
    if wishes.only or not (in_project or wishes.every):
        return (selection.chosen,)
    others = tuple(
        candidate
        for candidate in selection.usable
        if candidate is not selection.chosen
        and not candidate.gaps
        and (in_project or candidate.profile.requirements)
    )
    return (selection.chosen, *others)
