"""`gpuenv completion`: what makes a shell complete commands, options and profiles."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from provisioner.cli.commands import gpuenv

if TYPE_CHECKING:
    from collections.abc import Iterable

_VARIABLE: Final = "_GPUENV_COMPLETE"
"""What click's scripts are called with (its documentation, "Shell Completion")."""


@gpuenv.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="bash|zsh|fish")
def completion(shell: str) -> None:
    """Print what makes a shell complete gpuenv's words.

    Those are commands, options and profiles. For bash and zsh, `eval "$(gpuenv completion bash)"`
    in ~/.bashrc or ~/.zshrc; for fish, `gpuenv completion fish | source` in its config.fish.
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    if made is not None:
        click.echo(made(gpuenv, {}, "gpuenv", _VARIABLE).source())


def known_profiles(context: click.Context, begun: str) -> list[str]:
    """The names of all profiles that a project may use, as far as one was begun."""
    with suppress(Exception):  # A shell that completes nothing says more than one that fails.
        from provisioner.adapters.profiles import load_profiles, profile_files, profile_folders
        from provisioner.adapters.projects import find_folder

        folder, is_project = find_folder(_folder(context), named=False)
        folders = profile_folders(folder if is_project else None, os.environ, Path.home())
        return _begun(begun, (item.name for item in load_profiles(profile_files(folders))))
    return []


def prepared_profiles(context: click.Context, begun: str) -> list[str]:
    """The names of the profiles that were prepared here, as far as one was begun."""
    with suppress(Exception):
        from provisioner.adapters.projects import find_folder, find_home
        from provisioner.adapters.state import StateFolder
        from provisioner.core.history import of_folder

        folder, is_project = find_folder(_folder(context), named=False)
        state = StateFolder(find_home(folder, is_project=is_project)).read()
        return _begun(begun, of_folder(state.prepared, str(folder)))
    return []


def _folder(context: click.Context) -> Path:
    named = context.params.get("project")
    return named.resolve() if isinstance(named, Path) else Path.cwd()


def _begun(begun: str, names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(begun))
