"""One file into the store, going on where an earlier try broke off."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from provisioner.adapters._arrival import TAKEN
from provisioner.adapters.archives import UNFIT, check_archive
from provisioner.adapters.http import RETRY_STATUS, TRIES, pause_seconds
from provisioner.core.answers import BUSY, Misfit, Part, Refusal, Whole, meaning
from provisioner.core.ranges import SMALL_BYTES, Span, Work, total
from provisioner.core.slowness import SLOW_SECONDS
from provisioner.errors import GpuenvError, IntegrityError, NetworkError
from provisioner.workflow.connections import Connections
from provisioner.workflow.parts import PATIENCE_BYTES, Parts, busy_seconds
from provisioner.workflow.wanted import (
    GIVEN_UP,
    MISFIT,
    STOPPED,
    RefusedError,
    Told,
    kept_headers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from provisioner.adapters._arrival import Arrival
    from provisioner.adapters.http import Answer, Http
    from provisioner.adapters.store import Store
    from provisioner.core.digest import Digest
    from provisioner.workflow.progress import Progress
    from provisioner.workflow.wanted import Wanted

_COMPRESSED: Final = (".gz", ".tgz")
_ANOTHER: Final = "the server has another version of it"
_UNMARKED: Final = "the server has nothing to tell its versions apart by"


class Fetcher:
    """Fetches files that are claimed; many threads may use it, each for a file of its own."""

    def __init__(  # noqa: PLR0913 - where to, where from, who is told, and two rules
        self,
        store: Store,
        http: Http,
        progress: Progress,
        stopped: threading.Event,
        check: Callable[[Path, str], None] = check_archive,
        *,
        slow_seconds: float = SLOW_SECONDS,
    ) -> None:
        """`check` is given a whole file and its name, and raises where it must not be kept.

        `slow_seconds` is how long one of several connections may be slow.
        """
        self._slow_seconds = slow_seconds
        self._store = store
        self._http = http
        self._progress = progress
        self._stopped = stopped
        self._check = check
        self._connections = Connections(note=progress.note)

    def fetch(
        self,
        wanted: Wanted,
        headers: Mapping[str, str],
        show: Callable[[Arrival | None], None] = lambda _: None,
    ) -> tuple[Digest, int]:
        """Bring a file into the store; its hash, and how many bytes were received for it.

        What broke off is gone on with, as long as more comes. What does not fit together, or
        has the wrong hash after it was put together, is fetched anew, at last as one stream.

        `show` is given a large file while it arrives and is hashed, and None as soon as the
        bytes that were shown may turn out to be others in the end.

        Raises:
            IntegrityError: the bytes have another hash than was named, or are unfit.
            NetworkError: they cannot be had.
        """
        told = Told(self._progress, wanted, self._stopped)
        tries = _Tries()
        while not self._stopped.is_set():
            try:
                found = self._try(wanted, headers, told, tries, show)
            except NetworkError as error:
                if self._stopped.is_set():
                    raise told.stopped() from error
                raise
            if not isinstance(found, float):
                told.ends()
                return found, told.received
            self._stopped.wait(found)
        raise told.stopped()

    def _try(
        self,
        wanted: Wanted,
        headers: Mapping[str, str],
        told: Told,
        tries: _Tries,
        show: Callable[[Arrival | None], None],
    ) -> Digest | float:
        """The hash of a file that is in the store now, or the seconds until the next try."""
        attempt = None
        try:
            with self._store.arriving(wanted.claim) as arrival:
                attempt = _Attempt(
                    wanted,
                    arrival,
                    told,
                    http=self._http,
                    connections=self._connections,
                    show=show,
                    slow_seconds=self._slow_seconds,
                )
                try:
                    with self._connection(wanted, told):
                        attempt.run(headers, one_stream=tries.one_stream)
                    return self._keep(arrival, wanted)
                except (IntegrityError, NetworkError) as error:
                    show(None)
                    return self._next(wanted, error, tries, attempt)
                except BaseException:
                    show(None)
                    raise
        except NetworkError as error:
            if attempt is not None or error.code != TAKEN:
                raise
            return tries.go_on(error, in_parts=False, grew=False)

    def _next(self, wanted: Wanted, error: GpuenvError, tries: _Tries, attempt: _Attempt) -> float:
        """The seconds after which to try again, or raise the error."""
        if isinstance(error, IntegrityError) or error.code == MISFIT:
            tries.start_over(error, attempt)
            attempt.discard(error)
            return 0.0
        if isinstance(error, RefusedError) and error.status in BUSY:
            pause = tries.wait(error.wished)
            # `Parts` has asked often enough itself.
            if attempt.in_parts or self._connections.refused(wanted.url, error.status, pause):
                raise error
            return pause
        grew = attempt.kept >= PATIENCE_BYTES
        return tries.go_on(error, in_parts=attempt.in_parts, grew=grew)

    def _keep(self, arrival: Arrival, wanted: Wanted) -> Digest:
        """Make a whole arrival a blob, unless it is unfit for anybody."""
        # The wrong hash says more than what is wrong with the wrong bytes.
        if wanted.digest in {None, arrival.digest}:
            try:
                self._check(arrival.path, wanted.name)
            except IntegrityError:
                arrival.discard()
                raise
        return self._store.keep(arrival, wanted.digest, wanted.name)

    @contextmanager
    def _connection(self, wanted: Wanted, told: Told) -> Iterator[None]:
        """A file's first connection to a host."""
        if not self._connections.first(wanted.url, self._stopped.is_set):
            raise told.stopped() if self._stopped.is_set() else wanted.given_up()
        try:
            yield
        finally:
            self._connections.release(wanted.url)


