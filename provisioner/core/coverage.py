"""Whether code that was built for some GPUs runs on another.

The rules are those of NVIDIA's CUDA programming guide (binary and PTX compatibility): machine
code runs on the same major compute capability with the same or a higher minor one, never on
another major; PTX is compiled by the driver for what is the same or newer, if the driver is
not older than the toolkit that wrote it. The suffix `a` (`9.0a`) means exactly that compute
capability. The suffix `f` (`10.0f`) means its family, of which NVIDIA's list was not to be had:
the same major with the same or a higher minor is taken for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from provisioner.core.version import ComputeCapability

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provisioner.core.version import DottedVersion

_DOTTED = re.compile(r"([0-9]{1,3})\.([0-9])([af]?)(\+PTX)?", re.IGNORECASE)
_GLUED = re.compile(r"(sm|compute)_([0-9]{1,3})([0-9])([af]?)")


class Coverage(Enum):
    """How a GPU runs some code, the best first."""

    NATIVE = "native"
    """It has machine code for the GPU."""
    PTX = "ptx"
    """The driver compiles its PTX when it is first used: slow to start, but it runs."""
    PTX_TOO_NEW = "ptx-too-new"
    """There is only PTX, of a newer toolkit than the driver can compile."""
    NONE = "none"
    """There is nothing that the GPU runs."""

    @property
    def runs(self) -> bool:
        """Whether the code runs at all."""
        return self in {Coverage.NATIVE, Coverage.PTX}


@dataclass(frozen=True, order=True, slots=True)
class BuiltFor:
    """What code was built for: a compute capability, and `a`, `f` or no suffix."""

    capability: ComputeCapability
    suffix: str = ""

    @classmethod
    def parse(cls, text: str) -> BuiltFor:
        """Read `9.0` or `9.0a`.

        Raises:
            ValueError: anything else.
        """
        found = _DOTTED.fullmatch(text)
        if not found or found[4]:
            message = f"`{text}` is not an architecture such as `9.0` or `9.0a`"
            raise ValueError(message)
        return cls(ComputeCapability(int(found[1]), int(found[2])), found[3].lower())

    def includes(self, capability: ComputeCapability, *, across_majors: bool) -> bool:
        """Whether a GPU is among those meant; PTX reaches newer majors, machine code does not."""
        if self.suffix == "a":
            return self.capability == capability
        if across_majors and not self.suffix:
            return self.capability <= capability
        return (
            self.capability.major == capability.major and self.capability.minor <= capability.minor
        )

    def __str__(self) -> str:
        """As `9.0a`."""
        return f"{self.capability}{self.suffix}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """The architectures that machine code (`sass`) and `ptx` were built for, as `9.0` or `9.0a`."""

    sass: tuple[str, ...] = ()
    ptx: tuple[str, ...] = ()


def parse_code(texts: Iterable[str]) -> Code:
    """Read a list of architectures: `9.0`, `12.0+PTX`, `sm_90a`, `compute_120`.

    Raises:
        ValueError: one of them is none.
    """
    sass = []
    ptx = []
    for text in texts:
        if dotted := _DOTTED.fullmatch(text):
            plain = f"{dotted[1]}.{dotted[2]}{dotted[3].lower()}"
            sass.append(plain)
            if dotted[4]:
                ptx.append(plain)
        elif glued := _GLUED.fullmatch(text):
            kind = sass if glued[1] == "sm" else ptx
            kind.append(f"{glued[2]}.{glued[3]}{glued[4]}")
        else:
            message = f"`{text}` is not an architecture such as `9.0`, `12.0+PTX` or `sm_90a`"
            raise ValueError(message)
    return Code(sass=_ordered(sass), ptx=_ordered(ptx))


def cover(
    code: Code,
    capability: ComputeCapability,
    *,
    cuda_of_driver: DottedVersion | None,
    ptx_from: DottedVersion | None,
) -> Coverage:
    """How a GPU runs some code.

    `ptx_from` is the toolkit that wrote the PTX, `cuda_of_driver` what the driver can compile;
    where either is not known, it is taken to be new enough.
    """
    if any(BuiltFor.parse(text).includes(capability, across_majors=False) for text in code.sass):
        return Coverage.NATIVE
    if not any(BuiltFor.parse(text).includes(capability, across_majors=True) for text in code.ptx):
        return Coverage.NONE
    if cuda_of_driver is not None and ptx_from is not None and cuda_of_driver < ptx_from:
        return Coverage.PTX_TOO_NEW
    return Coverage.PTX


def has_machine_code(built: Iterable[ComputeCapability], capability: ComputeCapability) -> bool:
    """Whether a GPU runs machine code that was built for one of some compute capabilities."""
    return any(BuiltFor(one).includes(capability, across_majors=False) for one in built)


def _ordered(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(str(item) for item in sorted({BuiltFor.parse(text) for text in texts}))
