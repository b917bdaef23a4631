"""The store as an index, between real clients' sockets and indexes on real sockets."""

from __future__ import annotations

import functools
import hashlib
import http.client
import http.server
import json
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urljoin

import pytest

from provisioner.adapters._origin import Request
from provisioner.adapters.http import Http
from provisioner.adapters.leases import Leases
from provisioner.adapters.store import Store, StoredPage
from provisioner.core.digest import Digest
from provisioner.core.pages import ACCEPT
from provisioner.core.profile import CacheControl, Index
from provisioner.core.routes import Routes
from provisioner.workflow.package_index import PackageIndex
from provisioner.workflow.progress import Quiet
from provisioner.workflow.pull import Pull
from tests.simulators.asgi import SECONDS, Client, serving
from tests.simulators.index import JSON_TYPE, IndexSimulator
from tests.simulators.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LARGE = 24_000_000
MARK = "gpuenv-0123"
NAME = "demo-1.0-py3-none-any.whl"


@dataclass(kw_only=True)
class Bench:
    """An index of ours over a store, and what it has told."""

    client: Client
    store: Store
    pull: Pull
    notes: list[str] = field(default_factory=list)

    def page(self, project: str = "demo") -> dict[str, dict[str, object]]:
        """The files of a project, by name, their URLs made absolute."""
        answer = self.client.ask(f"/simple/{project}/", Accept=JSON_TYPE)
        body = answer.read()
        assert answer.status == 200, body
        files = {item["filename"]: item for item in json.loads(body)["files"]}
        for item in files.values():
            item["url"] = urljoin(f"/simple/{project}/", item["url"])
        return files

    def file(
        self, name: str = NAME, project: str = "demo", method: str = "GET", **headers: str
    ) -> http.client.HTTPResponse:
        """A file that a page lists."""
        return self.client.ask(str(self.page(project)[name]["url"]), method, **headers)


class Source(Protocol):
    """What has an index."""

    @property
    def index_url(self) -> str:
        """Where."""


@dataclass
class Plain:
    """A folder that a web server shows, which knows no hashes."""

    index_url: str


