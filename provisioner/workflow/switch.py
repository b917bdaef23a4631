"""Make another environment the active one; nothing is detected, resolved or fetched."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from provisioner.adapters.environment import is_intact, is_ours
from provisioner.errors import IntegrityError, NotPreparedError
from provisioner.workflow.place import state_of, store_of

if TYPE_CHECKING:
    from provisioner.adapters.state import State, StateFolder
    from provisioner.core.history import Prepared
    from provisioner.workflow.world import Options, World

_WAIT_SECONDS: Final = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SwitchResult:
    """What was and what is active; `renewed` where the environment had to be made again."""

    was: str | None
    to: str
    generation: int
    environment: str
    changed: bool
    renewed: bool
    drifted: bool

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
    with states.hold(wait_seconds=_WAIT_SECONDS):
        state = states.read()
        states.check_link(is_ours, state.history)
        prepared = find_prepared(state, profile)
        ready = _ready(world, options, prepared, keep=keep)
        history = state.history.activate(ready, automatic=False, now=int(world.now()))
        return _flip(states, replace(state, history=history), prepared, ready, state)


def rollback(
    world: World, options: Options, number: int | None, *, keep: bool = False
) -> SwitchResult:
    """Activate an earlier generation, the one before the active one if none is named.

    Raises:
        NotPreparedError: there is none.
        PolicyError: `.venv` was not made by gpuenv.
    """
    states = state_of(world, options)
    with states.hold(wait_seconds=_WAIT_SECONDS):
        state = states.read()
        states.check_link(is_ours, state.history)
        generation = state.history.find(number)
        ready = _ready(world, options, generation.prepared, keep=keep)
        history = state.history.go_back(generation, ready)
        return _flip(states, replace(state, history=history), generation.prepared, ready, state)


def find_prepared(state: State, profile: str) -> Prepared:
    """A prepared profile.

    Raises:
        NotPreparedError: it is not prepared.
    """
    if profile in state.prepared:
        return state.prepared[profile]
    names = ", ".join(f"`{name}`" for name in state.prepared) or "none"
    message = f"profile `{profile}` is not prepared here"
    raise NotPreparedError(
        message,
        causes=(f"prepared are {names}",),
        hint=f"`gpuenv prepare --profile {profile}` prepares it",
    )


def _ready(world: World, options: Options, prepared: Prepared, *, keep: bool) -> Prepared:
    """The environment as it was made, or a new one of the same inputs."""
    if is_intact(prepared):
        return prepared
    if keep:
        if Path(prepared.environment).is_dir():
            return prepared
        message = f"the environment of `{prepared.profile}` is gone"
        raise IntegrityError(
            message,
            causes=(f"there is no `{prepared.environment}`",),
            hint="without `--keep` it is made again",
            code="environment-gone",
        )
    return _renew(world, options, prepared)


def _renew(world: World, options: Options, prepared: Prepared) -> Prepared:
    from provisioner.adapters.http import Http
    from provisioner.adapters.uv import find_uv
    from provisioner.workflow.environments import renew
    from provisioner.workflow.pull import Pull
    from provisioner.workflow.workshop import Workshop

    store = store_of(world, options)
    store.open()
    pull = Pull(store, Http(world.variables, connections=1), (), world.progress, offline=True)
    folder = Path(prepared.recipe["folder"])
    workshop = Workshop(find_uv(world.variables), folder, world.variables, pull)
    world.progress.note(f"the environment of `{prepared.profile}` was changed; making it again")
    return renew(world, workshop, prepared)


def _flip(
    states: StateFolder, state: State, asked: Prepared, ready: Prepared, before: State
) -> SwitchResult:
    renewed = ready is not asked
    if renewed and state.prepared.get(ready.profile) == asked:
        state = replace(state, prepared=state.prepared | {ready.profile: ready})
    current = state.history.current
    if current is None:
        raise AssertionError
    # Written first: after a crash in between, the link tells which generation is active.
    if state != before:
        states.write(state)
    changed = states.flip(Path(ready.environment))
    was = before.history.current
    return SwitchResult(
        was=was.prepared.profile if was else None,
        to=ready.profile,
        generation=current.number,
        environment=ready.environment,
        changed=changed,
        renewed=renewed,
        drifted=not is_intact(ready),
    )
