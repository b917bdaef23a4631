"""The program that loads GPU libraries in an environment, and the variables that it gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROGRAM: Final = Path(__file__).with_name("_check_program.py")


def program_command(environment: Path, task: str, seconds: float, **given: object) -> list[str]:
    """The command that does one task with an environment's own Python.

    It is isolated from the folder it runs in and the user's own packages, and writes no byte
    code, so that the environment stays as it is.
    """
    asked = json.dumps({"task": task, "seconds": seconds, **given})
    return [str(environment / "bin" / "python"), "-I", "-B", str(_PROGRAM), asked]


def program_variables(variables: Mapping[str, str], scrubbed: frozenset[str]) -> dict[str, str]:
    """The user's variables without the `scrubbed` ones; CuPy keeps nothing in the home folder."""
    kept = {name: value for name, value in variables.items() if name not in scrubbed}
    return {**kept, "CUPY_CACHE_IN_MEMORY": "1"}
