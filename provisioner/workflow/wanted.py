"""A file that is being fetched, what is told of it, and a server that refuses it."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from provisioner.adapters._files import holder_text
from provisioner.adapters._origin import BodyAnswer
from provisioner.core.answers import pause_wished
from provisioner.core.plan import LockedFile
from provisioner.core.urls import without_secrets
from provisioner.errors import IntegrityError, NetworkError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provisioner.adapters.http import Answer
    from provisioner.adapters.store import Store
    from provisioner.core.digest import Digest
    from provisioner.workflow.progress import Progress

STOPPED: Final = "stopped"
MISFIT: Final = "changed-upstream"
GIVEN_UP: Final = "server-busy"

# For a file whose size nobody has named; none is nearly as large.
_FILE_BYTES: Final = 64 << 30
_TOLD_SECONDS: Final = 0.1
_LOOK_SECONDS: Final = 0.5
_KEPT_HEADERS: Final = ("content-type", "etag", "last-modified", "cache-control")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A file to fetch; `digest` where something has named it.

    `headers` are filled with those of the answer that are worth keeping.
    """

    name: str
    url: str
    size: int | None
    digest: Digest | None
    index: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The URL as it is shown, and as clients ask for it."""
        return without_secrets(self.url)

    @property
    def claim(self) -> str:
        """What the file is claimed under while it arrives."""
        return self.digest.hex if self.digest else claim_of(self.key)

    def as_found(self, digest: Digest) -> LockedFile:
        """The file with the hash that it turned out to have."""
        return LockedFile(
            name=self.name, url=self.url, digest=digest, size=self.size, index=self.index
        )

    def misfit(self, reason: str) -> NetworkError:
        """What came cannot be put together with what is there."""
        message = f"`{self.key}` cannot be continued"
        return NetworkError(message, causes=(reason,), hint="try again", code=MISFIT)

    def cut_short(self, count: int, size: int) -> NetworkError:
        """Fewer bytes came than there have to be."""
        message = f"could not fetch `{self.key}`"
        cause = f"expected {size} bytes, the server sent {count}"
        return NetworkError(message, causes=(cause,), code="unreachable")

    def given_up(self) -> NetworkError:
        """The server refused other files for so long that this one is not asked for."""
        message = f"could not fetch `{self.key}`"
        cause = "the server is too busy, also for other files"
        return NetworkError(message, causes=(cause,), hint="try again later", code=GIVEN_UP)

    @property
    def most_bytes(self) -> int:
        """How much is taken at most."""
        return _FILE_BYTES if self.size is None else self.size

    def difference(self, size: int | None) -> str:
        """Why a file of the size that a server tells cannot be this one; empty if it can."""
        if size is None:
            return ""
        if self.size is None:
            most = f"at most {_FILE_BYTES} bytes are taken, the server sends {size}"
            return most if size > _FILE_BYTES else ""
        return "" if size == self.size else f"expected {self.size} bytes, the server sends {size}"

    def wrong_size(self, reason: str) -> IntegrityError:
        """The server has another file."""
        return IntegrityError(
            f"`{self.name}` has the wrong size",
            causes=(reason,),
            hint="the index serves other bytes than the lock names; nothing was kept",
            code="wrong-size",
        )


class Told:
    """Tells the progress of one file through all its tries, and counts what was received.

    Many threads may call it; what they tell is gathered for a moment, since a terminal is
    slower than a network.
    """

    def __init__(self, progress: Progress, wanted: Wanted, stopped: threading.Event) -> None:
        self._progress = progress
        self._key = wanted.claim
        self._name = wanted.name
        self._stopped = stopped
        self._telling = threading.Lock()
        self._untold = 0
        self._told_at = 0.0
        self.received = 0

    def starts(self, there: int, size: int | None) -> None:
        """A try begins, with so many bytes there already."""
        with self._telling:
            self._progress.started(self._key, self._name, size)
            self._tell()
            # What was lost since is taken back, and what an earlier run left is no progress.
            self._progress.has(self._key, there)

    def advances(self, count: int) -> None:
        """More has arrived.

        Raises:
            NetworkError: everything is to stop.
        """
        if self._stopped.is_set():
            raise self.stopped()
        with self._telling:
            self.received += count
            self._untold += count
            if time.monotonic() - self._told_at >= _TOLD_SECONDS:
                self._tell()

    def ends(self) -> None:
        """All has arrived."""
        with self._telling:
            self._tell()
        self._progress.finished(self._key)

    def starts_over(self, reason: str) -> None:
        """What had arrived is of no use."""
        self._progress.note(f"`{self._name}` starts over: {reason}")

    def asks_anew(self, reason: str) -> None:
        """An answer was of no use, and nothing had arrived."""
        self._progress.note(f"`{self._name}` is asked for anew: {reason}")

    def stopped(self) -> NetworkError:
        """Everything is to stop."""
        return stopped(self._name)

    def _tell(self) -> None:
        self._told_at = time.monotonic()
        if self._untold:
            self._progress.advanced(self._key, self._untold)
            self._untold = 0


class Awaited:
    """A file that another process may be fetching: who, and how far it is, by what it flushes."""

    def __init__(  # noqa: PLR0913 - a file, who is told of it, and when to stop
        self,
        progress: Progress,
        store: Store,
        key: str,
        name: str,
        *,
        size: int | None,
        stopped: threading.Event,
    ) -> None:
        self._progress = progress
        self._store = store
        self._key = key
        self._name = name
        self._size = size
        self._is_ours = False
        self._stopped = stopped
        self._there: int | None = None
        self._looked_at = 0.0

    def tell(self, holder: str) -> None:
        """Say who fetches it."""
        self._is_ours = holder == holder_text()
        if not self._is_ours:
            self._progress.note(f"waiting for `{self._name}`, which {holder} fetches")

    def heed(self) -> None:
        """Wait no more where everything is to stop.

        Raises:
            NetworkError: it is.
        """
        if self._stopped.is_set():
            raise stopped(self._name)

    def look(self) -> None:
        """Look how far it is, now and then; raises as `heed` does."""
        self.heed()
        now = time.monotonic()
        if self._is_ours or now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        there, size = self._store.arrived(self._key)
        if self._there is None:
            self._progress.awaited(self._key, self._name, self._size or size)
        if self._there is None or there < self._there:
            self._progress.has(self._key, there)
        elif there > self._there:
            self._progress.advanced(self._key, there - self._there)
        self._there = there


class RefusedError(NetworkError):
    """A server's refusal, which a client that has credentials may want to see.

    `wished` is how many seconds the server asks to wait, if it does.
    """

    def __init__(self, shown: str, answer: Answer) -> None:
        super().__init__(
            f"could not fetch `{shown}`",
            causes=(f"the server answered with status {answer.status}",),
            code="refused-by-server",
        )
        self.status = answer.status
        self.wished = pause_wished(answer.headers, time.time())
        self.reply = small_answer(answer)


def stopped(name: str) -> NetworkError:
    """A file is not waited for any more."""
    return NetworkError(f"fetching `{name}` was stopped", code=STOPPED)


def claim_of(key: str) -> str:
    """What a file without a known hash is claimed under while it arrives."""
    return hashlib.sha256(key.encode()).hexdigest()


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Those that are worth keeping with a page or file."""
    return {name: headers[name] for name in _KEPT_HEADERS if name in headers}


def small_answer(answer: Answer) -> BodyAnswer:
    """A refusal, passed on without its body, which could be of any size."""
    kept = {n: v for n, v in answer.headers.items() if n in {"content-type", "www-authenticate"}}
    return BodyAnswer(status=answer.status, headers=kept, body=b"")
