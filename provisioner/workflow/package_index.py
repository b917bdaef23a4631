"""The store as a package index: pages and files by URLs of its own, fetched where missing."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

from provisioner.adapters._origin import (
    FAILED,
    ArrivingAnswer,
    BodyAnswer,
    FileAnswer,
    RelayAnswer,
    Request,
)
from provisioner.adapters.leases import Leases
from provisioner.adapters.records import Records
from provisioner.adapters.wheels import metadata_of
from provisioner.core import served
from provisioner.core.accept import page_type
from provisioner.core.digest import Digest
from provisioner.core.entity import is_named
from provisioner.core.file_names import package_of, release_of
from provisioner.core.first_seen import index_of_page
from provisioner.core.index_policy import IMMUTABLE, REVALIDATE, subject_of
from provisioner.core.pages import ACCEPT, JSON_PAGE, has_form_of_page, listed_files
from provisioner.core.plan import LockedFile
from provisioner.core.routes import project_page
from provisioner.core.simple_index import (
    ListedFile,
    html_page,
    html_root,
    json_page,
    json_root,
)
from provisioner.core.urls import is_below, is_same_index, origin, plain, without_secrets
from provisioner.errors import GpuenvError, IntegrityError, NetworkError
from provisioner.workflow.pull import not_kept
from provisioner.workflow.wanted import claim_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from provisioner.adapters._origin import Reply
    from provisioner.adapters.store import StoredPage
    from provisioner.core.blob_record import Origin
    from provisioner.core.routes import Route, Routes
    from provisioner.workflow.pull import Pull

# What is in memory is compared with the store so often, which others may have filled.
_LOOK_SECONDS: Final = 30.0
# How long an index that could not be reached is not asked again.
_DOWN_SECONDS: Final = 30.0
# How long it may be silent where a page that was kept would do.
_PATIENCE_SECONDS: Final = 5.0
# What listings in memory may take, and about how much a file in one does.
_MEMORY_BYTES: Final = 64 << 20
_FILE_BYTES: Final = 2500
# After how long another process that fetches a file and gets nothing is not waited for: it may
# ask us for that very file. What it has it brings to the disk, and so to our eyes, each second.
_STUCK_SECONDS: Final = 3.0
_POLL_SECONDS: Final = 0.1
_MOST_MOVES: Final = 5
_UNREACHABLE: Final = "unreachable"
_OK: Final = 200
_NOT_MODIFIED: Final = 304
_NOT_FOUND: Final = 404
_ABSENT: Final = frozenset({404, 410})
# What servers say that answer no HEAD; signed URLs are for GET alone.
_NO_HEADS: Final = frozenset({403, 405, 501})
_RELAYED: Final = frozenset({200, 206, 304, 416})
_LOOP: Final = 508


class Listing:
    """The files of a project: as its pages have them, and as clients are told.

    Its pages are written when they are first asked for, in each form once.
    """

    def __init__(
        self, project: str, files: Iterable[tuple[ListedFile, ListedFile, str | None]]
    ) -> None:
        """`files` are as upstream lists them, as they are served, and the index of each."""
        every = tuple(files)
        self.project = project
        self._served = tuple(given for _, given, _ in every)
        self._known = {(file.name, file.digest): (file, index) for file, _, index in every}

    def find(self, name: str, digest: Digest | None) -> tuple[ListedFile, str | None] | None:
        """A file as upstream lists it, and its index."""
        return self._known.get((name, digest))

    @cached_property
    def html(self) -> _Page:
        """The page as HTML."""
        return _Page(html_page(self.project, self._served))

    @cached_property
    def json(self) -> _Page:
        """The page as JSON."""
        releases = {found[1] for file in self._served if (found := release_of(file.name))}
        return _Page(json_page(self.project, self._served, sorted(releases)))

    def written(self, kind: str) -> _Page | None:
        """A page of a content type, if it was written already."""
        page = self.__dict__.get("json" if kind == JSON_PAGE else "html")
        return page if isinstance(page, _Page) else None

    @property
    def weight(self) -> int:
        """About how many bytes it takes."""
        return _FILE_BYTES * (len(self._served) + 1)


class _Page:
    """A page that was written, and its hash."""

    def __init__(self, text: str) -> None:
        # JSON can say what is no text, such as half of a pair of surrogates.
        self.body = text.encode("utf-8", "replace")
        self.tag = f'"{hashlib.sha256(self.body).hexdigest()}"'

    def answer(self, request: Request, kind: str) -> BodyAnswer:
        """Answer with it, or with word that the client has it."""
        headers = {"etag": self.tag, "cache-control": REVALIDATE, "vary": "Accept"}
        if is_named(self.tag, request.headers.get("if-none-match")):
            return BodyAnswer(status=_NOT_MODIFIED, headers=headers, body=b"")
        shown = f"{kind}; charset=utf-8" if kind == "text/html" else kind
        return BodyAnswer(status=_OK, headers={**headers, "content-type": shown}, body=self.body)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """A listing in memory, None where there is no such project; `made` and good until then."""

    listing: Listing | None
    made: float
    until: float

    def serves(self, arrived: float, now: float) -> bool:
        """Whether it does for somebody who came at a time, and may have waited for it."""
        return now < self.until or arrived <= self.made


class PackageIndex:
    """The `Origin` of `gpuenv serve`; its requests have paths for URLs.

    Answers the same whoever asks, and keeps no more in memory the longer it runs.
    """

    def __init__(  # noqa: PLR0913 - what it serves, whom it tells, and two rules
        self,
        pull: Pull,
        routes: Routes,
        note: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        stuck_seconds: float = _STUCK_SECONDS,
        patience_seconds: float = _PATIENCE_SECONDS,
        memory_bytes: int = _MEMORY_BYTES,
        mark: str = "",
    ) -> None:
        """`note` is told what is worth a line; `clock` is in seconds.

        `stuck_seconds` is how long another process that fetches a file may get nothing of it,
        `patience_seconds` how long an index may be silent where a kept page would do, and
        `memory_bytes` about how much the listings in memory may take.
        `mark` stands in the `Via` of what the pull asks, so that we know our own requests.
        """
        self._pull = pull
        self._store = pull.store
        self._routes = routes
        self._note = note
        self._clock = clock
        self._leases = Leases(pull.store.root)
        self._memory = _Memory(memory_bytes)
        self._turns = _Turns()
        self._down: dict[tuple[str, bool], float] = {}
        self._outages: dict[str, _DownError] = {}
        self._held = _Held(pull.store.root, *pull.store.lower)
        self._held_until = 0.0
        self._looking = threading.Lock()
        self._ended = threading.Event()
        self._stuck_seconds = stuck_seconds
        self._patience_seconds = patience_seconds
        self._mark = mark

    def close(self) -> None:
        """Stop what is under way."""
        self._ended.set()
        self._pull.close()

    @contextmanager
    def answer(self, request: Request) -> Iterator[Reply]:
        """Answer a client."""
        with ExitStack() as stack:
            try:
                reply = stack.enter_context(self._reply(request))
            except GpuenvError as error:
                if not isinstance(error, _DownError):
                    self._tell(error)
                reply = _text(FAILED, error.line)
            yield reply

    def quick(self, request: Request) -> BodyAnswer | None:
        """The page of a project that is in memory, written and fresh."""
        place = served.place_of(request.url)
        known = self._memory.get(place.name) if isinstance(place, served.Project) else None
        if known is None or known.listing is None or known.until <= self._clock():
            return None
        kind = page_type(request.headers.get("accept"))
        page = known.listing.written(kind) if kind else None
        return page.answer(request, kind) if page and kind else None

    @contextmanager
    def _reply(self, request: Request) -> Iterator[Reply]:
        place = served.place_of(request.url)
        if self._mark and self._mark in request.headers.get("via", ""):
            yield _text(_LOOP, "an index that this server asks leads back to it")
        elif isinstance(place, served.Moved):
            yield BodyAnswer(status=301, headers={"location": place.path}, body=b"")
        elif isinstance(place, served.File) and place.is_metadata:
            yield self._metadata(request, place)
        elif isinstance(place, served.File):
            with self._leases.working(), self._file(request, place) as reply:
                yield reply
        elif place is None:
            yield _text(_NOT_FOUND, "there is nothing by this name")
        else:
            yield self._index_page(request, place)

    def _tell(self, error: GpuenvError) -> None:
        self._note(f"error: {error.line}")

    # Pages

    def _index_page(self, request: Request, place: served.Root | served.Project) -> BodyAnswer:
        kind = page_type(request.headers.get("accept"))
        if kind is None:
            return _text(406, f"pages are text/html and {JSON_PAGE}")
        if isinstance(place, served.Root):
            names = self._names()
            page = _Page(json_root(names) if kind == JSON_PAGE else html_root(names))
        else:
            listing = self._listing(place.name)
            if listing is None:
                return _text(_NOT_FOUND, f"no index has `{place.name}`")
            page = listing.json if kind == JSON_PAGE else listing.html
        return page.answer(request, kind)

    def _names(self) -> list[str]:
        """The projects that the store knows of."""
        kept = (subject_of(url) for url in self._store.page_urls())
        roots = {plain(index) for index in self._routes.indexes}
        names = {
            subject.package
            for subject in kept
            if subject.kind == "page" and plain(subject.url) not in roots
        }
        return sorted(filter(None, names | self._of_blobs().keys()))

    def _listing(self, project: str) -> Listing | None:
        """The files of a project as they are now; None where no index has it.

        Raises:
            NetworkError: that cannot be told.
        """
        arrived = self._clock()
        known = self._memory.get(project)
        if known is None or not known.serves(arrived, arrived):
            with self._turns.of(project):
                known = self._memory.get(project)
                if known is None or not known.serves(arrived, self._clock()):
                    known = self._renewed(project)
                    self._memory.put(project, known)
        return known.listing

    def _renewed(self, project: str) -> _Known:
        route = self._routes.of(project)
        pages: list[StoredPage] = []
        every: list[tuple[ListedFile, str]] = []
        found = False
        for index in (*route.flat, *route.indexes):
            url = index if index in route.flat else project_page(index, project)
            try:
                page = self._page(url)
            except NetworkError as error:
                # What stands behind it may be another project of the same name.
                return self._held_instead(project, route, index, error)
            if page is None:
                continue
            pages.append(page)
            files = [
                (file, index_of_page(page.url))
                for file in listed_files(page.body, page.headers, page.url)
                # A flat one lists all projects.
                if served.may_be_served(file.name)
                and (url != index or package_of(file.name) == project)
            ]
            every += files
            found = found or bool(files) or url != index
            if url != index and not route.together:
                break
        of_names = {file.name: (file, index) for file, index in reversed(every)}
        lasts = min((self._seconds_left(page) for page in pages), default=_LOOK_SECONDS)
        return _Known(
            listing=self._listing_of(project, of_names.values()) if found else None,
            made=(now := self._clock()),
            until=now + min(max(0.0, lasts), _LOOK_SECONDS),
        )

    def _held_instead(self, project: str, route: Route, failed: str, error: NetworkError) -> _Known:
        """What is held of a project where an index cannot be asked for it.

        That is what came from this index; offline, from the first one that something came from.

        Raises:
            NetworkError: nothing is, namely `error`.
        """
        every = self._of_blobs().get(project, ())
        counts: Iterable[tuple[str, ...]] = [route.indexes if route.together else (failed,)]
        if self._pull.offline and not route.together:
            counts = [(index,) for index in route.indexes]
        held = next((found for urls in counts if (found := _of_indexes(every, urls))), None)
        if held is None:
            raise error
        if not (self._pull.offline or isinstance(error, _DownError)):
            self._note(f"listing what is held of `{project}` alone: {error.line}")
        files = {file.name: (file, None) for file in reversed(held)}
        return _Known(
            listing=self._listing_of(project, files.values()),
            made=(now := self._clock()),
            until=now + _LOOK_SECONDS,
        )

    def _seconds_left(self, page: StoredPage) -> float:
        """A kept page that cannot be asked for anew does for a while."""
        is_all = self._pull.offline or self._is_down(page.url, patiently=False)
        return _LOOK_SECONDS if is_all else self._pull.seconds_left(page)

    def _listing_of(self, project: str, files: Iterable[tuple[ListedFile, str | None]]) -> Listing:
        return Listing(
            project,
            sorted(
                ((file, self._as_served(project, file), index) for file, index in files),
                key=lambda item: item[0].name,
            ),
        )

    def _as_served(self, project: str, file: ListedFile) -> ListedFile:
        """A file with our URL, and with what a blob tells that its page does not."""
        size, metadata = file.size, file.metadata
        if file.digest and (size is None or metadata is None):
            size = size if size is not None else self._store.size(file.digest) or None
            own = None if metadata else self._own_metadata(file.name, file.digest)
            metadata = metadata or (_hash(own) if own is not None else None)
        return replace(file, url=served.file_url(project, file), size=size, metadata=metadata)

    def _own_metadata(self, name: str, digest: Digest) -> bytes | None:
        """The metadata of a wheel that is held."""
        if not name.endswith(".whl") or digest not in self._store:
            return None
        return metadata_of(self._store.blob(digest))

    def _page(self, url: str, moves: int = 0) -> StoredPage | None:
        """A page of an index, as fresh as its policy demands; None where there is none.

        One that was kept does where the index cannot be reached.
        """
        key = without_secrets(url)
        name = f"{key}\n{ACCEPT}"
        found = self._store.page(name)
        page = kept = found if found and _is_usable(found) else None
        if kept is None or self._pull.seconds_left(kept) <= 0:
            patiently = kept is None and self._newest(key) is None
            if self._pull.offline or self._is_down(url, patiently=patiently):
                page = self._in_any_form(key, self._lacking(key))
            else:
                page = self._asked(url, name, kept, patiently=patiently)
        if page is None or "location" not in page.headers:
            return page
        if moves == _MOST_MOVES:
            raise _endless(key)
        return self._page(page.headers["location"], moves + 1)

    def _asked(
        self, url: str, name: str, kept: StoredPage | None, *, patiently: bool
    ) -> StoredPage | None:
        """A page as its index has it now, else as it was kept."""
        try:
            request = Request(method="GET", url=url, headers={"accept": ACCEPT})
            seconds = None if patiently else self._patience_seconds
            found = self._pull.ask(request, kept, seconds=seconds)
            if isinstance(found, BodyAnswer) and found.status not in _ABSENT:
                raise _refused(url, found.status)
            if not (isinstance(found, BodyAnswer) or _is_usable(found)):
                raise _unusable(url, found.headers)
        except NetworkError as error:
            # Any other answer says something of this page alone.
            if error.code == _UNREACHABLE:
                error = self._went_down(url, error, patiently=patiently)
                return self._in_any_form(without_secrets(url), error)
            spare = self._in_any_form(without_secrets(url), error)
            self._note(f"a page that was kept does instead: {error.line}")
            return spare
        if isinstance(found, BodyAnswer):
            return None
        for how in (True, False):
            self._down.pop((origin(url), how), None)
        self._outages.pop(origin(url), None)
        if found is not kept:
            self._store.keep_page(name, found)
        return found

    def _went_down(self, url: str, error: NetworkError, *, patiently: bool) -> _DownError:
        """Note once, until it is well again, that an index cannot be reached."""
        self._down[origin(url), patiently] = self._clock() + _DOWN_SECONDS
        found = _DownError.of(error)
        if self._outages.setdefault(origin(url), found) is found:
            self._note(f"error: {error.line}; until it can be reached, what is kept does instead")
        return found

    def _in_any_form(self, key: str, error: NetworkError) -> StoredPage:
        """What was kept last under a URL, whoever asked for it.

        Raises:
            NetworkError: nothing was, namely `error`.
        """
        found = self._newest(key)
        if found is None:
            raise error
        return found

    def _newest(self, key: str) -> StoredPage | None:
        every = self._store.pages_of(lambda url: url == key)
        pages = (page for page in every if not page.digest and _is_usable(page))
        return max(pages, key=lambda page: page.stored, default=None)

    def _lacking(self, key: str) -> NetworkError:
        """That a page was never kept, which cannot be asked for now."""
        if self._pull.offline:
            return not_kept(key, self._pull.because)
        return _DownError.of(not_kept(key, "its index cannot be reached"))

    def _is_down(self, url: str, *, patiently: bool) -> bool:
        """Whether an index could not be reached; who asks patiently may reach one that is slow."""
        counts = {True, patiently}
        return any(self._down.get((origin(url), how), 0.0) > self._clock() for how in counts)

    # Files

    @contextmanager
    def _file(self, request: Request, place: served.File) -> Iterator[Reply]:
        with ExitStack() as stack:
            reply: Reply
            found = self._in_memory(place)
            # What is held by that hash needs no page.
            digest = None if found else self._held_blob(place)
            if not (found or digest):
                found = self._find(place)
            if found is not None and found[0].url:
                reply = stack.enter_context(self._of_upstream(request, *found))
            elif digest := digest or self._held_blob(place):
                reply = FileAnswer(
                    path=self._store.blob(digest), tag=digest.hex, cache_control=IMMUTABLE
                )
            else:
                reply = _text(_NOT_FOUND, f"no page of `{place.project}` lists `{place.name}`")
            yield reply

    def is_held(self, request: Request) -> bool:
        """Whether a request is for a file that can be sent without waiting for anybody."""
        place = served.place_of(request.url)
        if not isinstance(place, served.File) or place.is_metadata or place.digest is None:
            return False
        if self._in_memory(place):
            return place.digest in self._pull.ledger
        return self._held_blob(place) is not None

    @contextmanager
    def _of_upstream(
        self, request: Request, file: ListedFile, index: str | None
    ) -> Iterator[Reply]:
        named = None
        if file.digest:
            tag = f'"{file.digest.hex}"'
            if is_named(tag, request.headers.get("if-none-match")):
                # Nothing has to be there to say so.
                headers = {"etag": tag, "cache-control": IMMUTABLE}
                yield BodyAnswer(status=_NOT_MODIFIED, headers=headers, body=b"")
                return
            named = LockedFile(
                name=file.name, url=file.url, digest=file.digest, size=file.size, index=index
            )
        asked = Request(method=request.method, url=file.url, headers=_passed(request.headers))
        whole = request.method == "GET" and (
            "if-range" in asked.headers or "range" not in asked.headers
        )
        if whole and self._waits_in_vain(file):
            with self._pull.relay(replace(asked, headers={})) as reply:
                yield self._checked(reply, file)
            return
        with ExitStack() as stack:
            found = stack.enter_context(self._pull.file(asked, named))
            if isinstance(found, ArrivingAnswer):
                yield replace(found, stops=self._told(found.stops))
            elif not isinstance(found, RelayAnswer):
                yield found
            elif request.method == "HEAD" and found.status in _NO_HEADS:
                stack.close()
                head = stack.enter_context(self._pull.relay(replace(asked, method="GET")))
                yield _passed_on(replace(head, blocks=iter(())), file.url)
            else:
                yield _passed_on(found, file.url)

    def _waits_in_vain(self, file: ListedFile) -> bool:
        """Whether another process fetches a file, and gets no more of it; waits until then."""
        if file.digest and file.digest in self._store:
            return False
        key = file.digest.hex if file.digest else claim_of(without_secrets(file.url))
        there, since = -1, self._clock()
        while not self._ended.is_set() and self._store.claimant(key):
            now, _ = self._store.arrived(key)
            if now != there:
                there, since = now, self._clock()
            elif self._clock() - since > self._stuck_seconds:
                return True
            self._ended.wait(_POLL_SECONDS)
        return False

    def _checked(self, reply: RelayAnswer, file: ListedFile) -> RelayAnswer:
        """A whole file that is passed on; its last piece only once its hash is right."""

        def blocks() -> Iterator[bytes]:
            found, last = hashlib.sha256(), b""
            for block in reply.blocks:
                found.update(block)
                if last:
                    yield last
                last = block
            if file.digest and found.hexdigest() != file.digest.hex:
                error = _wrong_hash(file.name, file.digest, found.hexdigest())
                self._tell(error)
                raise error
            if last:
                yield last

        return replace(_passed_on(reply, file.url), blocks=blocks())

    def _told(self, stops: Iterator[int]) -> Iterator[int]:
        """The same, and what ends them early is told."""
        try:
            yield from stops
        except GpuenvError as error:
            self._tell(error)
            raise
        finally:
            self._pull.forget_failures()

    def _find(self, place: served.File) -> tuple[ListedFile, str | None] | None:
        """A file as a page lists it: the one in memory, then a kept one, then that of now."""
        if found := self._in_memory(place):
            return found
        try:
            listing = self._listing(place.project)
        except NetworkError:
            if self._held_blob(place):
                return None
            raise
        return listing.find(place.name, place.digest) if listing else None

    def _in_memory(self, place: served.File) -> tuple[ListedFile, str | None] | None:
        known = self._memory.get(place.project)
        return known.listing.find(place.name, place.digest) if known and known.listing else None

    def _held_blob(self, place: served.File) -> Digest | None:
        """The blob that came under this name from an index of this project, if it is held."""
        every = self._of_blobs().get(place.project, ())
        own = _of_indexes(every, self._routes.of(place.project).indexes)
        known = any((file.name, file.digest) == (place.name, place.digest) for file in own)
        return place.digest if known and place.digest in self._pull.ledger else None

    def _of_blobs(self) -> Mapping[str, tuple[_HeldFile, ...]]:
        """The files that are held, by project; looked for now and then."""
        with self._looking:  # One looks for all.
            if self._clock() >= self._held_until:
                self._held.look()
                self._held_until = self._clock() + _LOOK_SECONDS
        return self._held.files

    # Metadata

    def _metadata(self, request: Request, place: served.File) -> BodyAnswer:
        if not place.name.endswith(".whl"):
            return _text(_NOT_FOUND, "only wheels have metadata of their own")
        found = self._find(place)
        expected = found[0].metadata if found else None
        if place.digest and (found or self._held_blob(place)):
            own = self._own_metadata(place.name, place.digest)
            if own is not None and expected in {None, _hash(own)}:
                return _metadata_answer(request, own)
        if found is None or expected is None:
            return _text(_NOT_FOUND, f"there is no metadata of `{place.name}`")
        return _metadata_answer(request, self._upstream_metadata(found[0], expected))

    def _upstream_metadata(self, file: ListedFile, expected: Digest) -> bytes:
        """What lies beside a file on its index, with the hash that its page names."""
        url = f"{file.url}{served.METADATA}"
        name = f"{without_secrets(url)}\n"
        kept = self._store.page(name)
        if kept and _hash(kept.body) == expected:
            return kept.body
        if self._pull.offline:
            raise not_kept(without_secrets(url), self._pull.because)
        at = url
        for _ in range(_MOST_MOVES):
            found = self._pull.ask(Request(method="GET", url=at, headers={}), None)
            if isinstance(found, BodyAnswer):
                raise _refused(at, found.status)
            if "location" not in found.headers:
                break
            at = found.headers["location"]
        else:
            raise _endless(url)
        if _hash(found.body) != expected:
            raise _wrong_hash(file.name + served.METADATA, expected, _hash(found.body).hex)
        self._store.keep_page(name, replace(found, url=without_secrets(url)))
        return found.body


@dataclass(frozen=True, kw_only=True, slots=True)
class _HeldFile:
    """A file that is held, and where it came from under its name."""

    name: str
    digest: Digest
    origin: Origin


def _of_indexes(held: Iterable[_HeldFile], indexes: Iterable[str]) -> list[ListedFile]:
    """The files that came from one of several indexes, those of the first index first."""
    every = tuple(held)
    return [
        ListedFile(name=file.name, url="", digest=file.digest)
        for index in indexes
        for file in every
        if is_same_index(file.origin.index or "", index) or is_below(file.origin.url, index)
    ]


class _Held:
    """The files that are held, by what the records of their blobs say."""

    def __init__(self, *roots: Path) -> None:
        self._records = tuple(map(Records, roots))
        self.files: Mapping[str, tuple[_HeldFile, ...]] = {}

    def look(self) -> None:
        """Look anew."""
        found: dict[str, list[_HeldFile]] = {}
        for records in self._records:
            for digest, record, _ in records.every():
                for item in record.origins if record else ():
                    package = package_of(item.name)
                    if package and served.may_be_served(item.name):
                        file = _HeldFile(name=item.name, digest=digest, origin=item)
                        found.setdefault(package, []).append(file)
        self.files = {name: tuple(files) for name, files in found.items()}


class _Memory:
    """Listings, those that were asked for last, as many as there is room for."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._changing = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._weight = 0

    def get(self, project: str) -> _Known | None:
        """What is known of a project."""
        with self._changing:
            known = self._known.get(project)
            if known is not None:
                self._known.move_to_end(project)
            return known

    def put(self, project: str, known: _Known) -> None:
        """Keep it, and forget others."""
        with self._changing:
            self._forget(project)
            self._known[project] = known
            self._weight += _weight(known)
            while self._weight > self._most_bytes and len(self._known) > 1:
                self._forget(next(iter(self._known)))

    def _forget(self, project: str) -> None:
        known = self._known.pop(project, None)
        if known is not None:
            self._weight -= _weight(known)


