"""Make damaged environments again, and mend uv's cache, from the blobs of the store."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.adapters.environment import is_intact
from provisioner.adapters.environment import stamp as environment_stamp
from provisioner.adapters.projects import read_place
from provisioner.adapters.state import StateFolder
from provisioner.adapters.uv import Uv, find_uv
from provisioner.core.history import with_prepared
from provisioner.errors import GpuenvError, LockError, SpaceError
from provisioner.workflow.environments import Recipe, install, renew
from provisioner.workflow.filling import Filled
from provisioner.workflow.own_server import past_own_server
from provisioner.workflow.proof import scratch
from provisioner.workflow.soundness import put_back
from provisioner.workflow.workshop import open_workshop

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from provisioner.adapters.state import State
    from provisioner.adapters.store import Store
    from provisioner.core.history import Prepared
    from provisioner.core.installed_files import Spoiled
    from provisioner.workflow.survey import Project, Survey
    from provisioner.workflow.world import Options, World

_WAIT_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class _Case:
    """Where something is mended; `forgotten` is what uvs were told to forget: in which cache."""

    world: World
    options: Options
    store: Store
    forgotten: set[tuple[Path, Path, str]] = field(default_factory=set)


def mend(
    world: World, options: Options, store: Store, survey: Survey, spoiled: Iterable[Spoiled]
) -> list[Spoiled]:
    """Make every damaged environment again, each project's together.

    What uv has of a package whose files are shared is damaged as well, so that uv forgets it
    first, and takes it from the store again. The old environment stays for those who run in
    it, until `store gc`. One that uv cannot make again, as its lock is another one now, gets
    the damaged files anew.

    Raises:
        SpaceError: the store is full.
    """
    case = _Case(world, options, store)
    every = list(spoiled)
    done: dict[str, Spoiled] = {}
    for project in survey.living:
        own = [item for item in every if Path(item.environment).name in project.environments]
        for item in _mend_of(case, project, own) if own else ():
            done[item.environment] = item
    return [done.get(item.environment, item) for item in every]


def _mend_of(case: _Case, project: Project, own: list[Spoiled]) -> list[Spoiled]:
    if project.whereabouts != "here" or not project.known:
        is_here = project.whereabouts == "here"
        why = "the state of its project cannot be read" if is_here else "its project is not here"
        return [replace(item, lost=why) for item in own]
    states = StateFolder(Path(project.home))
    try:
        with states.hold(wait_seconds=_WAIT_SECONDS):
            # First those that uv can make again, which fills its cache anew.
            prepared = {one.environment for one in states.read().prepared}
            own.sort(key=lambda item: item.environment not in prepared)
            return [_tried(case, states, item) for item in own]
    except SpaceError:
        raise
    except GpuenvError as error:
        return [replace(item, lost=error.line) for item in own]


def _tried(case: _Case, states: StateFolder, item: Spoiled) -> Spoiled:
    try:
        _mend_one(case, states, item)
    except SpaceError:
        raise
    except GpuenvError as error:
        return replace(item, lost=error.line)
    return replace(item, repaired=True)


def _mend_one(case: _Case, states: StateFolder, item: Spoiled) -> None:
    store, offline = case.store, case.options.offline
    state = states.read()
    known = [*state.prepared, *(one.prepared for one in state.history.generations)]
    prepared = next((one for one in known if one.environment == item.environment), None)
    if prepared is None:  # `.venv` leads to it, and the state was deleted, or is a copy.
        message = "its project does not know how it was made"
        raise GpuenvError(message)
    folder, python = Path(prepared.folder), prepared.recipe["python"]
    place = read_place(folder, is_project=(folder / "pyproject.toml").is_file())
    was_intact = is_intact(prepared)
    world = past_own_server(case.world, store, place, offline=offline)
    packages = sorted({file.package for file in item.files if file.shared})
    main = find_uv(world.variables)
    others = [path for path in _filled(state) if path != main and path.exists()]
    with open_workshop(world, store, place, python=python, offline=offline) as workshop:
        emptied = [path for path in (main, *others) if _forget(case, path, folder, packages)]
        world.progress.note(f"making {item.name} again")
        try:
            ready = renew(world, workshop, prepared, same=True)
        except LockError:
            # An earlier generation, whose lock is no more: uv could make it only from that.
            if not _put_back(store, item):
                raise
            stamp = environment_stamp(Path(prepared.environment))
            ready = replace(prepared, stamp=stamp) if stamp and was_intact else prepared
            emptied = []
        for path in emptied:
            if path != main:
                with scratch(store) as environment, workshop.filling(path) as uv:
                    install(uv, Recipe.from_json(ready.recipe), environment)
    _take(states, state, prepared, ready)


def _put_back(store: Store, item: Spoiled) -> bool:
    try:
        return put_back(store, Path(item.environment), item.files)
    except (OSError, ValueError):
        return False


def _forget(case: _Case, program: Path, folder: Path, packages: list[str]) -> bool:
    """Let a uv forget packages that it has not forgotten in this run; whether there were any."""
    if not packages:
        return False
    uv = Uv(program, folder, case.world.variables)
    cache = uv.cache_folder()
    new = [name for name in packages if (program, cache, name) not in case.forgotten]
    if not new:
        return False
    uv.forget_packages(new)
    case.forgotten.update((program, cache, name) for name in new)
    named = ", ".join(f"`{name}`" for name in new)
    case.world.progress.note(f"`{program}` takes {named} from the store again")
    return True


def _filled(state: State) -> Iterator[Path]:
    """The uvs whose caches `prepare` looks after."""
    yield from (Path(one.program) for one in map(Filled.from_json, state.filled))


def _take(states: StateFolder, state: State, old: Prepared, ready: Prepared) -> None:
    """Let an environment take the place of another one, also where that is active."""
    used = any(one.environment == old.environment for one in state.prepared)
    states.write(
        replace(
            state,
            prepared=with_prepared(state.prepared, [ready]) if used else state.prepared,
            history=state.history.renewed(ready),
            last=None,
        )
    )
    if str(states.linked()) == old.environment:
        states.flip(Path(ready.environment))
