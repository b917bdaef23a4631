"""Make another environment the active one; nothing is detected, resolved or fetched."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioner.adapters.environment import (
    drift_of,
    is_intact,
    is_ours,
    is_outdated,
    note_use,
    python_fault,
)
from provisioner.core.history import of_folder, with_prepared
from provisioner.errors import IntegrityError, NotPreparedError, ProfileError, ToolError
from provisioner.workflow.place import folder_of, state_of, store_of

if TYPE_CHECKING:
    from provisioner.adapters.state import State, StateFolder
    from provisioner.core.history import Prepared
    from provisioner.workflow.world import Options, World

_WAIT_SECONDS: Final = 10.0
MENDS_PYTHON: Final = "`gpuenv prepare` makes it anew, with the Python that is there"


@dataclass(frozen=True, kw_only=True, slots=True)
class SwitchResult:
    """What was and what is active.

    `renewed`: the environment had to be made again; `drifted`: it was changed and taken as
    it is; `outdated`: the lock is another one now; `activated`: the shell that asks has
    another environment of ours activated.
    """

    was: str | None
    to: str
    generation: int
    environment: str
    changed: bool
    renewed: bool
    drifted: bool
    outdated: bool
    activated: bool

    def to_json(self) -> dict[str, Any]:
        """The fields of `switch --json`."""
        data = {name: getattr(self, name) for name in self.__slots__ if name != "was"}
        return {"from": self.was, **data}


def switch(world: World, options: Options, profile: str, *, keep: bool = False) -> SwitchResult:
    """Activate a prepared profile.

    Raises:
        NotPreparedError: it is not prepared.
        PolicyError: `.venv` was not made by gpuenv.
    """
    states = state_of(world, options)
    with states.hold(wait_seconds=_WAIT_SECONDS), ExitStack() as renewing:
        state = states.read()
        states.check_link(is_ours, state.history)
        prepared = find_prepared(world, options, state, profile)
        ready = prepared
        refuse_broken(prepared)
        if not (is_intact(prepared) or _kept(prepared, keep=keep)):
            ready = _renew(world, options, prepared, renewing, same=False)
        history = state.history.activate(ready, automatic=False, now=int(world.now()))
        return _flip(world, states, replace(state, history=history), ready, state)


def rollback(
    world: World, options: Options, number: int | None, *, keep: bool = False
) -> SwitchResult:
    """Activate an earlier generation, the one before the active one if none is named.

    Raises:
        NotPreparedError: there is none.
        PolicyError: `.venv` was not made by gpuenv.
    """
    states = state_of(world, options)
    with states.hold(wait_seconds=_WAIT_SECONDS), ExitStack() as renewing:
        state = states.read()
        states.check_link(is_ours, state.history)
        generation = state.history.find(number)
        ready = generation.prepared
        refuse_broken(ready)
        if not (is_intact(ready) or _kept(ready, keep=keep)):
            ready = _renew(world, options, ready, renewing, same=True)
        history = state.history.go_back(generation, ready)
        return _flip(world, states, replace(state, history=history), ready, state)


def find_prepared(world: World, options: Options, state: State, profile: str) -> Prepared:
    """A prepared profile of the project that is meant.

    Raises:
        NotPreparedError: it is not prepared.
        ProfileError: no profile can have that name.
    """
    folder, _ = folder_of(world, options)
    prepared = of_folder(state.prepared, str(folder))
    if profile in prepared:
        return prepared[profile]
    names = ", ".join(f"`{name}`" for name in prepared) or "none"
    like = [name for name in prepared if profile.lower() in {name, name.removeprefix("cu")}]
    from provisioner.core.profile import NAME

    if not (like or NAME.fullmatch(profile)):
        message = f"`{profile}` is no profile"
        causes = (f"names match `{NAME.pattern}`", f"prepared are {names}")
        raise ProfileError(message, causes=causes)
    message = f"profile `{profile}` is not prepared here"
    raise NotPreparedError(
        message,
        causes=(f"prepared are {names}",),
        hint=f"did you mean `{like[0]}`?"
        if like
        else f"`gpuenv prepare --profile {profile}` prepares it, where the host can run it",
    )


def refuse_broken(prepared: Prepared) -> None:
    """Refuse an environment whose Python was removed, or became another one.

    Raises:
        ToolError: it was.
    """
    environment = Path(prepared.environment)
    if environment.is_dir() and (fault := python_fault(environment)):
        message = f"the environment of `{prepared.profile}` does not start"
        raise ToolError(message, causes=(fault,), hint=MENDS_PYTHON, code="environment-broken")


def _kept(prepared: Prepared, *, keep: bool) -> bool:
    """Whether an environment that was changed is to be taken as it is."""
    if keep and not Path(prepared.environment).is_dir():
        message = f"the environment of `{prepared.profile}` is gone"
        raise IntegrityError(
            message,
            causes=(f"there is no `{prepared.environment}`",),
            hint="without `--keep` it is made again",
            code="environment-gone",
        )
    return keep


def _renew(
    world: World, options: Options, prepared: Prepared, renewing: ExitStack, *, same: bool
) -> Prepared:
    """Make an environment again; `renewing` lasts until the state names it."""
    from provisioner.adapters.leases import Leases
    from provisioner.adapters.projects import read_place
    from provisioner.workflow.environments import renew
    from provisioner.workflow.own_server import past_own_server
    from provisioner.workflow.workshop import open_workshop

    store = store_of(world, options)
    store.open()
    renewing.enter_context(Leases(store.root).working())
    what = drift_of(prepared)
    world.progress.note(f"the environment of `{prepared.profile}` {what}; making it again")
    folder, python = Path(prepared.folder), prepared.recipe["python"]
    place = read_place(folder, is_project=(folder / "pyproject.toml").is_file())
    world = past_own_server(world, store, place, offline=True)
    with open_workshop(world, store, place, python=python, offline=True) as workshop:
        workshop.pull.because = "switching fetches nothing"
        return renew(world, workshop, prepared, same=same)


def _flip(
    world: World, states: StateFolder, state: State, ready: Prepared, before: State
) -> SwitchResult:
    known = {item.environment for item in before.prepared}
    known |= {item.prepared.environment for item in before.history.generations}
    renewed = ready.environment not in known
    if renewed:
        state = replace(state, prepared=with_prepared(state.prepared, [ready]))
    current = state.history.current
    if current is None:
        raise AssertionError
    # Written first: after a crash in between, the link tells which generation is active.
    if state != before:
        states.write(state)
    note_use(Path(ready.environment))
    changed = states.flip(Path(ready.environment))
    was = before.history.current
    shell = world.variables.get("VIRTUAL_ENV")
    return SwitchResult(
        was=was.prepared.profile if was else None,
        to=ready.profile,
        generation=current.number,
        environment=ready.environment,
        changed=changed,
        renewed=renewed,
        drifted=not is_intact(ready),
        outdated=is_outdated(ready),
        activated=bool(shell) and shell != ready.environment and is_ours(Path(shell or "")),
    )
