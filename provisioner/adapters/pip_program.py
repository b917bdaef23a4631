"""pip, driven through its public command line only."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from provisioner.adapters._programs import run
from provisioner.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def find_pips(
    python: Path, variables: Mapping[str, str]
) -> tuple[tuple[tuple[str, ...], str], ...]:
    """The first pip on PATH and that of an interpreter, each with its version.

    One that is of the same version as another before it is taken for the same.
    """
    found = shutil.which("pip", path=variables.get("PATH"))
    commands = ([(found,)] if found else []) + [(str(python), "-I", "-m", "pip")]
    versions: dict[str, tuple[str, ...]] = {}
    for command in commands:
        if version := pip_version(command, variables):
            versions.setdefault(version, command)
    return tuple((command, version) for version, command in versions.items())


def pip_version(command: tuple[str, ...], variables: Mapping[str, str]) -> str | None:
    """The version of a pip; None where it is none."""
    done = run((*command, "--version"), variables)
    found = re.match(r"pip (\S+) from ", done.stdout)
    return found[1] if found and done.returncode == 0 else None


def install_lock(
    command: tuple[str, ...], lock: Path, environment: Path, variables: Mapping[str, str]
) -> None:
    """Install all that a PEP 751 lock names into an environment, whatever is there.

    Raises:
        ToolError: pip fails.
    """
    done = run(
        (
            *command,
            *("--python", str(environment), "--disable-pip-version-check", "--no-input"),
            *("install", "-q", "--force-reinstall", "--no-deps", "-r", str(lock)),
        ),
        variables,
    )
    if done.returncode:
        causes = tuple(
            line.removeprefix("ERROR: ")
            for line in done.stderr.splitlines()
            if line.startswith("ERROR: ")
        )
        message = f"pip could not install `{lock.name}`"
        raise ToolError(message, causes=causes or (done.stderr.strip(),), code="pip-failed")
