"""Files and pages out of the store, and into it first where they are missing."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin

from provisioner.adapters._origin import (
    FAILED,
    ArrivingAnswer,
    BodyAnswer,
    FileAnswer,
    RelayAnswer,
    Request,
)
from provisioner.adapters.archives import check_archive
from provisioner.adapters.http import RETRY_STATUS
from provisioner.adapters.store import StoredPage
from provisioner.core.admission import is_clean, is_look_at_github
from provisioner.core.answers import strong_tag
from provisioner.core.digest import Digest
from provisioner.core.file_names import package_of
from provisioner.core.index_policy import SHIPPED, policy_for, subject_of
from provisioner.core.pages import (
    ACCEPT,
    PAGE_BYTES,
    is_file,
    is_routed,
    listed_files,
    named_files,
)
from provisioner.core.routes import Search
from provisioner.core.sizes import size_text
from provisioner.core.sources import LockedReleases
from provisioner.core.urls import file_name, without_secrets
from provisioner.errors import GpuenvError, NetworkError, PolicyError, SpaceError
from provisioner.workflow.deliveries import Deliveries
from provisioner.workflow.fetch import Fetcher
from provisioner.workflow.ledger import Ledger
from provisioner.workflow.looking_up import LookUp
from provisioner.workflow.wanted import (
    STOPPED,
    Awaited,
    RefusedError,
    Wanted,
    claim_of,
    kept_headers,
    small_answer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from provisioner.adapters._arrival import Arrival
    from provisioner.adapters._origin import Reply
    from provisioner.adapters.http import Http
    from provisioner.adapters.store import Store
    from provisioner.core.admission import Admission
    from provisioner.core.index_policy import Policy
    from provisioner.core.plan import FetchPlan, LockedFile
    from provisioner.core.profile import Index
    from provisioner.workflow.deliveries import Delivery
    from provisioner.workflow.progress import Progress

_CONDITIONS: Final = frozenset(
    {"if-none-match", "if-modified-since", "if-match", "if-unmodified-since", "if-range", "range"}
)
_OK: Final = 200
_MOVED: Final = 302
_SERVER_ERROR: Final = 500
_NOT_MODIFIED: Final = 304
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_ONLINE: Final = (
    "run `gpuenv prepare` once with a network, or `gpuenv store import` with a bundle from a "
    "machine that has one"
)
_REDIRECTS: Final = 5
# For a page that is asked for only in case a file is on it.
_LOOK_SECONDS: Final = 5.0
# What is connecting does not see that it has to stop.
_END_SECONDS: Final = 5.0


class Pull:
    """The one way by which anything comes from the network.

    It is the gateway's `Origin`, and fetches what a plan lacks. While `resolving`, index
    pages have to be as they are now, and a look at a file (HEAD, ranges) does not fetch it:
    a resolver looks at many versions and takes few. While building, pages that were kept do
    where the index cannot be reached, and what is looked at is going to be taken.
    """

    def __init__(  # noqa: PLR0913 - where from, where to, who is told, and two rules
        self,
        store: Store,
        http: Http,
        indexes: Iterable[Index],
        progress: Progress,
        *,
        offline: bool,
        check: Callable[[Path, str], None] = check_archive,
    ) -> None:
        """`check` is given each whole file and its name, and raises where it must not be kept."""
        self.because = "`--offline` forbids to fetch them"
        self.store = store
        self._http = http
        self._rules = (*indexes, *SHIPPED)
        self._progress = progress
        self.offline = offline
        self._known: dict[str, LockedFile] = {}
        self._counting = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}
        self._stopped = threading.Event()
        self._is_closed = False
        self._routes: tuple[Index, ...] = ()
        self.resolving = False
        # Pages and files that are kept do as they are, however old: for what was built before.
        self.keeps = False
        self.fetched: dict[Digest, int] = {}
        self.ledger = Ledger(store, progress.note)
        self._locked: set[Digest] = set()
        self._releases = LockedReleases()
        self._served: set[Digest] = set()
        self._watched: set[Digest] = set()
        self._tools: list[LockedFile] = []
        self.on_build_tools: Callable[[tuple[LockedFile, ...]], None] = lambda _: None
        self._failures: dict[str, GpuenvError] = {}
        self._admission: Admission | None = None
        self._refused: dict[str, None] = {}
        self._looking_up = LookUp(self._page_now, Search)
        self._sources: dict[str, None] = {}
        self._fetcher = Fetcher(store, http, progress, self._stopped, check)
        self._deliveries = Deliveries(self._bring)

    def know(self, files: Iterable[LockedFile]) -> None:
        """Learn which hash the file at a URL has; a lock's word comes first."""
        for file in files:
            self._known[file.key] = file
            self._locked.add(file.digest)
            self._releases.add(file)
            if file.index:
                self.admit([file.index])

    def expect(self, files: Iterable[LockedFile]) -> None:
        """Learn the same of files that are only looked at, as is what a build needs."""
        for file in files:
            self._known.setdefault(file.key, file)

    def restrict(self, admission: Admission, search: Callable[[], Search] = Search) -> None:
        """Answer for these indexes, what they name and what locks name, and for nothing else.

        `search` gives where to look for a file that no kept page names.
        """
        self._admission = admission
        self._looking_up = LookUp(self._page_now, search)

    def admit(self, indexes: Iterable[str]) -> None:
        """Answer for further indexes, where only some are answered for."""
        if self._admission is not None:
            with self._counting:
                self._admission = self._admission.with_places(indexes)

    def refusal(self, more: tuple[str, ...] = ()) -> PolicyError | None:
        """What clients asked for that no index names, if they did; `more` are further causes."""
        with self._counting:
            urls, sources = tuple(self._refused), tuple(self._sources)
            silent = self._looking_up.silent
        if not urls:
            return None
        built = (f"built were {', '.join(f'`{name}`' for name in sources)}",) if sources else ()
        return PolicyError(
            "a build asked for what is no package of an index in use",
            causes=(*(f"`{url}` was refused" for url in urls), *silent, *built, *more),
            hint="name its index in `[[tool.uv.index]]`, or the file itself as a dependency; "
            "what a build downloads otherwise, nobody can verify or keep",
            code="not-admitted",
        )

    def index_of(self, url: str) -> str | None:
        """The index whose page has named the file at a URL (without secrets), if one has."""
        file = self._known.get(url)
        return file.index if file else None

    def _index_at(self, key: str) -> str | None:
        """The index of a file, or of the file that metadata belong to."""
        return self.index_of(key.removesuffix(".metadata"))

    @property
    def build_tools(self) -> frozenset[Digest]:
        """What clients took while building that no lock names."""
        with self._counting:
            return frozenset(self._served - self._locked)

    def has_served(self, digest: Digest) -> bool:
        """Whether a client took a file while building: one that a cache of its own lacked."""
        with self._counting:
            return digest in self._served

    @contextmanager
    def watching(self) -> Iterator[set[Digest]]:
        """All that clients take while building, from now on until its end."""
        with self._counting:
            watched: set[Digest] = set()
            self._watched = watched
        yield watched

    def route(self, indexes: Iterable[Index]) -> None:
        """Let packages that an index claims come only from it, and no others.

        For what gpuenv resolves itself; in a project's own lock the index recorded there
        rules.
        """
        self._routes = tuple(index for index in indexes if index.packages)

    def fetch(self, plan: FetchPlan) -> None:
        """Fetch what is missing, several files at once, in the plan's order.

        Several failures are one error: the gravest, with the others as its causes.

        Raises:
            NetworkError: a file cannot be had; offline, all that are missing.
            IntegrityError: a file has another hash than its lock says, or its name had.
            SpaceError: the store is full.
        """
        with self.fetching(plan):
            pass

    @contextmanager
    def fetching(self, plan: FetchPlan) -> Iterator[None]:
        """Fetch what is missing while something else is done; after it all is there.

        What is under way when a file fails is finished and kept, and the failure is raised
        whatever came of the rest. What else ends it stops the fetch; what has arrived by then
        is gone on with by the next run.

        Raises:
            GpuenvError: as `fetch`.
        """
        every = (*plan.missing, *plan.held)
        self.ledger.check(every, mends=not self.offline, locked=self._locked)
        if plan.missing:
            if self.offline:
                raise missing_offline(plan.missing, self.because)
            self.store.require_writable(map(_comes_into_it, plan.missing))
            self._progress.planned({file.digest.hex: file.likely_size for file in plan.missing})
        self._stopped.clear()
        self._is_closed = False
        try:
            self._deliveries.plan(plan.missing)
            try:
                yield
                self._deliveries.wait()
                self.check()
            except Exception:
                # Looked at before the rest is stopped, which is no failure.
                failed = self._deliveries.failure is not None
                self._give_up(failed=failed)
                if failed and (failure := self._deliveries.failure):
                    raise failure from None  # With what has failed since.
                raise
        except KeyboardInterrupt:
            self.close()
            raise

    def page(self, url: str, accept: str = "", *, now: bool = False) -> tuple[str, BodyAnswer]:
        """An index page, as a build asks for it, and the URL that it led to; or a refusal.

        `now`: the index is asked whatever is kept, though only once and with little patience.

        Raises:
            NetworkError: the index cannot be reached.
        """
        for _ in range(_REDIRECTS):
            with self._page(_asking(url, accept), without_secrets(url), now=now) as given:
                assert isinstance(given, BodyAnswer)  # noqa: S101 - only a HEAD is passed on
                reply = given
            if reply.status != _MOVED:
                break
            url = urljoin(url, reply.headers["location"])
        return url, reply

    def _page_now(self, url: str) -> tuple[str, BodyAnswer]:
        return self.page(url, ACCEPT, now=True)

    def kept_page(self, url: str) -> StoredPage | None:
        """The same as it was kept, however long ago."""
        return self.store.page(_page_name(_asking(url)))

    def check(self) -> None:
        """Raise what a fetch that is under way has failed with, if it has."""
        if self._deliveries.failure is not None:
            raise self._deliveries.failure

    def _give_up(self, *, failed: bool) -> None:
        """Begin with nothing more, and wait for what is under way."""
        self._deliveries.cancel()
        # What else has failed says nothing of the files, but nobody waits for them any more.
        if not failed or self._stopped.is_set():
            self.close()
            return
        if self._deliveries.under_way:
            self._progress.note("a file failed; finishing those that are under way")
        self._deliveries.join()

    def close(self) -> None:
        """Stop what is under way."""
        self._is_closed = True
        self._stop()
        self._deliveries.cancel()
        self._deliveries.join(_END_SECONDS)

    def _stop(self) -> None:
        """Let everything end that fetches, or waits for bytes or another process."""
        self._stopped.set()
        self._http.abort()

    def blame_blobs(self, files: Iterable[LockedFile]) -> None:
        """Look for damage in blobs that a client could not use, and drop what is damaged.

        Raises:
            IntegrityError: some were damaged; the next run fetches them again.
        """
        self.ledger.blame(files)

    @contextmanager
    def answer(self, request: Request) -> Iterator[Reply]:
        """Answer a client of the gateway."""
        with ExitStack() as stack:
            reply: Reply
            # Around the answer alone: what the client does with it is no failure of ours.
            try:
                reply = stack.enter_context(self._reply(request))
            except RefusedError as refused:
                with self._counting:
                    self._failures[request.url] = refused
                reply = refused.reply
            except Exception as raised:  # noqa: BLE001 - or the client alone would see it
                error = self._failed(request, raised)
                reply = BodyAnswer(
                    status=FAILED,
                    headers={"content-type": "text/plain"},
                    body=f"{error.line}\n".encode(),
                )
            else:
                with self._counting:
                    # A client that came back with credentials got what it wanted.
                    self._failures.pop(request.url, None)
            yield reply

    @contextmanager
    def file(self, request: Request, file: LockedFile | None = None) -> Iterator[Reply]:
        """A file, of a known hash or not, for a package index over the store.

        Raises:
            GpuenvError: it cannot be had.
        """
        self._go_on()
        # Whoever goes on with a file that broke off is going to take all of it.
        looks = "if-range" not in request.headers
        with self._given(request, file, only_looks=looks, stale=True) as reply:
            yield reply

    def _given(
        self, request: Request, file: LockedFile | None, *, only_looks: bool, stale: bool
    ) -> AbstractContextManager[Reply]:
        """What is at a URL; `only_looks` is whether a look at a file does not fetch it.

        `stale`: a file that is kept does where its server is not well.
        """
        key = without_secrets(request.url)
        looks = request.method == "HEAD" or "range" in request.headers
        if looks and only_looks and not self._holds(file, key):
            return self.relay(request)
        if file:
            return self._hashed_file(request, file)
        if is_file(key):
            return self._unplanned_file(request, key, stale=stale)
        return self._page(request, key)

    def seconds_left(self, page: StoredPage) -> float:
        """For how long a kept page does without asking, by the policy of its index."""
        return self._policy(page).lifetime - self._age(page)

    def _go_on(self) -> None:
        """Begin anew after a full disk has stopped all, once nothing is under way."""
        if self._stopped.is_set() and not self._is_closed and not self._deliveries.under_way:
            self._stopped.clear()

    def _failed(self, request: Request, raised: Exception) -> GpuenvError:
        """Note why a client does not get what it asked for."""
        error = raised if isinstance(raised, GpuenvError) else _unexpected(raised)
        with self._counting:
            self._failures[request.url] = error
        return error

    @property
    def failures(self) -> tuple[GpuenvError, ...]:
        """Why clients did not get what they asked for, the first failure first.

        What was only stopped was so for another one.
        """
        return tuple(sorted(self._failures.values(), key=lambda error: error.code == STOPPED))

    def forget_failures(self) -> None:
        """Begin anew."""
        self._failures.clear()
        self._refused.clear()
        self._sources.clear()
        self._looking_up.forget()

    @contextmanager
    def _reply(self, request: Request) -> Iterator[Reply]:
        key = without_secrets(request.url)
        if not self._is_admitted(request, key):
            if is_look_at_github(key):
                yield BodyAnswer(status=_NOT_FOUND, headers={}, body=b"")
                return
            with self._counting:
                is_new = key not in self._refused
                self._refused[key] = None
            if is_new:
                self._progress.note(f"`{key}` is refused: it is no package of an index in use")
            yield BodyAnswer(status=_FORBIDDEN, headers={}, body=b"no package of an index in use\n")
            return
        file = self._known.get(key)
        if is_file(key):
            self._releases.refuse_other(key, file)
        resolving = self.resolving
        with self._given(request, file, only_looks=resolving, stale=not resolving) as reply:
            if not resolving and isinstance(reply, FileAnswer | ArrivingAnswer):
                self._serves(Digest(reply.tag), file)
            yield reply

    def _is_admitted(self, request: Request, key: str) -> bool:
        """Whether a URL is, or lies below, what counts, or an index that counts names it."""
        admission, base = self._admission, key.removesuffix(".metadata")
        if admission is None or self.offline or base in self._known:
            return True
        if admission.admits(request.url):
            return True
        if not (is_clean(request.url) and is_file(base)):
            return False
        if self.resolving and base.startswith("https://"):
            return True  # A dependency may be a URL.
        # A client may have kept a page that names it, and that is newer than ours.
        return self._is_linked(base, admission) or self._looking_up.names(base, admission)

    def _is_linked(self, key: str, admission: Admission) -> bool:
        """Whether a kept page names a file that counts."""
        package = package_of(file_name(key))

        def is_of_it(url: str) -> bool:
            return subject_of(url).package == package or url in admission.places

        return any(
            key == without_secrets(file.url)
            for page in self.store.pages_of(is_of_it)
            if admission.admits(page.url)
            for file in listed_files(page.body, page.headers, page.url)
        )

    def _holds(self, file: LockedFile | None, key: str) -> bool:
        """Whether the file at a URL is in the store; a page is for `_page` to judge."""
        if not is_file(key):
            return True
        return self._kept_file(key) is not None if file is None else file.digest in self.store

    @contextmanager
    def _hashed_file(self, request: Request, file: LockedFile) -> Iterator[Reply]:
        """A file that something named with its hash; handed on while it arrives."""
        subject = subject_of(file.key, index=file.index, is_hashed=True)
        cache_control = policy_for(subject, "", self._rules).cache_control
        with ExitStack() as stack:
            if delivery := self._delivery(file, request.headers):
                if request.method == "GET" and _may_get_all(request.headers):
                    following = stack.enter_context(delivery.follow())
                    if following:
                        yield ArrivingAnswer(
                            file=following.file,
                            size=following.size,
                            stops=self._told(request, following.stops()),
                            tag=file.digest.hex,
                            cache_control=cache_control,
                        )
                        return
                else:
                    delivery.wait()
            yield FileAnswer(
                path=self.store.blob(file.digest), tag=file.digest.hex, cache_control=cache_control
            )

    def _told(self, request: Request, stops: Iterator[int]) -> Iterator[int]:
        """The same, and what ends them early is noted."""
        try:
            yield from stops
        except Exception as error:
            self._failed(request, error)
            raise

    def _delivery(self, file: LockedFile, headers: Mapping[str, str]) -> Delivery | None:
        """A file on its way into the store; None for one that is there."""
        held = file.digest in self.ledger
        self.ledger.check([file], mends=not self.offline, locked=self._locked)
        if held:
            self._progress.finished(file.digest.hex)
            return None
        if self.offline:
            raise missing_offline([file], self.because)
        return self._deliveries.begin(file, headers)

    def _bring(self, delivery: Delivery) -> None:
        """Bring a file into the store; one process at a time fetches it."""
        file, key = delivery.file, delivery.file.digest.hex
        awaited = self._awaited(key, file.name, file.size)
        with self.store.claim(key, awaited.tell, awaited.look):
            if file.digest in self.store:
                self._progress.finished(key)
            else:
                wanted = Wanted(
                    name=file.name,
                    url=file.url,
                    size=file.size,
                    digest=file.digest,
                    index=file.index,
                )
                try:
                    self._receive(wanted, delivery.headers, delivery.shows)
                except SpaceError:
                    # The others would only fill it again.
                    self._stop()
                    raise

    def _awaited(self, key: str, name: str, size: int | None) -> Awaited:
        return Awaited(self._progress, self.store, key, name, size=size, stopped=self._stopped)

    def _receive(
        self,
        wanted: Wanted,
        headers: Mapping[str, str],
        show: Callable[[Arrival | None], None] = lambda _: None,
    ) -> Digest:
        """Fetch a claimed file."""
        self.store.require_writable([_comes_into_it(wanted)])
        # A client's ranges and conditions are about its own copy.
        passed = {name: headers[name] for name in headers if name == "authorization"}
        found, received = self._fetcher.fetch(wanted, passed, show)
        with self._counting:
            self.fetched[found] = received
        self.ledger.arrived(wanted.as_found(found), hashed=wanted.digest is not None)
        return found

    @contextmanager
    def _unplanned_file(self, request: Request, key: str, *, stale: bool) -> Iterator[Reply]:
        """A file that no lock and no page named with a hash.

        It is kept, but is not immutable: the server is asked whether it is still the same.
        """
        if self.offline and not self._kept_file(key):
            raise not_kept(key, self.because)
        awaited = self._awaited(claim_of(key), file_name(key), None)
        with self.store.claim(claim_of(key), awaited.tell, awaited.heed):
            kept = self._kept_file(key)
            if not (kept and self._is_current(request, kept, stale=stale)):
                wanted = Wanted(name=file_name(key), url=request.url, size=None, digest=None)
                digest = self._receive(wanted, request.headers)
                kept = StoredPage(
                    url=key, headers=wanted.headers, stored=time.time(), digest=digest
                )
                self.store.keep_page(key, kept)
        assert kept.digest is not None  # noqa: S101 - as `_kept_file` and `_receive` say
        yield FileAnswer(
            path=self.store.blob(kept.digest),
            tag=kept.digest.hex,
            cache_control=self._policy(kept).cache_control,
        )

    @property
    def _asks_nobody(self) -> bool:
        """Whether what is kept counts without asking whether it is still the same."""
        return self.offline or self.keeps

    def _kept_file(self, key: str) -> StoredPage | None:
        kept = self.store.page(key)
        return kept if kept and kept.digest and kept.digest in self.ledger else None

    def _is_current(self, request: Request, kept: StoredPage, *, stale: bool) -> bool:
        """Whether the server still has a file under the ETag that it had.

        `stale`: one that is not well is taken to have it.
        """
        if self._asks_nobody:
            return True
        asked = {k: v for k, v in request.headers.items() if k == "authorization"}
        try:
            with self._http.get(
                request.url,
                asked,
                method="HEAD",
                tries=1 if stale else None,
                seconds=_LOOK_SECONDS if stale else None,
            ) as answer:
                if stale and _is_unwell(answer.status):
                    return True
                tag = strong_tag(answer.headers)
                return answer.status == _OK and tag is not None and tag == kept.headers.get("etag")
        except NetworkError:
            if not stale:
                raise
            return True

    @contextmanager
    def _page(self, request: Request, key: str, *, now: bool = False) -> Iterator[Reply]:
        """An index page, or metadata of a file; revalidated as its policy says, or `now`."""
        if not is_routed(key, self._routes):
            yield BodyAnswer(status=_NOT_FOUND, headers={}, body=b"")
            return
        name = _page_name(request)
        # In turns: who comes second asks whether it changed, and not for all of it again.
        with self._turn(name):
            found = self._page_of(request, key, name, now=now)
        if found is None:
            with self.relay(request) as reply:
                yield reply
        else:
            yield found

    def _page_of(self, request: Request, key: str, name: str, *, now: bool) -> BodyAnswer | None:
        """A page, kept or as it is now; None for a look at what is not kept."""
        kept = self.store.page(name)
        is_due = now or not (kept and self._age(kept) < self._policy(kept).lifetime)
        if kept and (self.offline or not is_due or (self.keeps and not now)):
            return self._serve(kept)
        if self.offline:
            raise not_kept(key, self.because)
        if request.method == "HEAD":
            return None
        fetched = self._current(request, kept, now=now)
        if isinstance(fetched, BodyAnswer):
            return fetched
        # A dry run looks at pages without a store.
        if fetched is not kept and self.store.is_there:
            self.store.keep_page(name, fetched)
        return self._serve(fetched)

    def _turn(self, name: str) -> threading.Lock:
        with self._counting:
            return self._turns.setdefault(name, threading.Lock())

    def _current(
        self, request: Request, kept: StoredPage | None, *, now: bool
    ) -> StoredPage | BodyAnswer:
        """A page as it is now; while building, the kept one where the index is not well."""
        spare = None if self.resolving or now else kept
        try:
            fetched = self.ask(request, kept, seconds=_LOOK_SECONDS if now else None)
        except NetworkError:
            if spare is None:
                raise
            return spare
        if not isinstance(fetched, BodyAnswer):
            return fetched
        if spare and _is_unwell(fetched.status):
            return spare
        if fetched.status in RETRY_STATUS:
            # It was asked as often as it is worth: a client would only do so again.
            message = f"could not fetch `{without_secrets(request.url)}`"
            cause = f"the server answered with status {fetched.status}"
            raise NetworkError(
                message, causes=(cause,), hint="try again later", code="refused-by-server"
            )
        return fetched

    def ask(
        self, request: Request, kept: StoredPage | None, *, seconds: float | None = None
    ) -> StoredPage | BodyAnswer:
        """A page as it is now: the kept one, if it is still the same, or a refusal to pass on.

        With `seconds`, its server is asked only once, and may be silent for no longer.

        Raises:
            NetworkError: the index cannot be reached.
        """
        key = without_secrets(request.url)
        headers = {k: v for k, v in request.headers.items() if k not in _CONDITIONS}
        if kept and "etag" in kept.headers:
            headers["if-none-match"] = kept.headers["etag"]
        elif kept and "last-modified" in kept.headers:
            headers["if-modified-since"] = kept.headers["last-modified"]
        with self._http.get(
            request.url,
            headers,
            index=self._index_at(key),
            tries=None if seconds is None else 1,
            seconds=seconds,
        ) as answer:
            # A cache on the way may have kept it for a while already (RFC 9111, section 4.2.3).
            aged = answer.headers.get("age", "")
            stored = time.time() - (int(aged[:9]) if aged.isdecimal() else 0)
            if answer.status == _NOT_MODIFIED and kept:
                headers = {**kept.headers, **kept_headers(answer.headers)}
                return replace(kept, headers=headers, stored=stored)
            if answer.status != _OK:
                return small_answer(answer)
            body = bytearray()
            for block in answer.decoded:
                body += block
                if len(body) > PAGE_BYTES:
                    message = f"`{key}` is too large for an index page"
                    raise NetworkError(message, causes=(f"more than {PAGE_BYTES} bytes",))
            found = without_secrets(answer.url)
            if found != key:
                # A client has to know where it was led, or relative links lead it astray.
                moved = {"location": found, "cache-control": "no-cache"}
                return StoredPage(url=key, headers=moved, stored=stored)
            return StoredPage(
                url=key, headers=kept_headers(answer.headers), stored=stored, body=bytes(body)
            )

    @contextmanager
    def relay(self, request: Request) -> Iterator[RelayAnswer]:
        """What the server answers, kept by nobody.

        Raises:
            NetworkError: it cannot be reached.
        """
        key = without_secrets(request.url)
        if self.offline:
            raise not_kept(key, self.because)
        with self._http.get(
            request.url, request.headers, method=request.method, index=self._index_at(key)
        ) as answer:
            yield RelayAnswer(status=answer.status, headers=answer.headers, blocks=answer.blocks)

    def _serve(self, page: StoredPage) -> BodyAnswer:
        """A real page, as fresh as it is, and what it says of files."""
        for file in named_files(page.body, page.headers, page.url):
            self._known.setdefault(file.key, file)
        if "location" in page.headers:
            if self._admission is not None:
                with self._counting:
                    self._admission = self._admission.with_urls([page.headers["location"]])
            return BodyAnswer(status=_MOVED, headers=page.headers, body=b"")
        headers = {**page.headers, "cache-control": self._policy(page).cache_control}
        age = int(self._age(page))
        return BodyAnswer(
            status=_OK, headers={**headers, "age": str(age)} if age else headers, body=page.body
        )

    def _policy(self, page: StoredPage) -> Policy:
        said = page.headers.get("cache-control", "")
        return policy_for(subject_of(page.url), said, self._rules)

    def _age(self, page: StoredPage) -> float:
        return max(0.0, time.time() - page.stored)

    def _serves(self, digest: Digest, file: LockedFile | None = None) -> None:
        if self.resolving:
            return
        with self._counting:
            is_new = digest not in self._served
            self._served.add(digest)
            self._watched.add(digest)
            if file and not file.name.endswith(".whl"):
                self._sources[file.name] = None
            if file and is_new and digest not in self._locked:
                self._tools.append(file)
                self.on_build_tools(tuple(self._tools))


