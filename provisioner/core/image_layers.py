"""How the packages of an environment are divided into layers, and by what layers are known."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioner.core.digest import Digest
    from provisioner.core.image_environment import ImageEnvironment

FORMAT: Final = 1
"""Of the bytes of layers: what makes other ones of the same files has another number."""

LARGE_BYTES: Final = 4 << 20
"""A wheel of so many bytes gets a layer of its own.

A registry asks for each layer by itself, which costs a fraction of a second, about the time
that this many bytes take.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A wheel that is installed in an image, of some bytes; `file` is its name."""

    name: str
    version: str
    file: str
    digest: Digest
    size: int

    @property
    def title(self) -> str:
        """As the history of an image names it."""
        return f"{self.name} {self.version}"


def divide(parts: Sequence[Part], most: int) -> tuple[tuple[Part, ...], ...]:
    """The parts of each layer: large ones alone, at most so many, and then all others together.

    Everything is in the order of names, whatever order it came in.
    """
    ordered = sorted(parts, key=lambda part: (part.name, part.digest))
    large = sorted((p for p in ordered if p.size >= LARGE_BYTES), key=lambda part: -part.size)
    alone = set(large[: max(most, 0)])
    small = tuple(part for part in ordered if part not in alone)
    return (*((part,) for part in ordered if part in alone), *([small] if small else []))


def title_of(parts: Sequence[Part]) -> str:
    """What a layer has, in the history of an image."""
    if len(parts) == 1:
        return parts[0].title
    return f"{len(parts)} packages"


def wheels_in(parts: Sequence[Part], environment: ImageEnvironment) -> Mapping[str, object]:
    """What decides on the files of a layer of wheels."""
    return {
        "environment": environment.facts(),
        # The name of a wheel's file says what is installed, not its bytes alone.
        "wheels": [[part.digest.hex, part.file] for part in parts],
    }


def layer_key(contents: Mapping[str, object], *, compressor: str, level: int, modified: int) -> str:
    """By what a layer is known: a hash of all that decides on its bytes."""
    facts: Mapping[str, object] = {
        **contents,
        "format": FORMAT,
        "compressor": compressor,
        "level": level,
        "modified": modified,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
