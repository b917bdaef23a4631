"""The gateway answers for indexes that count and what they name, and for nothing else."""

from __future__ import annotations

import http.server
import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters._origin import BodyAnswer, Request
from provisioner.adapters.http import Http
from provisioner.adapters.store import Store
from provisioner.core.admission import Admission
from provisioner.core.digest import Digest
from provisioner.core.plan import LockedFile
from provisioner.core.profile import Index
from provisioner.core.routes import Routes, Search
from provisioner.errors import PolicyError
from provisioner.workflow.progress import Quiet
from provisioner.workflow.pull import Pull
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WHEEL = "demo-1.0-py3-none-any.whl"


class Told(Quiet):
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class Pages:
    """An index of a few lines: `answer` gives status, location and the files that are listed."""

    def __init__(self, port: int, asked: list[str]) -> None:
        self.asked = asked
        self.index_url = f"http://127.0.0.1:{port}/simple/"


@contextmanager
def pages(answer: Callable[[str], tuple[int, str, tuple[str, ...]]]) -> Iterator[Pages]:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, location, files = answer(self.path)
            items = [{"filename": url, "url": url, "hashes": {}} for url in files]
            body = json.dumps({"files": items}).encode()
            if status == 0:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.pypi.simple.v1+json")
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Pages(server.server_port, asked)
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[IndexSimulator]:
    """An index whose files lie beside its pages."""
    with IndexSimulator("pypi") as server:
        server.publish(make_wheel(tmp_path, "demo", "1.0"))
        yield server


@pytest.fixture
def told() -> Told:
    """What is noted."""
    return Told()


@pytest.fixture
def pull(tmp_path: Path, index: IndexSimulator, told: Told) -> Iterator[Pull]:
    """What answers for that index alone."""
    store = Store(tmp_path / "store")
    store.open()
    http = Http({}, connections=4)
    made = Pull(store, http, (), told, offline=False)
    made.restrict(Admission().with_places([index.index_url]))
    yield made
    made.close()
    http.close()


def status_of(pull: Pull, url: str, method: str = "GET") -> int:
    """The status of an answer; 200 for a file."""
    with pull.answer(Request(method=method, url=url, headers={})) as reply:
        return getattr(reply, "status", 200)


def test_pages_below_the_index_and_what_they_name_are_answered(
    pull: Pull, index: IndexSimulator
) -> None:
    assert status_of(pull, f"{index.index_url}demo/") == 200
    assert status_of(pull, f"{index.file_url(WHEEL)}.metadata") == 200
    assert status_of(pull, index.file_url(WHEEL)) == 200
    assert pull.refusal() is None


def test_a_file_is_looked_up_where_a_client_has_kept_its_page(
    pull: Pull, index: IndexSimulator
) -> None:
    assert status_of(pull, index.file_url(WHEEL), "HEAD") == 200
    assert status_of(pull, index.file_url(WHEEL)) == 200
    assert [r.path for r in index.requests if r.filename != WHEEL] == ["/simple/demo/"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "path",
    ["", "other/", "simple/../other", "simple/%2e%2e/other", "files/demo-9.0-py3-none-any.whl"],
)
def test_what_no_index_names_is_refused_and_asked_of_nobody(
    path: str, method: str, pull: Pull, index: IndexSimulator
) -> None:
    url = f"{index.url}/{path}"

    assert status_of(pull, url, method) == 403

    assert url.removeprefix(index.url) not in {request.path for request in index.requests}
    refusal = pull.refusal()
    assert isinstance(refusal, PolicyError)
    assert (refusal.exit_code, refusal.code) == (8, "not-admitted")
    assert refusal.causes == (f"`{url}` was refused",)
    assert refusal.hint
    assert pull.failures == ()


def test_an_index_that_is_admitted_later_is_answered_for(pull: Pull, index: IndexSimulator) -> None:
    pull.restrict(Admission())
    assert status_of(pull, f"{index.index_url}demo/") == 403
    pull.admit([index.index_url])
    assert status_of(pull, f"{index.index_url}demo/") == 200


