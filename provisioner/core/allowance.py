"""How many connections a server gets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

FIRST_CONNECTIONS: Final = 6
MOST_CONNECTIONS: Final = 16

# A connection more has to bring at least this share of what it would bring if nothing but
# the number of connections limited the throughput.
_WORTH: Final = 0.25
_CALM_MEASUREMENTS: Final = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """How many connections one host gets now, and what is known of what they bring.

    It grows while the throughput grows. `proven` is the last number that was worth it, with
    the `rate` in bytes a second; 0 before anything was measured. `strained` says that the
    host refused connections.
    """

    limit: int = FIRST_CONNECTIONS
    most: int = MOST_CONNECTIONS
    proven: int = 0
    rate: float = 0.0
    calm: int = 0
    strained: bool = False

    @property
    def first_limit(self) -> int:
        """How many connections there may be, where a file would have none otherwise."""
        return self.limit if self.strained else self.most

    def measured(self, rate: float) -> Allowance:
        """So many bytes a second came over `limit` connections."""
        if self.proven == self.limit:
            if self.calm + 1 < _CALM_MEASUREMENTS:
                return replace(self, calm=self.calm + 1)
            return self._tries_more(rate)
        wanted = self.rate
        if self.proven:
            wanted *= 1 + _WORTH * (self.limit - self.proven) / self.proven
        if rate >= wanted:
            return self._tries_more(rate)
        return replace(self, limit=self.proven, calm=0)

    def refused(self) -> Allowance:
        """The host has had enough, or a connection broke."""
        fewer = max(1, self.limit // 2)
        return replace(self, limit=fewer, proven=fewer, rate=0.0, calm=0, strained=True)

    def _tries_more(self, rate: float) -> Allowance:
        more = min(self.most, 2 * self.limit)
        return replace(self, limit=more, proven=self.limit, rate=rate, calm=0)
