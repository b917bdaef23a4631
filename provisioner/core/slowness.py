"""Which connections are given up, because others bring the same bytes far sooner."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

SLOW_SECONDS: Final = 4.0
"""How long a connection is looked at before it is judged."""

_LONGEST_SECONDS: Final = 60.0
_FLOOR: Final = 8_000.0
_FAR: Final = 8.0


def is_far_slower(rate: float, others: Sequence[float]) -> bool:
    """Whether a connection brings far less than others usually do, in bytes a second.

    Connections that share a line differ, but not as much. Below 8 kB a second another one is
    worth a try also where there is nothing to compare with.
    """
    usual = median(others) if others else 0.0
    return rate < max(_FLOOR, usual / _FAR)


def next_patience(seconds: float) -> float:
    """How long to look at connections after one was given up, so that a slow line keeps some."""
    return min(_LONGEST_SECONDS, 2 * seconds)
