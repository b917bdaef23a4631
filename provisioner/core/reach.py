"""What of the store is still needed, and what of the rest may go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Mapping

    from provisioner.core.digest import Digest


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldBlob:
    """A blob in the store: its bytes, and when it was last used, in seconds since the epoch.

    `changed` is when it got its name or its permissions.
    """

    digest: Digest
    size: int
    used: float
    changed: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much of what nobody needs may stay: bytes of the whole store, seconds without use.

    Without limits nothing of it may.
    """

    max_size: int | None = None
    max_age: float | None = None

    @property
    def are_none(self) -> bool:
        """Whether there is no limit at all."""
        return self.max_size is None and self.max_age is None


def reachable(
    starts: Iterable[Digest], needs: Mapping[Digest, Collection[Digest]]
) -> frozenset[Digest]:
    """Everything that is needed, directly or by something that is needed."""
    found: set[Digest] = set()
    waiting = list(starts)
    while waiting:
        digest = waiting.pop()
        if digest not in found:
            found.add(digest)
            waiting += needs.get(digest, ())
    return frozenset(found)


def to_remove(  # noqa: PLR0913 - the store, what is needed, the limits and the time
    held: Iterable[HeldBlob],
    needed: Container[Digest],
    limits: Limits,
    *,
    other_bytes: int,
    now: float,
    before: float,
) -> tuple[HeldBlob, ...]:
    """The blobs that have to go, those that were not used for the longest time first.

    Of what nobody needs; without limits all of it. What came or was used at `before` or later
    stays: a process that runs may count on it. `other_bytes` is what the store has beside blobs.
    """
    every = tuple(held)
    spare = sorted(
        (
            item
            for item in every
            if item.digest not in needed and max(item.used, item.changed) < before
        ),
        key=lambda item: (item.used, item.digest),
    )
    if limits.are_none:
        return tuple(spare)
    too_old = (
        []
        if limits.max_age is None
        else [item for item in spare if now - item.used > limits.max_age]
    )
    gone = list(too_old)
    if limits.max_size is not None:
        # In the same order, so that the old ones are the first of `spare`.
        total = other_bytes + sum(item.size for item in every) - sum(item.size for item in gone)
        for item in spare[len(gone) :]:
            if total <= limits.max_size:
                break
            gone.append(item)
            total -= item.size
    return tuple(gone)
