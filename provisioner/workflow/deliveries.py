"""Files on their way into the store, and those who wait for them."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from provisioner.errors import GpuenvError, IntegrityError, NetworkError, PolicyError, SpaceError
from provisioner.workflow.wanted import GIVEN_UP, STOPPED, stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from provisioner.adapters._arrival import Arrival
    from provisioner.core.digest import Digest
    from provisioner.core.plan import LockedFile

FILES_AT_ONCE: Final = 8

HELD_BACK_BYTES: Final = 1 << 16
"""The end of a file, which nobody gets before all of it is right and in the store."""

_LOOK_SECONDS: Final = 0.1


class Delivery:
    """One file that this process brings into the store.

    Whoever brings it calls `shows` and, once, `ends`; any number of others wait for it, or
    follow it while it arrives.
    """

    def __init__(self, file: LockedFile, headers: Mapping[str, str], *, planned: bool) -> None:
        self.file = file
        self.headers = headers
        self.planned = planned
        self._changing = threading.Condition()
        self._arrival: Arrival | None = None
        self._has_ended = False
        self._error: BaseException | None = None

    @property
    def error(self) -> BaseException | None:
        """Why it did not come."""
        return self._error

    def shows(self, arrival: Arrival | None) -> None:
        """The file arrives here; None where what was shown so far may not be the file."""
        with self._changing:
            self._arrival = arrival
            self._changing.notify_all()

    def ends(self, error: BaseException | None = None) -> None:
        """It is in the store, or is not going to be."""
        with self._changing:
            if not self._has_ended:
                self._has_ended, self._error = True, error
                self._changing.notify_all()

    def wait(self) -> None:
        """Wait until it is in the store; raises what kept it from coming."""
        with self._changing:
            self._changing.wait_for(lambda: self._has_ended)
        self._raise()

    @contextmanager
    def follow(self) -> Iterator[Following | None]:
        """The file while it arrives; None where it is to be taken from the store."""
        with self._changing:
            self._changing.wait_for(lambda: self._has_ended or self._arrival is not None)
            found = None
            if self._arrival is not None and self._arrival.size is not None:
                with suppress(ValueError):  # Closed: how it ends is known in a moment.
                    found = Following(self, self._arrival, self._arrival.size)
        if found is None:
            self.wait()
            yield None
        else:
            with found.file:
                yield found

    def stops(self, arrival: Arrival, size: int) -> Iterator[int]:
        """See `Following`."""
        at, last = 0, max(0, size - HELD_BACK_BYTES)
        while True:
            with self._changing:
                is_it = self._arrival is arrival
                if not self._has_ended and (not is_it or at == last):
                    # How it ends says more, and whoever comes back has to wait for it anyway.
                    self._changing.wait(_LOOK_SECONDS)
                if self._has_ended:
                    self._raise()
                    if not is_it:
                        raise self._begun_anew()
                    break
            if is_it and at < last:
                at = max(at, min(arrival.wait_hashed(at, _LOOK_SECONDS), last))
            yield at
        yield size

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _begun_anew(self) -> NetworkError:
        message = f"`{self.file.name}` had to be fetched anew while it was handed on"
        return NetworkError(message, hint="run the command again", code="started-over")


class Following:
    """A file that arrives, for one who reads it meanwhile.

    `stops` yields up to which byte it may be read, the same one again where nothing comes for a
    moment; the last is its size, and comes only once the file is right and in the store.
    """

    def __init__(self, delivery: Delivery, arrival: Arrival, size: int) -> None:
        self._delivery = delivery
        self._arrival = arrival
        self.file = arrival.reader()
        self.size = size

    def stops(self) -> Iterator[int]:
        """Raises what kept the file from coming, once that is known."""
        return self._delivery.stops(self._arrival, self.size)


class Deliveries:
    """All files that are on their way: those of a plan in its order, and those asked for.

    What somebody asks for is begun at once. After one of the plan has failed no other one is
    begun, and whoever asks is told why.
    """

    def __init__(self, bring: Callable[[Delivery], None]) -> None:
        """`bring` brings a file into the store, in a thread of its own."""
        self._bring = bring
        self._changing = threading.Condition()
        self._open: dict[Digest, Delivery] = {}
        self._queue: deque[Delivery] = deque()
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []

    def plan(self, files: Iterable[LockedFile]) -> None:
        """Begin with files that are missing, the first of them first."""
        with self._changing:
            self._failures = []
            for file in files:
                if known := self._open.get(file.digest):
                    known.planned = True
                else:
                    self._queue.append(self._add(file, {}, planned=True))
            self._begin_more()

    def begin(self, file: LockedFile, headers: Mapping[str, str]) -> Delivery:
        """Begin with a file now, wherever it stands in the plan; join in, if it was begun."""
        with self._changing:
            known = self._open.get(file.digest)
            if known is None:
                if self.failure is not None:
                    raise self.failure
                known = self._add(file, headers, planned=False)
                self._start(known)
            elif known in self._queue:
                self._queue.remove(known)
                known.headers = headers
                self._start(known)
            return known

    def wait(self) -> None:
        """Wait until every file of the plan is there, or one has failed."""
        with self._changing:
            self._changing.wait_for(lambda: self.failure is not None or not self._is_at_plan())

    def cancel(self) -> None:
        """Begin with nothing more of the plan."""
        with self._changing:
            cancelled = list(self._queue)
            self._queue.clear()
            for delivery in cancelled:
                del self._open[delivery.file.digest]
        for delivery in cancelled:
            delivery.ends(stopped(delivery.file.name))

    @property
    def failure(self) -> BaseException | None:
        """What files of the plan have failed with, all of it."""
        return all_in_one(tuple(self._failures))

    @property
    def under_way(self) -> int:
        """How many files are being fetched."""
        with self._changing:
            return self._running()

    def join(self, seconds: float | None = None) -> None:
        """Wait for what is under way, at most so long."""
        end = None if seconds is None else time.monotonic() + seconds
        with self._changing:
            threads = tuple(self._threads)
        for thread in threads:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))

    def _is_at_plan(self) -> bool:
        return any(delivery.planned for delivery in self._open.values())

    def _add(self, file: LockedFile, headers: Mapping[str, str], *, planned: bool) -> Delivery:
        delivery = Delivery(file, headers, planned=planned)
        self._open[file.digest] = delivery
        return delivery

    def _begin_more(self) -> None:
        while self._queue and self._running() < FILES_AT_ONCE:
            self._start(self._queue.popleft())

    def _running(self) -> int:
        return len(self._open) - len(self._queue)

    def _start(self, delivery: Delivery) -> None:
        thread = threading.Thread(target=self._run, args=(delivery,), daemon=True)
        self._threads = [*(old for old in self._threads if old.is_alive()), thread]
        thread.start()

    def _run(self, delivery: Delivery) -> None:
        error: BaseException | None = None
        try:
            self._bring(delivery)
        except BaseException as raised:  # noqa: BLE001 - whoever waits raises it
            error = raised
        with self._changing:
            del self._open[delivery.file.digest]
            if error is not None and delivery.planned:
                self._failures.append(error)
            if self.failure is None:
                self._begin_more()
            self._changing.notify_all()
        delivery.ends(error)


_GRAVEST: Final = (SpaceError, IntegrityError, PolicyError, NetworkError, GpuenvError)


def all_in_one(errors: Sequence[BaseException]) -> BaseException | None:
    """Several failures as one: the gravest, with the others as its causes.

    What was only stopped was so for another one. What is no error of ours is raised as it is,
    unless the disk is full.
    """
    told = [error for error in errors if getattr(error, "code", None) != STOPPED] or errors
    if len(told) < 2:  # noqa: PLR2004 - one needs nothing
        return told[0] if told else None
    first, *others = sorted(told, key=_gravity)
    if not isinstance(first, GpuenvError):
        return first
    kind = next(kind for kind in _GRAVEST if isinstance(first, kind))
    told_of = (words for error in others for words in _beside(first, error))
    causes = dict.fromkeys((*first.causes, *told_of))
    causes.pop(first.message, None)
    return kind(first.message, causes=tuple(causes), hint=first.hint, code=first.code)


def _gravity(error: BaseException) -> float:
    ranks = (rank for rank, kind in enumerate(_GRAVEST) if isinstance(error, kind))
    # Who was refused says more than who was not asked for any more.
    return next(ranks, 0.5) + 0.1 * (getattr(error, "code", None) == GIVEN_UP)


def _beside(first: GpuenvError, error: BaseException) -> tuple[str, ...]:
    """An error as causes of another one, without what that says already."""
    if not isinstance(error, GpuenvError):
        return (f"{type(error).__name__}: {error}",)
    return error.causes if error.message == first.message and error.causes else (error.line,)
