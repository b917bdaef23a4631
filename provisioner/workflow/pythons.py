"""The Python that is provisioned for."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from provisioner.adapters.machine import this_platform
from provisioner.adapters.uv import Uv
from provisioner.core.interpreter import named_version
from provisioner.core.version import DottedVersion
from provisioner.errors import ToolError

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.adapters.projects import Place
    from provisioner.core.host import Platform, Target
    from provisioner.core.interpreter import Interpreter
    from provisioner.workflow.world import World


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """The version of uv, and what `find_interpreter` gives, which may still be looked for."""

    version: Future[str]
    found: Future[tuple[Interpreter, str | None]]


def begin_search(world: World, place: Place, target: Target, program: Path) -> Search:
    """Ask a uv for its version, and for the Python, beside whatever else there is to do.

    `usable_version` and `find_interpreter` say what the futures raise.
    """
    pool = ThreadPoolExecutor(2)
    uv = Uv(program, place.folder, world.variables)
    search = Search(
        version=pool.submit(uv.usable_version),
        found=pool.submit(find_interpreter, world, place, target, program),
    )
    pool.shutdown(wait=False)
    return search


def find_interpreter(
    world: World, place: Place, target: Target, program: Path
) -> tuple[Interpreter, str | None]:
    """The target's Python, and why no environment for the target can be made here, if so.

    Raises:
        ToolError: uv finds no Python, and the target does not say which version it has.
    """
    uv = Uv(program, place.folder, world.variables)
    asked = named_version(target.python)
    here = _runs_here(target.host.platform, this_platform())
    try:
        found = uv.describe_python(uv.find_python(target.python))
        if target.python is None:
            _refuse_unfit(place, found)
    except ToolError:
        if asked is None:
            raise
        why = f"there is no Python {target.python} here; `uv python install {target.python}`"
        return asked, f"{why} gets it"
    if here:
        return found, None
    other = f"an environment for {target.host.platform.machine} cannot be made here"
    return asked or replace(found, path=None), other


def _refuse_unfit(place: Place, found: Interpreter) -> None:
    """Refuse the Python that the project's files name where the project itself forbids it."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    bound = place.manifest.requires_python if place.manifest else None
    try:
        fits = bound is None or SpecifierSet(bound).contains(found.version, prereleases=True)
    except InvalidSpecifier:
        return  # uv says what is wrong with it.
    if not fits:
        message = f"the project forbids Python `{found.version}`"
        raise ToolError(
            message,
            causes=(f"`requires-python` is `{bound}`, and uv finds `{found.path}` for it",),
            hint="`.python-version` may name another one; so does `--python`",
            code="python-unfit",
        )


def _runs_here(target: Platform, here: Platform) -> bool:
    """Whether files for a target run on this machine too."""
    if (target.system, target.machine) != (here.system, here.machine):
        return False
    if target.libc is None or here.libc is None:
        return target.libc == here.libc
    return target.libc[0] == here.libc[0] and (
        DottedVersion.parse(target.libc[1]) <= DottedVersion.parse(here.libc[1])
    )