class _Tries:
    """How often one file was tried, and how it is going to be tried next."""

    def __init__(self) -> None:
        self._failures = self._refusals = 0
        self._starts = 0
        self.one_stream = False

    def start_over(self, error: GpuenvError, attempt: _Attempt) -> None:
        """Allow another try from the first byte on, or raise the error."""
        self._starts += 1
        wrong = isinstance(error, IntegrityError)
        # What has the right hash and is unfit all the same would only come again.
        settled = error.code == UNFIT and attempt.is_named
        together = (attempt.resumed or attempt.in_parts) and not settled
        if self.one_stream or self._starts >= TRIES or (wrong and not together):
            raise error
        # A misfit to what was left over may be just another version, which parts are good for.
        self.one_stream = wrong or not attempt.resumed

    def wait(self, wished: float | None) -> float:
        """The seconds to wait after one more refusal of a busy host."""
        self._refusals += 1
        return busy_seconds(self._refusals, wished)

    def go_on(self, error: GpuenvError, *, in_parts: bool, grew: bool) -> float:
        """The seconds after which to go on, or raise the error.

        Whatever brought more is no failure.
        """
        self._failures = 0 if grew else self._failures + 1
        # `Parts` has tried often enough itself.
        if self._failures >= TRIES or in_parts or not _is_worth_another(error):
            raise error
        wished = error.wished if isinstance(error, RefusedError) else None
        return pause_seconds(max(1, self._failures), wished)


