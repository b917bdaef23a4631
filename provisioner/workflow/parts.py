"""One file over several connections."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from provisioner.adapters.http import TRIES, pause_seconds
from provisioner.core.answers import BUSY, Misfit, Part, Refusal, meaning
from provisioner.core.ranges import SMALL_BYTES, Span, Work, part_length, total
from provisioner.core.slowness import SLOW_SECONDS, is_far_slower, next_patience
from provisioner.errors import NetworkError
from provisioner.workflow.wanted import MISFIT, STOPPED, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from provisioner.adapters._arrival import Arrival
    from provisioner.adapters.http import Answer, Http
    from provisioner.workflow.connections import Connections
    from provisioner.workflow.wanted import Told, Wanted

PATIENCE_BYTES: Final = 1 << 18
"""A try that brought so much is forgiven when it fails."""

_TICK_SECONDS: Final = 0.05
# So rarely it is looked while nothing comes.
_LONGEST_TICK: Final = 0.5
_MOST_DOUBLINGS: Final = 5
_RATES_KEPT: Final = 8
_END_SECONDS: Final = 2.0
_WHOLE: Final = "the server sent the whole file instead of a part"


@dataclass(kw_only=True, slots=True)
class _Flow:
    """What a connection has brought since some time, and whether it was given up."""

    answer: Answer
    since: float = field(default_factory=time.monotonic)
    count: int = 0
    given_up: bool = False

    def rate(self, now: float) -> float:
        """Bytes a second."""
        return self.count / max(now - self.since, 1e-3)


def busy_seconds(refusals: int, wished: float | None) -> float:
    """How long to wait after so many refusals in a row of a host that is busy."""
    return pause_seconds(min(refusals, _MOST_DOUBLINGS), wished)


class Parts:
    """Fetches what is missing of a file, part by part in the order of their bytes.

    Whoever makes it holds a connection of `connections` for the file, and runs it; it takes
    further ones while they are worth it. A part that breaks off goes back to what is
    missing. Failures without progress in between end it, those of one moment counted once.
    A connection that brings far less than others do is no failure: it is given up, and what
    it was to bring is asked for anew.
    """

    def __init__(  # noqa: PLR0913 - a file, where it comes from, where it goes, who is told
        self,
        wanted: Wanted,
        arrival: Arrival,
        *,
        http: Http,
        connections: Connections,
        headers: Mapping[str, str],
        size: int,
        told: Told,
        slow_seconds: float = SLOW_SECONDS,
    ) -> None:
        """`headers` go along with every request, and name the file's version: `if-range`.

        `slow_seconds` is how long a connection may be slow.
        """
        self._wanted = wanted
        self._arrival = arrival
        self._http = http
        self._connections = connections
        self._headers = headers
        self._size = size
        self._told = told
        self._changing = threading.Condition()
        self._taken = Work(size=size)
        self._threads: list[threading.Thread] = []
        self._open: dict[int, _Flow] = {}
        self._rates: deque[float] = deque(maxlen=_RATES_KEPT)
        self._slow_seconds = slow_seconds
        self._running = 0
        self._further = 0
        self._ending = False
        self._error: BaseException | None = None
        self._failures = self._refusals = 0
        self._failed_at = self._refused_at = self._not_before = 0.0
        self._refusal: RefusedError | None = None
        self._received_then = told.received
        # What is little is not worth a second connection.
        self._alone = size - total(arrival.done) <= SMALL_BYTES

    def run(self, answer: Answer, part: Span) -> None:
        """Fetch all that is missing; `answer` brings `part` already.

        Raises:
            NetworkError: it broke off too often, was stopped, or the file has changed.
        """
        try:
            with self._changing:
                self._start(part, answer)
            tick = _TICK_SECONDS
            while not self._is_over():
                before = self._told.received
                with self._changing:
                    self._changing.wait(tick)
                moves = self._told.received > before
                tick = _TICK_SECONDS if moves else min(2 * tick, _LONGEST_TICK)
                self._told.advances(0)
                self._arrival.flush_if_due()
                self._give_up_slow()
                self._grow()
        finally:
            self._end()
        if self._error is not None:
            raise self._error

    def _is_over(self) -> bool:
        with self._changing:
            return self._error is not None or (self._arrival.is_whole and not self._running)

    def _work(self) -> Work:
        return Work(size=self._size, done=self._arrival.done, taken=self._taken.taken)

    def _grow(self) -> None:
        """Open further connections, while there is work for them and they are worth it."""
        with self._changing:
            if (
                not self._running
                and self._work().left
                and self._connections.is_given_up(self._wanted.url)
            ):
                self._error = self._error or self._refusal or self._wanted.given_up()
            while (
                self._error is None
                and self._work().left
                and time.monotonic() >= self._not_before
                and self._connections.may_ask(self._wanted.url)
            ):
                if self._running:
                    if self._alone or not self._connections.further(self._wanted.url):
                        return
                    self._further += 1
                self._start(self._next_part(None), None)

    def _give_up_slow(self) -> None:
        """End a connection that brings far less than the others, or than others did before."""
        now = time.monotonic()
        with self._changing:
            flows = [flow for flow in self._open.values() if not flow.given_up]
            for flow in flows:
                if now - flow.since < self._slow_seconds:
                    continue
                others = [
                    other.rate(now)
                    for other in flows
                    if other is not flow and now - other.since >= self._slow_seconds / 2
                ]
                if is_far_slower(flow.rate(now), [*others, *self._rates]):
                    flow.given_up = True
                    flow.answer.abort()
                    self._slow_seconds = next_patience(self._slow_seconds)
                    return
                flow.since, flow.count = now, 0

    def _start(self, part: Span | None, answer: Answer | None) -> None:
        if part is not None:
            self._taken = self._taken.take(part)
        self._running += 1
        thread = threading.Thread(target=self._serve, args=(part, answer), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _next_part(self, rate: float | None) -> Span | None:
        work = self._work()
        if self._alone:
            return work.next_part(work.left)
        connections = max(self._running, self._connections.limit(self._wanted.url))
        return work.next_part(part_length(work.left, connections, rate))

    def _serve(self, part: Span | None, answer: Answer | None) -> None:
        """One connection: part after part."""
        began = time.monotonic()
        try:
            while part is not None:
                began = time.monotonic()
                count = self._receive(answer, part) if answer else self._fetch(part)
                part, answer = self._after(part, count / (time.monotonic() - began)), None
        except _GivenUpError:
            pass
        except NetworkError as error:
            self._failed(error, began)
        except BaseException as error:  # noqa: BLE001 - `run` raises it
            self._fatal(error)
        finally:
            with self._changing:
                if part is not None:
                    self._taken = self._taken.give_back(part)
                self._running -= 1
                if self._further:
                    self._further -= 1
                    self._connections.release(self._wanted.url)
                self._changing.notify_all()

    def _after(self, part: Span, rate: float) -> Span | None:
        """The next part for a connection that has brought one; None where it is to end."""
        with self._changing:
            self._taken = self._taken.give_back(part)
            self._refusals = 0
            self._rates.append(rate)
            url = self._wanted.url
            if (
                self._ending
                or not self._connections.may_ask(url)
                or (self._running > 1 and self._connections.is_too_many(url))
            ):
                return None
            following = self._next_part(rate)
            if following is not None:
                self._taken = self._taken.take(following)
            return following

    def _fetch(self, part: Span) -> int:
        """Ask for a part; how many bytes came."""
        asked = {**self._headers, "range": f"bytes={part.start}-{part.stop - 1}"}
        # A failure is for all connections of this file to count.
        with self._http.get(self._wanted.url, asked, index=self._wanted.index, tries=1) as answer:
            found = meaning(
                answer.status,
                answer.headers,
                part,
                size=self._size,
                validator=self._headers["if-range"],
            )
            if isinstance(found, Refusal):
                raise RefusedError(self._wanted.key, answer)
            if isinstance(found, Misfit):
                raise self._wanted.misfit(found.reason)
            if not isinstance(found, Part):
                raise self._wanted.misfit(_WHOLE)
            return self._receive(answer, found.span)

    def _receive(self, answer: Answer, span: Span) -> int:
        at = span.start
        with (
            self._abortable(answer) as flow,
            self._connections.served(self._wanted.url),
        ):
            try:
                for block in answer.blocks:
                    piece = block[: span.stop - at]
                    if self._ending or flow.given_up or not piece:
                        break
                    self._arrival.write(at, piece)
                    at += len(piece)
                    flow.count += len(piece)
                    self._told.advances(len(piece))
                    self._connections.received(self._wanted.url, len(piece))
            except NetworkError as error:
                if flow.given_up and error.code != STOPPED:
                    raise _GivenUpError from error
                raise
        if at < span.stop:
            if flow.given_up:
                raise _GivenUpError
            raise self._wanted.cut_short(at - span.start, span.length)
        return span.length

    @contextmanager
    def _abortable(self, answer: Answer) -> Iterator[_Flow]:
        flow = _Flow(answer=answer)
        with self._changing:
            self._open[id(flow)] = flow
        try:
            yield flow
        finally:
            with self._changing:
                del self._open[id(flow)]

    def _failed(self, error: NetworkError, began: float) -> None:
        """A connection failed; those that failed together are one failure."""
        if error.code in {MISFIT, STOPPED}:
            self._fatal(error)
            return
        with self._changing:
            if self._ending:
                return
            if isinstance(error, RefusedError) and error.status in BUSY:
                self._refused(error, began)
                return
            self._connections.strained(self._wanted.url)
            if began < self._failed_at:
                return
            grew = self._told.received - self._received_then >= PATIENCE_BYTES
            self._failures = 1 if grew else self._failures + 1
            self._failed_at = time.monotonic()
            wished = error.wished if isinstance(error, RefusedError) else None
            self._not_before = time.monotonic() + pause_seconds(self._failures, wished)
            self._received_then = self._told.received
            if self._failures >= TRIES:
                self._error = error

    def _refused(self, error: RefusedError, began: float) -> None:
        """The host has enough: no failure of this file, unless it is given up for all."""
        self._refusal = error
        if began >= self._refused_at:
            self._refusals += 1
            self._refused_at = time.monotonic()
        pause = busy_seconds(self._refusals, error.wished)
        if self._connections.refused(self._wanted.url, error.status, pause):
            self._error = self._error or error

    def _fatal(self, error: BaseException) -> None:
        with self._changing:
            if not self._ending and self._error is None:
                self._error = error

    def _end(self) -> None:
        """Let every connection end, also one that waits for bytes."""
        with self._changing:
            self._ending = True
            for flow in self._open.values():
                flow.answer.abort()
        deadline = time.monotonic() + _END_SECONDS
        for thread in self._threads:
            # One that is connecting is left behind: what it writes is not taken any more.
            thread.join(max(0.0, deadline - time.monotonic()))


class _GivenUpError(Exception):
    """A connection was ended because it was slow."""
