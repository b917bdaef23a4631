"""How many connections each host gets, over all files that are fetched at once."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from provisioner.adapters.http import TRIES
from provisioner.core.allowance import Allowance
from provisioner.core.urls import origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MEASURE_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.1


@dataclass(kw_only=True, slots=True)
class _Host:
    """What goes on with one host; times are those of the clock that `Connections` has."""

    allowance: Allowance = field(default_factory=Allowance)
    used: int = 0
    served: int = 0
    waiting: int = 0
    not_before: float = 0.0
    refusals: int = 0
    received: int = 0
    since: float = 0.0
    least_used: int = 0


class Connections:
    """Counts connections, measures what they bring, and says who may open one more.

    Every file has a right to one; further ones go to whoever asks first, as long as they are
    worth it. A host that refuses us several times, and sends nothing meanwhile, is given up
    for all files at once.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`note` is told, in words for people, when a host is waited for."""
        self._clock = clock
        self._note = note
        self._hosts: dict[str, _Host] = {}
        self._changing = threading.Condition()

    def first(self, url: str, stopped: Callable[[], bool]) -> bool:
        """Wait for a file's first connection.

        False where everything is to stop, or the host was given up.
        """
        with self._changing:
            host = self._host(url)
            host.waiting += 1
            try:
                while not self._is_free(host, host.allowance.first_limit):
                    if stopped() or self._is_given_up(host):
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

    def may_ask(self, url: str) -> bool:
        """Whether the host may be asked for anything new, now."""
        with self._changing:
            return self._may_ask(self._host(url))

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
            host.refusals = 0
            now = self._clock()
            if now - host.since >= _MEASURE_SECONDS:
                # Fewer than are allowed say nothing about whether more would be worth it.
                if host.least_used >= host.allowance.limit:
                    host.allowance = host.allowance.measured(host.received / (now - host.since))
                self._measure_anew(host)

    def strained(self, url: str) -> None:
        """The host broke a connection, or refused one."""
        with self._changing:
            self._strain(self._host(url))

    def refused(self, url: str, status: int, pause: float) -> bool:
        """The host has enough; no new connection for `pause` seconds. Whether to give it up.

        What is refused in such a pause is refused in the same moment, and counted once.
        """
        with self._changing:
            host = self._host(url)
            now = self._clock()
            if now >= host.not_before and not host.served:
                host.refusals = 1 if host.refusals >= TRIES else host.refusals + 1
                if host.refusals < TRIES:
                    self._note(
                        f"`{origin(url)}` answered with status {status}, "
                        f"and is asked again in {max(1, round(pause))} s"
                    )
            host.not_before = max(host.not_before, now + pause)
            self._strain(host)
            return self._is_given_up(host)

    def is_given_up(self, url: str) -> bool:
        """Whether a host was given up, until it wishes to be asked again."""
        with self._changing:
            return self._is_given_up(self._host(url))

    @contextmanager
    def served(self, url: str) -> Iterator[None]:
        """The host sends bytes meanwhile; who else is refused waits for their end."""
        with self._changing:
            self._host(url).served += 1
        try:
            yield
        finally:
            with self._changing:
                self._host(url).served -= 1

    def limit(self, url: str) -> int:
        """How many connections a host gets now."""
        with self._changing:
            return self._host(url).allowance.limit

    def _is_given_up(self, host: _Host) -> bool:
        return host.refusals >= TRIES and self._clock() < host.not_before

    def _strain(self, host: _Host) -> None:
        host.allowance = host.allowance.refused()
        self._measure_anew(host)

    def _is_free(self, host: _Host, limit: int) -> bool:
        return host.used < limit and self._may_ask(host)

    def _may_ask(self, host: _Host) -> bool:
        return self._clock() >= host.not_before

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
