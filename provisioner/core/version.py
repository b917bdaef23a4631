"""Versions of drivers, CUDA and GPUs: digits and dots, compared number by number.

Not PEP 440: `570.124.06` has to be shown as the driver spells it, and reading these must
not cost an import on the quick commands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_DOTTED = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){0,5}")


@dataclass(frozen=True, order=True, slots=True)
class DottedVersion:
    """A version such as `570.124.06` or `12.8`; missing parts count as zero."""

    key: tuple[int, ...]
    text: str = field(compare=False)

    @classmethod
    def parse(cls, text: str) -> DottedVersion:
        """Read digits and dots.

        Raises:
            ValueError: anything else, an empty text included.
        """
        if not _DOTTED.fullmatch(text):
            message = f"`{text}` is not a version of digits and dots"
            raise ValueError(message)
        parts = [int(part) for part in text.split(".")]
        while len(parts) > 1 and parts[-1] == 0:
            parts.pop()
        return cls(tuple(parts), text)

    @property
    def major(self) -> int:
        """The first number."""
        return self.key[0]

    @property
    def is_line(self) -> bool:
        """Whether only a major version is named, as in `12`: every 12.x is meant."""
        return "." not in self.text

    def covers(self, other: DottedVersion) -> bool:
        """Whether `other` belongs to the line or minor version that this names."""
        parts = tuple(int(part) for part in self.text.split("."))
        padded = other.key + (0,) * (len(parts) - len(other.key))
        return padded[: len(parts)] == parts

    def __str__(self) -> str:
        """As it was written."""
        return self.text


@dataclass(frozen=True, order=True, slots=True)
class ComputeCapability:
    """What code a GPU can run: NVIDIA's `major.minor`, such as `9.0`."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> ComputeCapability:
        """Read `major.minor`.

        Raises:
            ValueError: anything else.
        """
        found = re.fullmatch(r"([0-9]{1,3})\.([0-9]{1,2})", text)
        if not found:
            message = f"`{text}` is not a compute capability such as `9.0`"
            raise ValueError(message)
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        """As `major.minor`."""
        return f"{self.major}.{self.minor}"


def is_before(text: str, least: str) -> bool:
    """Whether a version is known to be older than another one; nothing is known of words."""
    found = _DOTTED.match(text)
    return found is not None and DottedVersion.parse(found[0]) < DottedVersion.parse(least)


def is_version(text: str) -> bool:
    """Whether a text is digits and dots."""
    return _DOTTED.fullmatch(text) is not None
