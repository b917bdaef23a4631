"""poetry, driven through its public command line only."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Final

from provisioner.adapters._programs import run
from provisioner.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_SHOWN_LINES: Final = 5


def find_poetry(variables: Mapping[str, str]) -> tuple[str, str] | None:
    """The first poetry on PATH and its version; None where there is none that runs."""
    found = shutil.which("poetry", path=variables.get("PATH"))
    if found is None:
        return None
    done = run((found, "--no-ansi", "--version"), variables)
    version = re.match(r"Poetry \(?version ([^\s)]+)", done.stdout)
    return (found, version[1]) if version and done.returncode == 0 else None


def alone_in(folder: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Variables with which it keeps all in a folder, whatever the user has set it to."""
    return {
        **{name: value for name, value in variables.items() if not name.startswith("POETRY_")},
        "POETRY_CACHE_DIR": str(folder / "cache"),
        "POETRY_CONFIG_DIR": str(folder / "config"),
        "POETRY_DATA_DIR": str(folder / "data"),
        "POETRY_VIRTUALENVS_CREATE": "true",
        "POETRY_VIRTUALENVS_IN_PROJECT": "true",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    }


def sync(  # noqa: PLR0913 - which poetry, where, and what
    program: str,
    version: str,
    project: Path,
    variables: Mapping[str, str],
    *,
    extras: Iterable[str],
    groups: Iterable[str],
    without: Iterable[str],
) -> None:
    """Bring the environment of a project to what its lock has for extras and groups.

    Raises:
        ToolError: poetry fails.
    """
    # `sync` came with 2.0.
    verb = ("install", "--sync") if version.startswith(("0.", "1.")) else ("sync",)
    chosen = (("--extras", extras), ("--with", groups), ("--without", without))
    turned = [word for option, names in chosen for name in names for word in (option, name)]
    words = (program, *verb, "--no-root", "--no-interaction", "--no-ansi", *turned)
    done = run(words, variables, project)
    if done.returncode:
        message = "poetry could not install the project's lock"
        raise ToolError(message, causes=_causes(done.stdout, done.stderr), code="poetry-failed")


def _causes(out: str, err: str) -> tuple[str, ...]:
    """What it says went wrong: of each package the first line, what follows is advice."""
    lines, others = ([line.strip() for line in text.splitlines()] for text in (out, err))
    of_packages = [
        line.removeprefix("| ")
        for before, line in zip(["", *lines], lines, strict=False)
        if line.startswith("| ") and not before.startswith("|")
    ]
    said = of_packages or [*filter(None, others)] or [*filter(None, lines)][-_SHOWN_LINES:]
    return tuple(said[:_SHOWN_LINES])