def _asking(url: str, accept: str = "") -> Request:
    return Request(method="GET", url=url, headers={"accept": accept} if accept else {})


def _is_unwell(status: int) -> bool:
    """Whether an answer says less of what was asked for than of its server."""
    return status >= _SERVER_ERROR or status in RETRY_STATUS


def _page_name(request: Request) -> str:
    """What a page is kept under: pages come in several formats under one URL."""
    return f"{without_secrets(request.url)}\n{request.headers.get('accept', '')}"


def _may_get_all(headers: Mapping[str, str]) -> bool:
    """Whether a client may be sent all of a file without knowing more of it.

    One that goes on with a file may be (RFC 9110, section 14.2), and need not wait for the part
    that it lacks.
    """
    stands = _CONDITIONS & headers.keys()
    return not stands or stands == {"range", "if-range"}


def _comes_into_it(file: LockedFile | Wanted) -> str:
    return f"`{file.name}` would have to be fetched into it"


def missing_offline(files: Iterable[LockedFile], because: str) -> NetworkError:
    """What the store lacks while offline: name, size, hash and URL of each file."""
    return NetworkError(
        f"the store lacks files, and {because}",
        causes=tuple(
            f"`{file.name}` ({'size unknown' if file.size is None else size_text(file.size)}, "
            f"sha256 {file.digest}) from {file.key}"
            for file in files
        ),
        hint=_ONLINE,
        code="missing-offline",
    )


def not_kept(key: str, because: str) -> NetworkError:
    """A page or file that was never kept, asked for while offline."""
    return NetworkError(
        f"the store lacks index pages or files, and {because}",
        causes=(f"`{key}`",),
        hint=_ONLINE,
        code="missing-offline",
    )


def _unexpected(raised: Exception) -> GpuenvError:
    """A fault that nobody foresaw, which still has to be told."""
    return GpuenvError(
        "the gateway could not answer",
        causes=(f"{type(raised).__name__}: {raised}",),
        code="gateway-failed",
    )