@contextmanager
def plain_server(
    folder: Path, kind: type[http.server.SimpleHTTPRequestHandler] | None = None
) -> Iterator[Plain]:
    """Show a folder."""
    handler = functools.partial(kind or QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Plain(f"http://127.0.0.1:{server.server_address[1]}/")
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """One that says nothing."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


class MovingHandler(QuietHandler):
    """One that has metadata elsewhere."""

    def do_GET(self) -> None:
        """Lead there."""
        if not self.path.endswith(".metadata") or self.path.startswith("/elsewhere/"):
            super().do_GET()
            return
        self.send_response(302)
        self.send_header("Location", f"/elsewhere{self.path}")
        self.send_header("Content-Length", "0")
        self.end_headers()


class HeadlessHandler(QuietHandler):
    """One that answers GET alone."""

    refusal = 405

    def do_HEAD(self) -> None:
        """Refuse."""
        self.send_response(self.refusal)
        self.send_header("Content-Length", "0")
        self.end_headers()


class FaultyHandler(QuietHandler):
    """One whose pages of some projects cannot be used."""

    def do_GET(self) -> None:
        """Answer with the fault that the project is named after."""
        fault = self.path.strip("/")
        lead = {"endless": "/endless/", "elsewhere": "ftp://127.0.0.1/"}.get(fault)
        if fault not in {"broken", "coded", "large"} and lead is None:
            super().do_GET()
            return
        body = b" " * ((64 << 20) + 1) if fault == "large" else b"no gzip"
        self.send_response(302 if lead else 500 if fault == "broken" else 200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        if lead:
            self.send_header("Location", lead)
        if fault == "coded":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Serve a store; each is like a new process."""
    open_now = []

    @contextmanager
    def opened(
        routes: Routes, *rules: Index, offline: bool, tries: int, patience: float
    ) -> Iterator[Bench]:
        store = Store(tmp_path / "store")
        store.open()
        http_ = Http({"NETRC": str(tmp_path / "none")}, connections=64, tries=tries, via=MARK)
        pull = Pull(store, http_, rules, Quiet(), offline=offline)
        notes: list[str] = []
        index = PackageIndex(
            pull, routes, notes.append, stuck_seconds=0.2, patience_seconds=patience, mark=MARK
        )
        try:
            with serving(index, quick=index.quick, is_held=index.is_held) as client:
                yield Bench(client=client, store=store, pull=pull, notes=notes)
                assert client.faults == []
                pull.close()
        finally:
            http_.close()

    def make_one(
        *sources: Source,
        offline: bool = False,
        api: str = "no-cache",
        tries: int = 1,
        patience: float = 5.0,
        flat: tuple[Source, ...] = (),
    ) -> Bench:
        urls = tuple(source.index_url for source in sources)
        rules = (Index(name="x", url=url, cache_control=CacheControl(api=api)) for url in urls)
        context = opened(
            Routes(order=urls, flat=tuple(source.index_url for source in flat)),
            *rules,
            offline=offline,
            tries=tries,
            patience=patience,
        )
        open_now.append(context)
        return context.__enter__()

    yield make_one
    for context in reversed(open_now):
        context.__exit__(None, None, None)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[IndexSimulator]:
    """An index in the manner of NVIDIA's, with one large file."""
    with IndexSimulator() as started:
        started.publish(make_wheel(tmp_path / "w", "demo", "1.0", requires=["dep"], size=LARGE))
        yield started


@pytest.fixture
def pypi(tmp_path: Path) -> Iterator[IndexSimulator]:
    """An index in the manner of PyPI."""
    with IndexSimulator("pypi") as started:
        wheel = make_wheel(tmp_path / "w2", "demo", "2.0", requires_python=">=3.9")
        started.publish(wheel, yanked="broken")
        started.publish(make_sdist(tmp_path / "w2", "demo", "3.0"))
        yield started


# Pages


def test_a_page_says_what_upstream_says_at_urls_of_ours(
    make: Callable[..., Bench], pypi: IndexSimulator
) -> None:
    bench = make(pypi)
    (wheel, sdist) = bench.page().values()
    upstream = pypi.requests[0]
    assert upstream.path == "/simple/demo/"
    assert str(wheel["url"]).startswith("/files/demo/")
    assert wheel["yanked"] == "broken"
    assert wheel["requires-python"] == ">=3.9"
    assert wheel["upload-time"] == "2024-01-01T00:00:00.000000Z"
    assert wheel["core-metadata"]
    assert sdist["size"]
    assert "core-metadata" not in sdist


def test_html_is_what_a_client_gets_that_names_no_form(
    make: Callable[..., Bench], index: IndexSimulator
) -> None:
    answer = make(index).client.ask("/simple/demo/")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["Vary"] == "Accept"
    assert f">{NAME}</a>".encode() in answer.read()


def test_a_client_that_has_the_page_gets_no_body(
    make: Callable[..., Bench], index: IndexSimulator
) -> None:
    bench = make(index)
    tag = bench.client.ask("/simple/demo/").headers["ETag"]
    assert bench.client.ask("/simple/demo/", If_None_Match=tag).status == 304
    other = bench.client.ask("/simple/demo/", If_None_Match=tag, Accept=JSON_TYPE)
    assert other.status == 200


def test_the_root_lists_what_was_asked_for(
    make: Callable[..., Bench], index: IndexSimulator
) -> None:
    bench = make(index)
    assert b"demo" not in bench.client.ask("/simple/").read()
    bench.page()
    answer = bench.client.ask("/simple/", Accept=JSON_TYPE)
    assert json.loads(answer.read())["projects"] == [{"name": "demo"}]


def test_another_spelling_of_a_name_is_led_to_the_page(
    make: Callable[..., Bench], index: IndexSimulator
) -> None:
    answer = make(index).client.ask("/simple/Demo")
    assert (answer.status, answer.headers["Location"]) == (301, "/simple/demo/")


def test_what_is_no_page_and_no_file_is_not_there(
    make: Callable[..., Bench], index: IndexSimulator
) -> None:
    bench = make(index)
    for path in ("/", "/VERSION", "/simple/absent/", f"/files/demo/{'ab' * 32}/{NAME}"):
        assert bench.client.ask(path).status == 404
    assert bench.client.ask("/simple/demo/", Accept="image/png").status == 406


def test_a_page_is_asked_for_anew_as_its_policy_says(
    make: Callable[..., Bench], index: IndexSimulator
) -> None:
    lasting = make(index, api="max-age=600")
    for _ in range(3):
        lasting.page()
    assert [request.status for request in index.requests] == [200]
    make(index).page()
    assert [request.status for request in index.requests] == [200, 304]


def test_the_first_index_that_has_a_project_is_the_only_one(
    make: Callable[..., Bench], index: IndexSimulator, pypi: IndexSimulator, tmp_path: Path
) -> None:
    pypi.publish(make_wheel(tmp_path / "w3", "other", "1.0"))
    bench = make(index, pypi)
    assert list(bench.page()) == [NAME]
    assert pypi.requests == []
    assert list(bench.page("other")) == ["other-1.0-py3-none-any.whl"]


@pytest.mark.parametrize("kind", ["text/plain", ""])
def test_a_page_that_cannot_be_read_is_no_project_without_files(
    make: Callable[..., Bench], index: IndexSimulator, tmp_path: Path, kind: str
) -> None:
    class Handler(QuietHandler):
        def send_header(self, keyword: str, value: str) -> None:
            if keyword != "Content-type":
                super().send_header(keyword, value)
            elif kind:
                super().send_header(keyword, kind)

    (tmp_path / "plain" / "demo").mkdir(parents=True)
    (tmp_path / "plain" / "demo" / "index.html").write_text("welcome")
    with plain_server(tmp_path / "plain", Handler) as odd:
        answer = make(odd, index).client.ask("/simple/demo/")
        assert answer.status == 424
        assert b"is no index page" in answer.read()
    assert index.requests == []
    # Nor where a build of uv was given it.
    bench = make(odd, api="max-age=600")
    url = f"{odd.index_url}demo/"
    headers = {"content-type": kind} if kind else {}
    kept = StoredPage(url=url, headers=headers, stored=time.time(), body=b"welcome")
    bench.store.keep_page(f"{url}\n{ACCEPT}", kept)
    assert bench.client.ask("/simple/demo/").status == 424


def test_a_flat_index_has_its_files_of_a_project_beside_the_others(
    make: Callable[..., Bench], index: IndexSimulator, tmp_path: Path
) -> None:
    (tmp_path / "plain").mkdir()
    names = ("demo-9.0-py3-none-any.whl", "other-1.0-py3-none-any.whl")
    (tmp_path / "plain" / "all.html").write_text(
        "".join(f'<a href="{name}#sha256={"ab" * 32}">{name}</a>' for name in names)
    )
    with plain_server(tmp_path / "plain") as folder:
        flat = Plain(f"{folder.index_url}all.html")
        for bench in (make(index, flat=(flat,)), make(flat, index), make(flat)):
            assert list(bench.page("other")) == [names[1]]
            assert bench.client.ask("/simple/absent/").status == 404
        assert list(make(index, flat=(flat,)).page()) == [NAME, names[0]]


def test_the_first_index_is_not_passed_over_where_it_is_not_well(
    make: Callable[..., Bench], index: IndexSimulator, pypi: IndexSimulator
) -> None:
    index.fail("/demo/", 503)
    bench = make(index, pypi)
    assert bench.client.ask("/simple/demo/").status == 424
    assert pypi.requests == []


def test_a_request_of_our_own_that_comes_back_is_no_question(
    make: Callable[..., Bench], index: IndexSimulator
) -> None:
    bench = make(index)
    bench.page()
    sent = index.requests[0].headers["via"]
    index.reset_log()
    assert bench.client.ask("/simple/demo/", Via=f"1.1 proxy, {sent}").status == 508
    assert index.requests == []


def test_pages_that_were_asked_for_last_are_in_memory_as_many_as_there_is_room_for(
    index: IndexSimulator, tmp_path: Path
) -> None:
    index.publish(make_wheel(tmp_path / "w", "other", "1.0"))
    store = Store(tmp_path / "store")
    store.open()
    http_ = Http({"NETRC": str(tmp_path / "none")}, connections=1)
    rule = Index(name="x", url=index.index_url, cache_control=CacheControl(api="max-age=600"))
    pull = Pull(store, http_, [rule], Quiet(), offline=False)
    ours = PackageIndex(pull, Routes(order=(index.index_url,)), print, memory_bytes=6000)
    demo, other = (
        Request(method="GET", url=f"/simple/{name}/", headers={}) for name in ("demo", "other")
    )
    for last, before in ((demo, other), (other, demo)):
        with ours.answer(last):
            pass
        assert ours.quick(last)
        assert ours.quick(before) is None
    ours.close()
    http_.close()


def test_a_page_that_says_what_is_no_text_is_served_all_the_same(
    make: Callable[..., Bench],
) -> None:
    class Handler(QuietHandler):
        def do_GET(self) -> None:
            file = {"filename": NAME, "url": NAME, "hashes": {}, "requires-python": "\ud800"}
            body = json.dumps({"meta": {"api-version": "1.0"}, "name": "demo", "files": [file]})
            self.send_response(200)
            self.send_header("Content-Type", JSON_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

    with plain_server(Path(), Handler) as source:
        bench = make(source)
        assert list(bench.page()) == [NAME]
        answer = bench.client.ask("/simple/demo/")
        assert answer.status == 200
        assert b'data-requires-python="?"' in answer.read()


# When upstream is down


def test_a_page_that_was_kept_does_while_its_index_is_down_which_is_told_once(
    make: Callable[..., Bench], index: IndexSimulator
) -> None:
    bench = make(index)
    before = bench.page()
    index.stop()
    assert bench.client.ask("/simple/other/").status == 424
    assert [bench.page() for _ in range(3)] == [before] * 3
    refused = bench.client.ask("/simple/another/")
    assert refused.status == 424
    assert b"cannot be reached" in refused.read()
    (note,) = bench.notes
    assert note.startswith(f"error: could not fetch `{index.index_url}other/`: ")
    assert note.endswith("until it can be reached, what is kept does instead")


@pytest.mark.parametrize("form", [ACCEPT, "text/html"])
def test_a_page_that_was_kept_does_while_its_index_says_nothing(
    make: Callable[..., Bench], index: IndexSimulator, form: str, tmp_path: Path
) -> None:
    first = make(index)
    before = first.page()
    key = f"{index.index_url}demo/"
    page = first.store.page(f"{key}\n{ACCEPT}")
    assert page
    for path in (first.store.root / "pages").iterdir():
        path.unlink()
    first.store.keep_page(f"{key}\n{form}", page)
    index.delay("/demo/", 3600.0)
    bench = make(index, tries=3, patience=0.2)
    assert [bench.page() for _ in range(2)] == [before] * 2
    # One that is slow is waited for where nothing was kept.
    index.publish(make_wheel(tmp_path / "w3", "other", "1.0"))
    assert bench.page("other")


@pytest.mark.parametrize("fault", ["broken", "coded", "large", "endless", "elsewhere"])
def test_one_page_that_cannot_be_had_does_not_keep_others_from_being_asked_for(
    make: Callable[..., Bench], tmp_path: Path, fault: str
) -> None:
    (tmp_path / "plain" / "demo").mkdir(parents=True)
    (tmp_path / "plain" / "demo" / "index.html").write_text("")
    with plain_server(tmp_path / "plain", FaultyHandler) as source:
        bench = make(source)
        assert bench.client.ask(f"/simple/{fault}/").status == 424
        assert bench.client.ask("/simple/demo/").status == 200


def test_offline_the_store_alone_is_served(
    make: Callable[..., Bench], index: IndexSimulator
) -> None:
    first = make(index)
    content = first.file().read()
    index.reset_log()
    offline = make(index, offline=True)
    assert offline.file().read() == content
    assert index.requests == []
    refused = offline.client.ask("/simple/absent/")
    assert refused.status == 424
    assert b"`--offline` forbids" in refused.read()


def test_without_any_page_the_files_that_are_held_are_listed(
    make: Callable[..., Bench], index: IndexSimulator
) -> None:
    first = make(index)
    content = first.file().read()
    for path in (first.store.root / "pages").iterdir():
        path.unlink()
    offline = make(index, offline=True)
    assert list(offline.page()) == [NAME]
    assert offline.file().read() == content


@pytest.mark.parametrize("held", [False, True])
def test_a_name_of_another_index_is_not_taken_while_its_own_is_down(
    make: Callable[..., Bench], index: IndexSimulator, pypi: IndexSimulator, *, held: bool
) -> None:
    public = make(pypi)
    other = public.page()["demo-2.0-py3-none-any.whl"]
    if held:
        public.file("demo-2.0-py3-none-any.whl").read()
    index.stop()
    for bench in (make(index, pypi), make(index)):
        assert bench.client.ask("/simple/demo/").status == 424
    assert bench.client.ask(str(other["url"])).status == 424
    offline = make(index, offline=True)
    assert offline.client.ask("/simple/demo/").status == 424


def test_offline_what_came_from_the_first_index_that_something_came_from_is_listed(
    make: Callable[..., Bench], index: IndexSimulator, pypi: IndexSimulator
) -> None:
    make(pypi).file("demo-2.0-py3-none-any.whl").read()
    assert list(make(index, pypi, offline=True).page()) == ["demo-2.0-py3-none-any.whl"]
    make(index).file().read()
    assert list(make(index, pypi, offline=True).page()) == [NAME]


# Files


def test_what_a_client_says_of_itself_is_not_passed_on(
    make: Callable[..., Bench], pypi: IndexSimulator
) -> None:
    name, sdist = "demo-2.0-py3-none-any.whl", "demo-3.0.tar.gz"
    pypi.omit_hash(sdist)
    bench = make(pypi)
    page = bench.page()
    said = {"Authorization": "Basic dG9rZW4=", "Cookie": "a=b", "Referer": "http://c.test/"}
    for path, method, headers in (
        ("/simple/other/", "GET", {}),
        (str(page[name]["url"]), "HEAD", {}),
        (str(page[name]["url"]), "GET", {"Range": "bytes=-9"}),
        (f"{page[name]['url']}.metadata", "GET", {}),
        (str(page[name]["url"]), "GET", {}),
        (str(page[sdist]["url"]), "HEAD", {}),
        (str(page[sdist]["url"]), "GET", {}),
    ):
        pypi.reset_log()
        bench.client.ask(path, method, **headers, **said).read()
        assert pypi.requests
        for request in pypi.requests:
            assert not {name.lower() for name in said} & request.headers.keys()


def test_a_file_is_for_good_and_has_its_hash_for_a_tag(
    make: Callable[..., Bench], index: IndexSimulator
) -> None:
    bench = make(index)
    for _ in range(2):
        answer = bench.file()
        digest = bench.page()[NAME]["hashes"]["sha256"]  # type: ignore[index]
        assert answer.headers["ETag"] == f'"{digest}"'
        assert "immutable" in answer.headers["Cache-Control"]
        assert len(answer.read()) > LARGE
    assert Digest(digest) in bench.store


def test_many_clients_that_wait_for_a_file_get_it_from_one_download(
    make: Callable[..., Bench], index: IndexSimulator
) -> None:
    bench = make(index)
    index.stall_at(NAME, LARGE // 2, times=None)
    answers = [bench.file()]
    first = answers[0].read(LARGE // 4)  # It is handed on while it arrives.
    answers += [bench.file() for _ in range(9)]
    index.heal()
    bodies = [first + answers[0].read(), *(answer.read() for answer in answers[1:])]
    assert {len(body) for body in bodies} == {len(bodies[0])}
    assert len(set(bodies)) == 1
    assert index.file_bytes_served(NAME) <= len(bodies[0]) + (1 << 20)


def test_a_client_that_leaves_does_not_end_the_download(
    make: Callable[..., Bench], index: IndexSimulator
) -> None:
    bench = make(index)
    index.stall_at(NAME, LARGE // 2, times=None)
    assert bench.file().read(1000)
    bench.client.open.pop().close()
    index.heal()
    assert len(bench.file().read()) > LARGE


def test_a_file_that_is_sent_is_in_use(make: Callable[..., Bench], index: IndexSimulator) -> None:
    bench = make(index)
    leases = Leases(bench.store.root)
    index.stall_at(NAME, LARGE // 2, times=None)
    answer = bench.file()
    assert answer.read(1000)
    assert len(leases.alive(time.time())) == 1
    index.heal()
    answer.read()
    end = time.monotonic() + SECONDS
    while leases.alive(time.time()) and time.monotonic() < end:
        time.sleep(0.01)
    assert leases.alive(time.time()) == ()


def test_clients_that_wait_for_a_file_keep_nobody_from_a_page(
    make: Callable[..., Bench], index: IndexSimulator, tmp_path: Path
) -> None:
    index.publish(make_wheel(tmp_path / "w", "other", "1.0"))
    bench = make(index)
    index.stall_at(NAME, LARGE // 2, times=None)
    url = bench.page()[NAME]["url"]
    with ExitStack() as stack:
        for _ in range(260):  # More than there are threads.
            made = stack.enter_context(socket.create_connection(("127.0.0.1", bench.client.port)))
            made.sendall(f"GET {url} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert made.recv(12) == b"HTTP/1.1 200"
        assert list(bench.page("other")) == ["other-1.0-py3-none-any.whl"]


@pytest.mark.parametrize(
    ("method", "headers", "status"), [("HEAD", {}, 200), ("GET", {"Range": "bytes=-1000"}, 206)]
)
def test_who_only_looks_at_a_file_does_not_have_it_fetched(
    make: Callable[..., Bench],
    index: IndexSimulator,
    method: str,
    headers: dict[str, str],
    status: int,
) -> None:
    bench = make(index)
    answer = bench.file(method=method, **headers)
    assert answer.status == status
    assert answer.headers["Cache-Control"] == "no-store"
    assert len(answer.read()) == (1000 if headers else 0)
    assert index.file_bytes_served() <= 1000


@pytest.mark.parametrize("status", [401, 403, 404, 503])
@pytest.mark.parametrize(("method", "headers"), [("HEAD", {}), ("GET", {"Range": "bytes=-9"})])
def test_a_refusal_of_upstream_is_told_and_not_passed_on(
    make: Callable[..., Bench],
    index: IndexSimulator,
    method: str,
    headers: dict[str, str],
    status: int,
) -> None:
    bench = make(index)
    index.fail(NAME, status, times=None)
    answer = bench.file(method=method, **headers)
    assert answer.status == 424
    assert method == "HEAD" or f"status {status}".encode() in answer.read()


@pytest.mark.parametrize("status", [403, 405, 501])
def test_a_file_whose_server_answers_no_head_has_one_all_the_same(
    make: Callable[..., Bench], tmp_path: Path, status: int
) -> None:
    class Handler(HeadlessHandler):
        refusal = status

    wheel = make_wheel(tmp_path / "plain" / "demo", "demo", "1.0")
    content = wheel.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    link = f'<a href="{wheel.name}#sha256={digest}">{wheel.name}</a>'
    (wheel.parent / "index.html").write_text(link)
    with plain_server(tmp_path / "plain", Handler) as source:
        bench = make(source)
        head = bench.file(method="HEAD")
        assert (head.status, head.headers["Content-Length"]) == (200, str(len(content)))
        assert head.headers["Cache-Control"] == "no-store"
        assert Digest(digest) not in bench.store
        assert bench.file().read() == content


def test_a_file_that_another_process_fetches_and_does_not_get_is_passed_on_all_the_same(
    make: Callable[..., Bench], index: IndexSimulator
) -> None:
    bench = make(index)
    item = bench.page()[NAME]
    url, digest = str(item["url"]), str(item["url"]).split("/")[3]
    with claimed(bench.store, digest):
        etag = f'"{digest}"'
        bodies = [
            bench.client.ask(url, **headers).read()
            for headers in ({}, {"Range": "bytes=9-", "If_Range": etag})
        ]
        index.corrupt(NAME)
        with pytest.raises(http.client.IncompleteRead):
            bench.client.ask(url).read()
    assert any("wrong hash" in note for note in bench.notes)
    index.heal()
    assert bodies == [bench.file().read()] * 2


@contextmanager
def claimed(store: Store, key: str) -> Iterator[None]:
    """Let another process have a claim."""
    code = (
        "import sys; from pathlib import Path; from provisioner.adapters.store import Store\n"
        "with Store(Path(sys.argv[1])).claim(sys.argv[2], print): print(flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(store.root), key]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        yield
        process.communicate("\n")


def test_a_download_that_broke_off_begins_anew_while_the_file_arrives(
    make: Callable[..., Bench], index: IndexSimulator
) -> None:
    bench = make(index)
    index.stall_at(NAME, LARGE // 2, times=None)
    tag = f'"{str(bench.page()[NAME]["url"]).split("/")[3]}"'
    resumed = [bench.file(Range=f"bytes={LARGE}-", If_Range=tag) for _ in range(2)]
    assert [(answer.status, len(answer.read(1000))) for answer in resumed] == [(200, 1000)] * 2
    index.heal()
    content = bench.file().read()
    assert [answer.read() for answer in resumed] == [content[1000:]] * 2
    there = bench.file(Range="bytes=1000-", If_Range=tag)
    assert (there.status, there.read()) == (206, content[1000:])


def test_a_client_that_has_a_file_gets_word_of_it_before_anything_is_fetched(
    make: Callable[..., Bench], index: IndexSimulator
) -> None:
    bench = make(index)
    tag = f'"{str(bench.page()[NAME]["url"]).split("/")[3]}"'
    index.reset_log()
    answer = bench.file(If_None_Match=tag)
    assert (answer.status, answer.headers["ETag"], answer.read()) == (304, tag, b"")
    assert index.gets(NAME) == 0
    assert len(bench.file(If_None_Match='"other"').read()) > LARGE


def test_other_bytes_than_the_page_names_are_never_served_whole(
    make: Callable[..., Bench], index: IndexSimulator, tmp_path: Path
) -> None:
    index.publish(make_wheel(tmp_path / "w", "small", "1.0"))
    index.corrupt("small-1.0-py3-none-any.whl")
    bench = make(index)
    answer = bench.file("small-1.0-py3-none-any.whl", "small")
    assert answer.status == 424
    assert b"has the wrong hash" in answer.read()
    assert any(note.startswith("error: ") and "wrong hash" in note for note in bench.notes)


def test_a_server_does_not_remember_every_file_that_it_could_not_give(
    make: Callable[..., Bench], index: IndexSimulator
) -> None:
    bench = make(index)
    index.corrupt(NAME)
    with pytest.raises(http.client.IncompleteRead):
        bench.file().read()
    assert any("wrong hash" in note for note in bench.notes)
    assert bench.pull.failures == ()


def test_a_file_that_is_held_needs_no_page(
    make: Callable[..., Bench], index: IndexSimulator
) -> None:
    first = make(index)
    url = str(first.page()[NAME]["url"])
    content = first.client.ask(url).read()
    index.reset_log()
    assert make(index).client.ask(url).read() == content
    assert index.requests == []


def test_a_name_that_comes_with_other_bytes_than_before_is_refused(
    make: Callable[..., Bench], index: IndexSimulator, tmp_path: Path
) -> None:
    bench = make(index)
    before = str(bench.page()[NAME]["url"])
    content = bench.file().read()
    index.publish(make_wheel(tmp_path / "w4", "demo", "1.0", files={"evil.py": b""}))
    answer = bench.file()
    assert answer.status == 424
    assert b"stands for other bytes than when it was first seen" in answer.read()
    assert bench.client.ask(before).read() == content  # What a lock has named stays right.


def test_there_is_no_way_around_the_hash_that_a_page_names(
    make: Callable[..., Bench], index: IndexSimulator
) -> None:
    first = make(index)
    hashed = str(first.page()[NAME]["url"])
    assert first.client.ask(hashed.replace(hashed.split("/")[3], "unhashed")).status == 404


def test_a_file_without_a_hash_is_kept_and_asked_about_each_time(
    make: Callable[..., Bench], tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path / "plain" / "demo", "demo", "1.0")
    (wheel.parent / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    with plain_server(tmp_path / "plain") as source:
        bench = make(source)
        item = bench.page()[NAME]
        assert item["url"] == f"/files/demo/unhashed/{NAME}"
        assert item["hashes"] == {}
        answer = bench.file()
        assert answer.read() == wheel.read_bytes()
        assert "immutable" not in answer.headers["Cache-Control"]


def test_a_file_without_a_hash_that_is_held_does_while_its_server_is_not_well(
    make: Callable[..., Bench], index: IndexSimulator
) -> None:
    index.omit_hash(NAME)
    bench = make(index)
    content = bench.file().read()
    index.fail(NAME, 503, times=None)
    assert bench.file().read() == content
    index.stop()
    assert bench.file().read() == content


# Metadata


def test_metadata_of_upstream_is_passed_on_and_kept(
    make: Callable[..., Bench], pypi: IndexSimulator
) -> None:
    name = "demo-2.0-py3-none-any.whl"
    bench = make(pypi)
    url = f"{bench.page()[name]['url']}.metadata"
    answer = bench.client.ask(url)
    assert b"Name: demo" in answer.read()
    assert "immutable" in answer.headers["Cache-Control"]
    pypi.reset_log()
    assert bench.client.ask(url, If_None_Match=answer.headers["ETag"]).status == 304
    assert pypi.requests == []
    assert pypi.file_bytes_served() == 0


def test_metadata_that_lie_elsewhere_are_found_there(
    make: Callable[..., Bench], tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path / "plain" / "demo", "demo", "1.0")
    body = b"Name: demo"
    elsewhere = tmp_path / "plain" / "elsewhere" / "demo"
    elsewhere.mkdir(parents=True)
    (elsewhere / f"{wheel.name}.metadata").write_bytes(body)
    of_wheel, of_body = (hashlib.sha256(b).hexdigest() for b in (wheel.read_bytes(), body))
    link = f'<a href="{NAME}#sha256={of_wheel}" data-core-metadata="sha256={of_body}">{NAME}</a>'
    (wheel.parent / "index.html").write_text(link)
    with plain_server(tmp_path / "plain", MovingHandler) as source:
        bench = make(source)
        url = f"{bench.page()[NAME]['url']}.metadata"
        assert bench.client.ask(url).read() == body
    assert bench.client.ask(url).read() == body  # It was kept.


def test_metadata_of_other_bytes_than_the_page_names_are_refused_and_not_kept(
    make: Callable[..., Bench], tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path / "plain" / "demo", "demo", "1.0")
    body = b"Name: demo"
    of_wheel, of_body = (hashlib.sha256(b).hexdigest() for b in (wheel.read_bytes(), body))
    link = f'<a href="{NAME}#sha256={of_wheel}" data-core-metadata="sha256={of_body}">{NAME}</a>'
    (wheel.parent / "index.html").write_text(link)
    beside = wheel.parent / f"{NAME}.metadata"
    beside.write_bytes(b"Name: evil")
    with plain_server(tmp_path / "plain") as source:
        bench = make(source)
        url = f"{bench.page()[NAME]['url']}.metadata"
        answer = bench.client.ask(url)
        assert answer.status == 424
        assert b"has the wrong hash" in answer.read()
        beside.write_bytes(body)
        assert bench.client.ask(url).read() == body


def test_a_wheel_that_is_held_has_metadata_and_a_size_though_its_index_tells_none(
    make: Callable[..., Bench], index: IndexSimulator
) -> None:
    first = make(index)
    item = first.page()[NAME]
    assert "core-metadata" not in item
    assert "size" not in item
    assert first.client.ask(f"{item['url']}.metadata").status == 404
    size = len(first.file().read())
    item = make(index).page()[NAME]
    assert item["size"] == size
    metadata = make(index).client.ask(f"{item['url']}.metadata").read()
    assert b"Requires-Dist: dep" in metadata
    assert item["core-metadata"]


def test_a_source_distribution_has_no_metadata_of_its_own(
    make: Callable[..., Bench], pypi: IndexSimulator
) -> None:
    bench = make(pypi)
    url = bench.page()["demo-3.0.tar.gz"]["url"]
    assert bench.client.ask(f"{url}.metadata").status == 404


@pytest.mark.parametrize("api", ["max-age=600", "no-store"])
def test_pages_are_asked_for_once_however_many_clients_wait(
    make: Callable[..., Bench], index: IndexSimulator, api: str
) -> None:
    bench = make(index, api=api)
    index.delay("/demo/", 0.3)
    threads = [threading.Thread(target=bench.page) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(index.requests) == 1
