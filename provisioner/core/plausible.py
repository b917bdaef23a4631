"""What a user may name of a machine, each read from its text: what cannot be is refused.

Every function raises `ValueError` for what it refuses, with words that a user reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from provisioner.core.version import ComputeCapability, DottedVersion

if TYPE_CHECKING:
    from provisioner.core.host import System

MACHINES: Final = (
    *("x86_64", "aarch64", "arm64", "AMD64", "ARM64"),
    *("armv7l", "i686", "ppc64", "ppc64le", "riscv64", "s390x", "loongarch64"),
)
"""Machines as `platform.machine()` names them, for which there are wheels; those of Linux as
`packaging` lists them."""
_LINUX_MACHINES: Final = {
    "arm64": "aarch64",
    "ARM64": "aarch64",
    "AMD64": "x86_64",
    "amd64": "x86_64",
}
"""Names that other systems, and images of containers, have for machines of Linux."""

CAPABILITY_MAJORS: Final = range(1, 100)
CAPABILITY_MINORS: Final = range(10)
"""`sm_XY` has one digit for the minor number."""
_CUDA_MAJORS: Final = range(1, 100)
_PYTHON_MINORS: Final = range(8, 100)
_LONGEST: Final = 100
"""Characters of a text that a message repeats."""


def shown(text: str) -> str:
    """A text as messages repeat it: whole, or its beginning."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def version(text: str) -> DottedVersion:
    """A version of digits and dots."""
    if len(text) > _LONGEST:
        message = f"`{shown(text)}` is not a version of digits and dots"
        raise ValueError(message)
    return DottedVersion.parse(text)


def cuda(text: str) -> DottedVersion:
    """A CUDA version."""
    read = version(text)
    if read.major not in _CUDA_MAJORS:
        meant = f"; is `{text[:2]}.{text[2]}` meant?" if len(text) == 3 and text.isdigit() else ""  # noqa: PLR2004
        message = f"`{text}` is not a CUDA version such as `13.0`{meant}"
        raise ValueError(message)
    return read


def capability(text: str) -> ComputeCapability:
    """A compute capability."""
    if len(text) > _LONGEST:
        message = f"`{shown(text)}` is not a compute capability such as `9.0`"
        raise ValueError(message)
    read = ComputeCapability.parse(text)
    if read.major not in CAPABILITY_MAJORS or read.minor not in CAPABILITY_MINORS:
        message = f"`{text}` is not a compute capability such as `9.0`"
        raise ValueError(message)
    return read


def python(text: str) -> str:
    """A Python version: 3.8 to 3.99, with or without the number of a release."""
    read = version(text)
    parts = text.split(".")
    if len(parts) not in {2, 3} or read.major != 3 or int(parts[1]) not in _PYTHON_MINORS:  # noqa: PLR2004
        first, last = _PYTHON_MINORS[0], _PYTHON_MINORS[-1]
        message = f"`{text}` is not a Python version from `3.{first}` to `3.{last}`"
        raise ValueError(message)
    return text


def machine(text: str) -> str:
    """The name of a machine."""
    if text not in MACHINES and text not in _LINUX_MACHINES:
        message = f"`{shown(text)}` is none of {', '.join(f'`{name}`' for name in MACHINES)}"
        raise ValueError(message)
    return text


def machine_of(name: str, system: System) -> str:
    """A machine by the name that its system has for it."""
    return _LINUX_MACHINES.get(name, name) if system == "linux" else name