def _weight(known: _Known) -> int:
    return known.listing.weight if known.listing else _FILE_BYTES


class _Turns:
    """Locks by name, each as long as somebody has or wants it."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Be the only one at it."""
        with self._changing:
            lock, count = self._locks.get(name, (threading.Lock(), 0))
            self._locks[name] = (lock, count + 1)
        try:
            with lock:
                yield
        finally:
            with self._changing:
                lock, count = self._locks.pop(name)
                if count > 1:
                    self._locks[name] = (lock, count - 1)


class _DownError(NetworkError):
    """An index cannot be reached, which is told when it is first noticed."""

    @classmethod
    def of(cls, error: NetworkError) -> _DownError:
        """The same in its words."""
        return cls(error.message, causes=error.causes, hint=error.hint, code=error.code)


def _refused(url: str, status: int) -> NetworkError:
    message = f"could not fetch `{without_secrets(url)}`"
    return NetworkError(
        message,
        causes=(f"the server answered with status {status}",),
        code="refused-by-server",
    )


def _is_usable(page: StoredPage) -> bool:
    """Whether a page can be read, or leads on; one that lists nothing would hide others."""
    return "location" in page.headers or has_form_of_page(page.headers)


def _unusable(url: str, headers: Mapping[str, str]) -> NetworkError:
    kind = headers.get("content-type")
    message = f"`{without_secrets(url)}` is no index page"
    cause = f"its content type is `{kind}`" if kind else "it has no content type"
    return NetworkError(message, causes=(cause,), code="unusable-answer")


