"""The hash that names a blob."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, order=True, slots=True)
class Digest:
    """A SHA-256 in lower-case hexadecimal; the only thing that becomes the name of a blob."""

    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read 64 hexadecimal digits.

        Raises:
            ValueError: anything else.
        """
        lowered = text.lower()
        if not _SHA256.fullmatch(lowered):
            message = f"`{text}` is not a SHA-256"
            raise ValueError(message)
        return cls(lowered)

    def __str__(self) -> str:
        """The digits."""
        return self.hex


def is_digest(text: str) -> bool:
    """Whether a name is that of a blob: 64 hexadecimal digits in lower case."""
    return _SHA256.fullmatch(text) is not None