class _Attempt:
    """One try to complete an arrival."""

    def __init__(  # noqa: PLR0913 - a file, where it comes from and goes, who is told and shown
        self,
        wanted: Wanted,
        arrival: Arrival,
        told: Told,
        *,
        http: Http,
        connections: Connections,
        show: Callable[[Arrival], None],
        slow_seconds: float,
    ) -> None:
        self._show = show
        self._slow_seconds = slow_seconds
        self._wanted = wanted
        self._arrival = arrival
        self._told = told
        self._http = http
        self._connections = connections
        self._before = told.received
        self.resumed = bool(arrival.done)
        self.in_parts = False
        self.is_named = wanted.digest is not None

    def run(self, headers: Mapping[str, str], *, one_stream: bool) -> None:
        """Receive what is missing.

        Raises:
            NetworkError: it broke off, or does not fit to what is there.
        """
        wanted, arrival = self._wanted, self._arrival
        if self.resumed and arrival.is_whole:
            # It had arrived, and only its name was missing.
            self._told.starts(total(arrival.done), arrival.size)
            return
        asked = None if one_stream else self._first_part()
        sent = dict(headers)
        if asked:
            sent["range"] = f"bytes={asked.start}-{asked.stop - 1}"
            if arrival.validator:
                sent["if-range"] = arrival.validator
        # A failure is for `Fetcher` to count.
        with self._http.get(wanted.url, sent, index=wanted.index, tries=1) as answer:
            found = meaning(
                answer.status,
                answer.headers,
                asked,
                size=arrival.size if self.resumed else None,
                validator=arrival.validator,
            )
            if isinstance(found, Refusal):
                raise RefusedError(wanted.key, answer)
            if isinstance(found, Misfit):
                raise wanted.misfit(found.reason)
            wanted.headers.update(kept_headers(answer.headers))
            if isinstance(found, Whole):
                self._receive_whole(answer, found, may_go_on=not one_stream)
            elif not self.resumed and found.span.length == found.size:
                whole = Whole(size=found.size, validator=found.validator, encoded=False)
                self._receive_whole(answer, whole, may_go_on=True)
            else:
                self._receive_parts(answer, found, headers)

    @property
    def kept(self) -> int:
        """How many bytes it brought that the next one goes on with."""
        return self._told.received - self._before if self._arrival.validator else 0

    def discard(self, reason: GpuenvError) -> None:
        """Keep nothing of what is there, and tell why.

        Where nothing is there, a server that marks no versions is nothing to tell of.
        """
        if self._arrival.done:
            self._told.starts_over("; ".join(reason.causes))
        elif reason.causes != (_UNMARKED,):
            self._told.asks_anew("; ".join(reason.causes))
        self._arrival.discard()

    def _first_part(self) -> Span | None:
        """What to ask for first; None for all of a file that is small for sure."""
        arrival, size = self._arrival, self._wanted.size
        if self.resumed and arrival.size is not None:
            return Work(size=arrival.size, done=arrival.done).next_part(SMALL_BYTES)
        if size is not None and size <= SMALL_BYTES:
            return None
        return Span(0, SMALL_BYTES)

    def _receive_whole(self, answer: Answer, found: Whole, *, may_go_on: bool) -> None:
        wanted, arrival = self._wanted, self._arrival
        if differs := wanted.difference(found.size):
            raise wanted.wrong_size(differs)
        if self.resumed:
            if found.size is not None and found.size > SMALL_BYTES and found.validator:
                raise wanted.misfit(_ANOTHER)
            self._told.starts_over(_ANOTHER)
        # Without a hash nothing would tell a part that was damaged meanwhile, and without
        # a size there is no telling what is missing.
        kept = may_go_on and wanted.digest is not None and found.size is not None
        arrival.begin(validator=found.validator if kept else None, size=found.size)
        self._told.starts(0, wanted.size or found.size)
        decoded = found.encoded and not wanted.name.endswith(_COMPRESSED)
        at = 0
        with (
            self._connections.served(wanted.url),
            _hashing(arrival, found.size, self._show),
        ):
            for block in answer.decoded if decoded else answer.blocks:
                # Without a length only this ends a body that has no end.
                if at + len(block) > wanted.most_bytes:
                    differs = f"{wanted.difference(at + len(block))} or more"
                    raise wanted.wrong_size(differs)
                arrival.write(at, block)
                at += len(block)
                self._told.advances(len(block))
                self._connections.received(wanted.url, len(block))
                arrival.flush_if_due()
        if wanted.size is not None and at < wanted.size:
            raise wanted.cut_short(at, wanted.size)

    def _receive_parts(self, answer: Answer, found: Part, headers: Mapping[str, str]) -> None:
        wanted, arrival = self._wanted, self._arrival
        validator = arrival.validator if self.resumed else found.validator
        if validator is None:
            raise wanted.misfit(_UNMARKED)
        if differs := wanted.difference(found.size):
            raise wanted.misfit(differs)
        if not self.resumed:
            arrival.begin(validator=validator if wanted.digest else None, size=found.size)
        self.in_parts = True
        self._told.starts(total(arrival.done), found.size)
        parts = Parts(
            wanted,
            arrival,
            http=self._http,
            connections=self._connections,
            headers={**headers, "if-range": validator},
            size=found.size,
            told=self._told,
            slow_seconds=self._slow_seconds,
        )
        with _hashing(arrival, found.size, self._show):
            parts.run(answer, found.span)


def _is_worth_another(error: GpuenvError) -> bool:
    if isinstance(error, RefusedError):
        return error.status in RETRY_STATUS
    return error.code not in {STOPPED, GIVEN_UP}


@contextmanager
def _hashing(arrival: Arrival, size: int | None, show: Callable[[Arrival], None]) -> Iterator[None]:
    """Hash what arrives while it does; a small file is hashed in no time at its end."""
    if size is not None and size <= SMALL_BYTES:
        yield
        return
    if size is not None:
        show(arrival)
    ended = threading.Event()

    def follow() -> None:
        with suppress(OSError):  # Asked for its digest, the arrival says so again.
            while not ended.is_set():
                if not arrival.hash_more():
                    arrival.wait_written(ended.is_set)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        arrival.wake()
        thread.join()
