"""Which environments are made beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from provisioner.core.digest import Digest

_MEGABYTE: Final = 1_000_000
_UNKNOWN_BYTES: Final = 64 * _MEGABYTE
"""For a wheel with machine code: in the order of NVIDIA's, whose index tells no sizes."""


def likely_bytes(name: str, size: int | None) -> int:
    """The size of a file in bytes, or one of its kind where it is not known."""
    if size is not None:
        return size
    return _UNKNOWN_BYTES if name.endswith(".whl") and "-none-any" not in name else _MEGABYTE


def startable(
    needs: Sequence[Mapping[Digest, int]],
    waiting: Iterable[int],
    running: Iterable[int],
    made: Iterable[int],
) -> tuple[int, ...]:
    """Which of the environments that wait are made sooner now than after those that run.

    `needs` has the files of each, with bytes; the others are numbers in it. Two processes of uv
    that need the same file at the same time both unpack it. So at most half of the bytes that
    are to be unpacked for one may be under way; what is made lies in uv's cache.
    """
    done = {digest for number in made for digest in needs[number]}
    taken = {digest for number in running for digest in needs[number]}
    begun: list[int] = []
    for number in waiting:
        new = {digest: size for digest, size in needs[number].items() if digest not in done}
        if 2 * sum(size for digest, size in new.items() if digest in taken) <= sum(new.values()):
            begun.append(number)
            taken.update(new)
    return tuple(begun)