def test_a_file_that_a_lock_names_is_answered_and_so_is_its_index(
    pull: Pull, index: IndexSimulator, tmp_path: Path
) -> None:
    pull.restrict(Admission())
    import hashlib

    content = next(tmp_path.glob("*.whl")).read_bytes()
    pull.know(
        [
            LockedFile(
                name=WHEEL,
                url=index.file_url(WHEEL),
                digest=Digest(hashlib.sha256(content).hexdigest()),
                size=None,
                index=index.index_url,
            )
        ]
    )
    assert status_of(pull, index.file_url(WHEEL)) == 200
    assert status_of(pull, f"{index.index_url}demo/") == 200


def test_while_resolving_a_dependency_may_be_a_url_over_https_and_no_other(pull: Pull) -> None:
    pull.resolving = True
    https = status_of(pull, "https://127.0.0.1:9/demo-1.0-py3-none-any.whl")
    http = status_of(pull, "http://127.0.0.1:9/demo-1.0-py3-none-any.whl")
    assert (https, http) == (424, 403)


def test_where_an_index_leads_elsewhere_that_page_counts_too(
    pull: Pull, index: IndexSimulator
) -> None:
    url = f"{index.index_url}Demo/"
    with pull.answer(Request(method="GET", url=url, headers={})) as reply:
        assert isinstance(reply, BodyAnswer)
        led = reply.headers["location"]
    pull.restrict(Admission().with_urls([led]))
    assert status_of(pull, led) == 200
    assert status_of(pull, f"{index.index_url}helper/") == 403


def test_after_a_redirect_the_target_is_admitted_by_itself(
    pull: Pull, index: IndexSimulator
) -> None:
    with pull.answer(Request(method="GET", url=f"{index.index_url}Demo/", headers={})) as reply:
        assert isinstance(reply, BodyAnswer)
        assert reply.status == 302
        led = reply.headers["location"]
    assert status_of(pull, led) == 200


@pytest.mark.parametrize("keeps", [False, True])
def test_a_client_may_know_a_newer_page_than_the_one_that_is_kept(
    pull: Pull, index: IndexSimulator, tmp_path: Path, *, keeps: bool
) -> None:
    from provisioner.core.pages import JSON_PAGE

    accept = f"{JSON_PAGE}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
    page = Request(method="GET", url=f"{index.index_url}demo/", headers={"accept": accept})
    with pull.answer(page) as kept:
        assert isinstance(kept, BodyAnswer)
        assert "max-age=600" in kept.headers["cache-control"]
    index.publish(make_wheel(tmp_path, "demo", "1.1"))
    pull.keeps = keeps

    assert status_of(pull, index.file_url("demo-1.1-py3-none-any.whl")) == 200

    with pull.answer(page) as now:
        assert isinstance(now, BodyAnswer)
        assert b"demo-1.1" in now.body


def test_a_file_is_looked_up_where_its_index_leads_elsewhere(
    pull: Pull, index: IndexSimulator
) -> None:
    with pages(lambda path: (302, index.url + path, ())) as front:
        pull.restrict(
            Admission().with_places([front.index_url]),
            lambda: Search(routes=Routes(order=(front.index_url,))),
        )
        assert status_of(pull, index.file_url(WHEEL)) == 200


def test_an_index_that_leads_on_without_an_end_names_nothing(pull: Pull) -> None:
    with pages(lambda path: (302, f"{path}x/", ())) as front:
        pull.restrict(Admission().with_places([front.index_url]))
        origin = front.index_url.removesuffix("simple/")
        assert status_of(pull, f"{origin}files/{WHEEL}") == 403
        assert pull.refusal()


