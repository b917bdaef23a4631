"""A command inside an environment, without activating it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from provisioner.adapters.environment import changes_of, drift_of, is_intact, note_use
from provisioner.errors import NotPreparedError, UsageError, said
from provisioner.workflow.place import folder_of, state_of
from provisioner.workflow.switch import find_prepared, refuse_broken

if TYPE_CHECKING:
    from provisioner.core.history import Prepared
    from provisioner.workflow.world import Options, World


_FOREIGN: Final = frozenset({"CONDA_PREFIX", "PYTHONHOME", "VIRTUAL_ENV"})
"""Variables that name another environment."""


def prepared_environment(world: World, options: Options) -> Prepared:
    """What the named profile, or the active one, was prepared as; its environment is there.

    Raises:
        NotPreparedError: nothing is prepared, or not that profile, or it is gone.
    """
    state = state_of(world, options).read()
    if options.profile is not None:
        prepared = find_prepared(world, options, state, options.profile)
    elif last := state.history.last_of(str(folder_of(world, options)[0])):
        prepared = last.prepared
    else:
        message = "nothing is prepared here"
        raise NotPreparedError(message, hint="`gpuenv prepare` comes first")
    environment = Path(prepared.environment)
    if not (environment / "bin").is_dir():
        message = f"the environment of `{prepared.profile}` is gone"
        raise NotPreparedError(
            message,
            causes=(f"there is no `{environment}`",),
            hint=f"`gpuenv switch {prepared.profile}` makes it again",
        )
    return prepared


def command_environment(world: World, options: Options) -> dict[str, str]:
    """The environment variables for a command: those of the active or named profile.

    The environment is named by its own path, not by `.venv`, so that a switch does not reach
    the command; for uv too, which would take `.venv` otherwise.

    Raises:
        NotPreparedError: nothing is prepared, or not that profile.
        ToolError: its Python is gone, or another one now.
    """
    prepared = prepared_environment(world, options)
    refuse_broken(prepared)
    environment = Path(prepared.environment)
    # Who names no profile wants what is active, with what they have put there.
    if options.profile is not None and not is_intact(prepared) and changes_of(environment):
        note = f"the environment of `{prepared.profile}` {drift_of(prepared)}"
        world.progress.note(f"{note}; `gpuenv switch {prepared.profile}` makes it again")
    note_use(environment)
    variables = {name: value for name, value in world.variables.items() if name not in _FOREIGN}
    path = world.variables.get("PATH", os.defpath)
    return variables | {
        "VIRTUAL_ENV": str(environment),
        "UV_PROJECT_ENVIRONMENT": str(environment),
        "PATH": f"{environment / 'bin'}{os.pathsep}{path}",
    }


def replace_process(command: tuple[str, ...], variables: dict[str, str]) -> None:
    """Become the command; returns only where it cannot be started.

    Raises:
        UsageError: there is no such command.
    """
    import signal

    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, which the command would too.
    try:
        os.execvpe(command[0], command, variables)  # noqa: S606 - the user's own command
    except OSError as error:
        message = f"cannot run `{command[0]}`"
        raise UsageError(message, causes=(said(error),)) from error
