"""Variables as shells and other programs read them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Form = Literal["sh", "fish", "dotenv"]
FORMS: Final[tuple[Form, ...]] = ("sh", "fish", "dotenv")


def assignments(variables: Mapping[str, str], form: Form) -> str:
    """A line for each variable; for `dotenv` of values that need no quotes, as URLs."""
    return "\n".join(_assignment(name, value, form) for name, value in variables.items())


def _assignment(name: str, value: str, form: Form) -> str:
    if form == "sh":
        return f"export {name}={shlex.quote(value)}"
    if form == "fish":
        # Between single quotes fish knows two escapes.
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"set -gx {name} '{escaped}'"
    # Whatever reads such files takes quotes and escapes otherwise, docker quotes for a part.
    return f"{name}={value}"