def test_the_name_of_a_package_is_told_to_no_index_but_those_that_may_have_it(
    pull: Pull, index: IndexSimulator
) -> None:
    """The host of the file first; where it has the package, no other is asked at all."""
    with pages(lambda _: (404, "", ())) as other:
        places = [other.index_url, index.index_url]
        search = Search(routes=Routes(order=(other.index_url, index.index_url)))
        pull.restrict(Admission().with_places(places), lambda: search)

        assert status_of(pull, index.file_url(WHEEL)) == 200
        assert status_of(pull, f"{index.url}/files/demo-9.0-py3-none-any.whl") == 403

        assert other.asked == []


def test_a_file_elsewhere_is_looked_up_in_the_order_of_the_client(pull: Pull) -> None:
    """Neither in an explicit index nor in one that is for other packages."""
    there = "http://127.0.0.1:9/files/demo-1.0-py3-none-any.whl"
    with (
        pages(lambda _: (200, "", (there,))) as explicit,
        pages(lambda _: (200, "", (there,))) as bound,
        pages(lambda _: (404, "", ())) as first,
        pages(lambda _: (200, "", ("other-1.0.zip",))) as second,
        pages(lambda _: (200, "", (there,))) as third,
    ):
        every = [one.index_url for one in (explicit, bound, first, second, third)]
        routes = Routes(
            claims=(Index(name="bound", url=bound.index_url, packages=("torch",)),),
            order=tuple(every[2:]),
        )
        admission = Admission().with_places(every)

        pull.restrict(admission, lambda: Search(routes=routes))
        assert status_of(pull, there) == 403
        assert [one.asked for one in (explicit, bound, third)] == [[], [], []]
        assert first.asked == second.asked == ["/simple/demo/"]

        pull.restrict(admission, lambda: Search(routes=routes, only_first=False))
        assert status_of(pull, there) == 424  # Admitted, though nobody listens there.
        assert third.asked == ["/simple/demo/"]


def test_an_index_that_does_not_answer_is_asked_once_and_named(pull: Pull) -> None:
    """Nor are those after it told a name that may be one of its own."""
    with pages(lambda _: (0, "", ())) as dead, pages(lambda _: (404, "", ())) as public:
        places = [dead.index_url, public.index_url]
        # As a lock may spell it.
        routes = Routes(locked={"demo": (places[0].rstrip("/"),)}, order=tuple(places))
        pull.restrict(Admission().with_places(places), lambda: Search(routes=routes))
        for name in ("demo-1.0.tar.gz", "demo-1.0.tar.gz", "other-1.0.tar.gz"):
            assert status_of(pull, f"http://127.0.0.1:9/{name}") == 403

        assert dead.asked == ["/simple/demo/"]
        assert public.asked == []
        refusal = pull.refusal()
        assert refusal
        assert f"{dead.index_url}demo/" in refusal.causes[2]


def test_a_refusal_is_told_when_it_happens_once_for_each_url(pull: Pull, told: Told) -> None:
    for name in ("a.zip", "a.zip", "b.zip"):
        status_of(pull, f"https://elsewhere.test/{name}")
    assert [note.split("`")[1] for note in told.notes] == [
        "https://elsewhere.test/a.zip",
        "https://elsewhere.test/b.zip",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "https://api.github.com/repos/foo/bar/commits/HEAD",
        "https://api.github.com/repos/foo/bar/commits/feature/x",
        "https://raw.githubusercontent.com/foo/bar/0123456789abcdef/pyproject.toml",
        "https://raw.githubusercontent.com/foo/bar/0123456789abcdef/lib/pyproject.toml",
    ],
)
def test_uv_is_sent_from_github_to_git_without_a_word(url: str, pull: Pull, told: Told) -> None:
    assert status_of(pull, url) == 404
    assert told.notes == []
    assert pull.refusal() is None
    assert pull.failures == ()


@pytest.mark.parametrize(
    "url",
    [
        "https://api.github.com/repos/foo/bar/releases",
        "https://api.github.com.test/repos/foo/bar/commits/HEAD",
        "https://raw.githubusercontent.com/foo/bar/main/model.bin",
    ],
)
def test_what_else_a_build_asks_github_for_is_refused(url: str, pull: Pull) -> None:
    assert status_of(pull, url) == 403
    assert pull.refusal() is not None
