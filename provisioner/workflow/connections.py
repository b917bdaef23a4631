"""How many connections each host gets, over all files that are fetched at once."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from provisioner.core.allowance import Allowance
from provisioner.core.urls import origin

if TYPE_CHECKING:
    from collections.abc import Callable

_MEASURE_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.1


@dataclass(kw_only=True, slots=True)
class _Host:
    """What goes on with one host; times are those of the clock that `Connections` has."""

    allowance: Allowance = field(default_factory=Allowance)
    used: int = 0
    waiting: int = 0
    not_before: float = 0.0
    received: int = 0
    since: float = 0.0
    least_used: int = 0


class Connections:
    """Counts connections, measures what they bring, and says who may open one more.

    Every file has a right to one; further ones go to whoever asks first, as long as they are
    worth it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hosts: dict[str, _Host] = {}
        self._changing = threading.Condition()

    def first(self, url: str, stopped: Callable[[], bool]) -> bool:
        """Wait for a file's first connection; False where everything is to stop."""
        with self._changing:
            host = self._host(url)
            host.waiting += 1
            try:
                while not self._is_free(host, host.allowance.first_limit):
                    if stopped():
                        return False
                    self._changing.wait(_POLL_SECONDS)
            finally:
                host.waiting -= 1
            self._use(host, 1)
            return True

    def further(self, url: str) -> bool:
        """Whether a file gets one more, now."""
        with self._changing:
            host = self._host(url)
            if host.waiting or not self._is_free(host, host.allowance.limit):
                return False
            self._use(host, 1)
            return True

    def is_too_many(self, url: str) -> bool:
        """Whether a file that has further ones should end one."""
        with self._changing:
            host = self._host(url)
            return host.used > host.allowance.limit or host.waiting > 0

    def release(self, url: str) -> None:
        """A connection is used no more."""
        with self._changing:
            self._use(self._host(url), -1)
            self._changing.notify_all()

    def received(self, url: str, count: int) -> None:
        """So many bytes came."""
        with self._changing:
            host = self._host(url)
            host.received += count
            now = self._clock()
            if now - host.since >= _MEASURE_SECONDS:
                # Fewer than are allowed say nothing about whether more would be worth it.
                if host.least_used >= host.allowance.limit:
                    host.allowance = host.allowance.measured(host.received / (now - host.since))
                self._measure_anew(host)

    def strained(self, url: str, pause: float = 0.0) -> None:
        """The host refused a connection, or broke one; no further one for `pause` seconds."""
        with self._changing:
            host = self._host(url)
            host.allowance = host.allowance.refused()
            host.not_before = max(host.not_before, self._clock() + pause)
            self._measure_anew(host)

    def used(self, url: str) -> int:
        """How many connections a host has now, over all files."""
        with self._changing:
            return self._host(url).used

    def limit(self, url: str) -> int:
        """How many connections a host gets now."""
        with self._changing:
            return self._host(url).allowance.limit

    def _is_free(self, host: _Host, limit: int) -> bool:
        return host.used < limit and self._clock() >= host.not_before

    def _use(self, host: _Host, change: int) -> None:
        if host.used == 0:
            self._measure_anew(host)
        host.used += change
        host.least_used = min(host.least_used, host.used)
        if change > 0 and host.used == host.allowance.limit:
            self._measure_anew(host)

    def _measure_anew(self, host: _Host) -> None:
        host.received, host.since, host.least_used = 0, self._clock(), host.used

    def _host(self, url: str) -> _Host:
        return self._hosts.setdefault(origin(url), _Host())
