"""Files that are handed on while they arrive, over real sockets on both sides."""

from __future__ import annotations

import base64
import http.client
import select
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from provisioner.adapters.archives import check_archive
from provisioner.adapters.certificates import CertificateAuthority
from provisioner.adapters.gateway import Gateway
from provisioner.adapters.http import Http
from provisioner.adapters.store import Store
from provisioner.core.digest import Digest
from provisioner.core.plan import FetchPlan, LockedFile, plan_fetch
from provisioner.errors import IntegrityError, NetworkError, ToolError
from provisioner.workflow.deliveries import FILES_AT_ONCE, HELD_BACK_BYTES
from provisioner.workflow.progress import Quiet
from provisioner.workflow.pull import Pull
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.simulators.index import PublishedFile

NAME = "demo-1.0-py3-none-any.whl"
LARGE = 24_000_000
HALF = LARGE // 2
SECONDS = 60.0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of several parts."""
    return make_wheel(tmp_path_factory.mktemp("large"), "demo", "1.0", size=LARGE)


@dataclass(kw_only=True)
class Bench:
    """A store, an index with one large file, and a gateway between it and the clients."""

    folder: Path
    store: Store
    index: IndexSimulator
    published: PublishedFile
    pull: Pull
    gateway: Gateway
    open: list[http.client.HTTPConnection] = field(default_factory=list)

    @property
    def file(self) -> LockedFile:
        """The large file, as a lock names it."""
        return self.locked(self.published)

    @property
    def content(self) -> bytes:
        """What the large file holds."""
        return self.published.content.read_bytes()

    def locked(self, file: PublishedFile) -> LockedFile:
        """A published file as a lock for NVIDIA's index names it: without a size."""
        return LockedFile(
            name=file.filename,
            url=self.index.file_url(file.filename),
            digest=Digest.parse(file.sha256),
            size=None,
        )

    def publish(self, name: str, size: int = 1000) -> LockedFile:
        """One more wheel."""
        return self.locked(
            self.index.publish(make_wheel(self.folder / "w", name, "1.0", size=size))
        )

    def ask(
        self, file: LockedFile, method: str = "GET", **headers: str
    ) -> http.client.HTTPResponse:
        """Ask the gateway for a file; the answer's head has come."""
        proxy = urlsplit(self.gateway.variables["HTTP_PROXY"])
        token = base64.b64encode(f"{proxy.username}:{proxy.password}".encode()).decode()
        assert proxy.hostname is not None
        connection = http.client.HTTPConnection(proxy.hostname, proxy.port, timeout=SECONDS)
        self.open.append(connection)
        sent = {"Proxy-Authorization": f"Basic {token}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, file.url, headers=sent)
        return connection.getresponse()

    def in_the_middle(self, file: LockedFile) -> http.client.HTTPResponse:
        """Let the file arrive to its half and no further, and get what there is of it."""
        self.index.stall_at(file.name, HALF, times=None)
        answer = self.ask(file)
        assert answer.read(HALF // 2) == self.content[: HALF // 2]
        assert file.digest not in self.store
        return answer


@pytest.fixture
def make_bench(wheel: Path, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Open a gateway to an index that has the wheel, and close all afterwards."""
    made: list[Bench] = []

    @contextmanager
    def opened(check: Callable[[Path, str], None]) -> Iterator[Bench]:
        store = Store(tmp_path / "store")
        store.open()
        client = Http({"NETRC": str(tmp_path / "none")}, connections=64, stall_seconds=2.0)
        pull = Pull(store, client, (), Quiet(), offline=False, check=check)
        with IndexSimulator() as index, Gateway(pull, CertificateAuthority()) as gateway:
            bench = Bench(
                folder=tmp_path,
                store=store,
                index=index,
                published=index.publish(wheel),
                pull=pull,
                gateway=gateway,
            )
            pull.know([bench.file])
            made.append(bench)
            try:
                yield bench
            finally:
                client.close()
                pull.close()
                for connection in bench.open:
                    connection.close()

    contexts = []

    def make(check: Callable[[Path, str], None] = check_archive) -> Bench:
        context = opened(check)
        contexts.append(context)
        return context.__enter__()

    yield make
    for context in contexts:
        context.__exit__(None, None, None)


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """One that judges archives as the command does."""
    return make_bench()


def missing(*files: LockedFile) -> FetchPlan:
    """A plan for a store that has nothing, in this order."""
    return FetchPlan(missing=files, held=())


def fetchers() -> set[str]:
    """The threads of this process that fetch."""
    return {thread.name for thread in threading.enumerate() if "_run" in thread.name}


def fetch_beside(bench: Bench, client: Callable[[], None], *files: LockedFile) -> None:
    """Fetch while a client does something."""
    with bench.pull.fetching(missing(*files)):
        client()


# Handing on


def test_a_large_file_is_handed_on_while_it_arrives(bench: Bench) -> None:
    answer = bench.in_the_middle(bench.file)
    assert answer.status == 200
    assert answer.headers["ETag"] == f'"{bench.file.digest.hex}"'
    assert answer.headers["Content-Length"] == str(bench.published.size)
    assert "immutable" in answer.headers["Cache-Control"]
    bench.index.heal()
    assert answer.read() == bench.content[HALF // 2 :]
    assert bench.file.digest in bench.store
    assert bench.index.file_bytes_served(NAME) <= bench.published.size + (1 << 20)


def test_many_who_ask_for_a_file_that_arrives_all_get_it_from_one_download(bench: Bench) -> None:
    first = bench.in_the_middle(bench.file)
    others = [bench.ask(bench.file) for _ in range(5)]
    bench.index.heal()
    assert first.read() == bench.content[HALF // 2 :]
    assert [other.read() == bench.content for other in others] == [True] * 5
    assert bench.index.file_bytes_served(NAME) <= bench.published.size + (1 << 20)


def test_a_client_that_goes_away_does_not_end_the_fetch(bench: Bench) -> None:
    bench.in_the_middle(bench.file)
    bench.open.pop().close()
    bench.index.heal()
    assert bench.ask(bench.file).read() == bench.content
    assert bench.pull.failures == ()


@pytest.mark.parametrize(
    ("method", "headers", "status", "length"),
    [
        ("HEAD", {}, 200, 0),
        ("GET", {"Range": "bytes=-10"}, 206, 10),
        ("GET", {"If_None_Match": '"another"'}, 200, None),
    ],
)
def test_who_asks_for_less_than_the_file_waits_until_it_is_there(
    bench: Bench, method: str, headers: dict[str, str], status: int, length: int | None
) -> None:
    bench.in_the_middle(bench.file)
    threading.Timer(0.5, bench.index.heal).start()
    answer = bench.ask(bench.file, method, **headers)
    assert bench.file.digest in bench.store
    assert answer.status == status
    assert len(answer.read()) == (bench.published.size if length is None else length)


def test_a_connection_that_brought_a_whole_file_is_used_again(bench: Bench) -> None:
    bench.in_the_middle(bench.file)
    bench.index.heal()
    answer = bench.ask(bench.file)
    assert answer.read() == bench.content
    assert not answer.will_close
    connection = bench.open[-1]
    connection.request("GET", "/")
    assert connection.getresponse().status == 407


# What must never go out whole


def broken_off(bench: Bench, answer: http.client.HTTPResponse) -> int:
    """How many bytes came, none of them of the end, before the connection was broken off."""
    with pytest.raises(http.client.IncompleteRead) as caught:
        answer.read()
    count = len(caught.value.partial)
    assert count <= bench.published.size - HELD_BACK_BYTES
    return count


def test_a_file_with_the_wrong_hash_is_broken_off_before_its_end(bench: Bench) -> None:
    bench.index.corrupt(NAME)
    broken_off(bench, bench.ask(bench.file))
    assert [error.code for error in bench.pull.failures] == ["wrong-hash"]
    assert bench.file.digest not in bench.store


def test_a_file_that_had_to_be_fetched_anew_is_broken_off_and_then_there(bench: Bench) -> None:
    bench.index.corrupt(NAME, times=1)
    broken_off(bench, bench.ask(bench.file))
    assert [error.code for error in bench.pull.failures] == ["started-over"]
    assert bench.ask(bench.file).read() == bench.content
    assert bench.pull.failures == ()


def test_a_file_that_cannot_be_had_to_its_end_is_broken_off_and_it_is_told_why(
    bench: Bench,
) -> None:
    bench.index.break_at(NAME, HALF, times=None)
    assert broken_off(bench, bench.ask(bench.file)) <= HALF
    assert [error.code for error in bench.pull.failures] == ["unreachable"]


def test_the_end_of_a_file_goes_out_only_when_the_whole_was_judged(
    make_bench: Callable[..., Bench],
) -> None:
    judging, judged = threading.Event(), threading.Event()

    def check(path: Path, name: str) -> None:
        del path, name
        judging.set()
        assert judged.wait(SECONDS)

    bench = make_bench(check)
    answer = bench.ask(bench.file)
    assert judging.wait(SECONDS)
    most = bench.published.size - HELD_BACK_BYTES
    assert answer.read(most) == bench.content[:most]
    assert bench.file.digest not in bench.store
    sock = bench.open[-1].sock
    assert select.select([sock], [], [], 0.3) == ([], [], [])
    judged.set()
    assert answer.read() == bench.content[most:]


def test_a_wheel_that_is_unfit_is_broken_off_and_dropped(bench: Bench) -> None:
    other = replace(bench.file, name="other-1.0-py3-none-any.whl")
    bench.pull.know([other])
    broken_off(bench, bench.ask(other))
    (failure,) = bench.pull.failures
    assert (failure.exit_code, failure.code) == (4, "archive-invalid")
    assert failure.causes[0].endswith("names `demo`, its file name `other`")
    assert bench.file.digest not in bench.store
    assert list((bench.store.root / "partial").glob("*/")) == []
    # Its hash is right: fetching it anew would bring the same.
    assert bench.index.file_bytes_served(NAME) == bench.published.size


def test_a_wrong_file_is_told_to_have_the_wrong_hash_whatever_it_is(bench: Bench) -> None:
    wrong = replace(bench.file, digest=Digest.parse("0" * 64), name="other-1.0-py3-none-any.whl")
    with pytest.raises(IntegrityError) as caught:
        bench.pull.fetch(missing(wrong))
    assert caught.value.code == "wrong-hash"


# Fetching beside something else


def test_what_is_planned_is_fetched_beside_what_else_is_done(bench: Bench) -> None:
    files = [bench.publish(f"part{number}") for number in range(20)]
    bench.pull.know(files)
    with bench.pull.fetching(missing(*files)):
        bodies = [bench.ask(file).read() for file in reversed(files)]
    assert [len(body) for body in bodies] == [
        bench.store.size(file.digest) for file in reversed(files)
    ]
    assert [bench.index.gets(file.name) for file in files] == [1] * len(files)


def test_what_nobody_asks_for_is_there_in_the_end(bench: Bench) -> None:
    files = [bench.publish(f"part{number}") for number in range(20)]
    with bench.pull.fetching(missing(*files)):
        pass
    assert all(file.digest in bench.store for file in files)


def test_files_are_begun_in_the_order_of_the_plan(bench: Bench) -> None:
    files = [bench.publish(f"part{number:02}") for number in range(20)]
    bench.pull.fetch(missing(*files))
    begun = [request.filename for request in bench.index.requests]
    last = files[-1].name
    assert set(begun[:FILES_AT_ONCE]) <= {file.name for file in files[: 2 * FILES_AT_ONCE]}
    assert begun.index(last) > FILES_AT_ONCE


def test_what_is_asked_for_does_not_wait_for_what_was_planned_before_it(bench: Bench) -> None:
    slow = [bench.publish(f"slow{number}", 200_000) for number in range(FILES_AT_ONCE)]
    wanted = bench.publish("wanted")
    for file in slow:
        bench.index.stall_at(file.name, 1000, times=None)
    bench.pull.know([*slow, wanted])
    with bench.pull.fetching(missing(*slow, wanted)):
        assert bench.ask(wanted).status == 200
        assert not any(file.digest in bench.store for file in slow)
        bench.index.heal()
    assert all(file.digest in bench.store for file in slow)


def test_the_failure_of_a_file_is_told_and_not_what_a_client_made_of_it(bench: Bench) -> None:
    def client() -> None:
        broken_off(bench, bench.ask(bench.file))
        message = "uv has lost the connection"
        raise ToolError(message)

    bench.index.corrupt(NAME)
    with pytest.raises(IntegrityError) as caught:
        fetch_beside(bench, client, bench.file)
    assert caught.value.code == "wrong-hash"


def test_after_a_failure_whoever_asks_is_told_at_once_and_nothing_more_is_begun(
    bench: Bench,
) -> None:
    bad, other = bench.publish("bad"), bench.publish("other")
    bench.pull.know([bad, other])
    bench.index.corrupt(bad.name)

    def client() -> None:
        assert bench.ask(bad).status == 424
        answer = bench.ask(other)
        assert (answer.status, b"wrong hash" in answer.read()) == (424, True)

    with pytest.raises(IntegrityError):
        fetch_beside(bench, client, bad)
    assert bench.index.gets(other.name) == 0
    # What failed then is no failure of what comes afterwards.
    bench.index.heal()
    bench.pull.fetch(missing(bad, other))
    assert bad.digest in bench.store


def test_what_is_under_way_when_a_file_fails_is_finished(bench: Bench) -> None:
    bad = bench.publish("bad")
    bench.index.corrupt(bad.name)
    bench.index.throttle(8_000_000)
    with pytest.raises(IntegrityError, match="bad-"):
        bench.pull.fetch(missing(bench.file, bad))
    assert bench.file.digest in bench.store


def test_when_something_else_fails_the_fetch_stops_and_is_gone_on_with(bench: Bench) -> None:
    bench.index.stall_at(NAME, HALF, times=None)
    later = bench.publish("later")

    def client() -> None:
        assert bench.ask(bench.file).read(1 << 20) == bench.content[: 1 << 20]
        message = "uv could not build something"
        raise ToolError(message)

    with pytest.raises(ToolError):
        fetch_beside(bench, client, bench.file, later)
    assert bench.file.digest not in bench.store
    assert fetchers() == set()
    bench.index.heal()
    bench.index.reset_log()
    bench.pull.fetch(missing(bench.file))
    assert bench.file.digest in bench.store
    assert bench.index.file_bytes_served(NAME) < bench.published.size


def test_ctrl_c_stops_the_fetch_and_whoever_waits_for_it(bench: Bench) -> None:
    bench.index.stall_at(NAME, HALF, times=None)
    answers = []

    def client() -> None:
        answers.append(bench.ask(bench.file))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_beside(bench, client, bench.file)
    broken_off(bench, answers[0])
    assert fetchers() == set()
    assert bench.file.digest not in bench.store


def test_offline_nothing_is_done_where_something_is_missing(bench: Bench, tmp_path: Path) -> None:
    client = Http({"NETRC": str(tmp_path / "none")}, connections=4)
    pull = Pull(bench.store, client, (), Quiet(), offline=True)
    done = []
    with pytest.raises(NetworkError) as caught, pull.fetching(plan_fetch([bench.file], ())):
        done.append("something")
    client.close()
    assert caught.value.code == "missing-offline"
    assert done == []
    assert bench.index.requests == []