def _endless(url: str) -> NetworkError:
    message = f"`{without_secrets(url)}` leads from one place to another without an end"
    return NetworkError(message, code="too-many-redirects")


def _wrong_hash(name: str, expected: Digest, found: str) -> IntegrityError:
    message = f"`{name}` has the wrong hash"
    cause = f"expected sha256 `{expected}`, got `{found}`"
    return IntegrityError(message, causes=(cause,), code="wrong-hash")


def _text(status: int, words: str) -> BodyAnswer:
    headers = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store"}
    return BodyAnswer(status=status, headers=headers, body=f"{words}\n".encode())


def _hash(body: bytes) -> Digest:
    return Digest(hashlib.sha256(body).hexdigest())


def _metadata_answer(request: Request, body: bytes) -> BodyAnswer:
    tag = f'"{_hash(body)}"'
    headers = {"etag": tag, "cache-control": IMMUTABLE}
    if is_named(tag, request.headers.get("if-none-match")):
        return BodyAnswer(status=_NOT_MODIFIED, headers=headers, body=b"")
    headers["content-type"] = "application/octet-stream"
    return BodyAnswer(status=_OK, headers=headers, body=body)


def _passed(headers: Mapping[str, str]) -> dict[str, str]:
    """What of a client's request is about the file; its token is for us alone."""
    wanted = ("range", "if-range")
    return {name: headers[name] for name in wanted if name in headers}


def _passed_on(reply: RelayAnswer, url: str) -> RelayAnswer:
    """A file that only passes through: nobody has compared its hash, nor may keep it.

    Raises:
        NetworkError: it is a refusal, which is about us and not about the client.
    """
    if reply.status not in _RELAYED:
        raise _refused(url, reply.status)
    kept = ("content-length", "content-range", "content-type", "accept-ranges")
    headers = {name: reply.headers[name] for name in kept if name in reply.headers}
    return replace(reply, headers={**headers, "cache-control": "no-store"})
