"""One large file against servers of every kind, on real sockets; and processes that die."""

from __future__ import annotations

import hashlib
import http.server
import json
import random
import signal
import socketserver
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters._arrival import TAKEN
from provisioner.adapters.http import TRIES, Answer, Http
from provisioner.adapters.store import Store
from provisioner.core.allowance import MOST_CONNECTIONS
from provisioner.core.digest import Digest
from provisioner.core.plan import LockedFile, plan_fetch
from provisioner.core.ranges import LARGEST_PART, SMALL_BYTES, Span
from provisioner.core.slowness import SLOW_SECONDS
from provisioner.errors import IntegrityError, NetworkError
from provisioner.workflow.connections import Connections
from provisioner.workflow.fetch import Fetcher
from provisioner.workflow.parts import Parts
from provisioner.workflow.progress import Quiet
from provisioner.workflow.pull import Pull
from provisioner.workflow.wanted import GIVEN_UP, RefusedError, Told, Wanted
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from provisioner.adapters._arrival import Arrival
    from tests.simulators.index import Lie, PublishedFile, Tags

ROOT = Path(__file__).parents[2]
NAME = "demo-1.0-py3-none-any.whl"
LARGE = 24_000_000
SLOWLY = 4_000_000
SERVED_AT_ONCE = 1 << 16
FOREVER = 3600.0

FETCHES = """
import sys, threading
from pathlib import Path
from provisioner.adapters.http import Http
from provisioner.adapters.store import Store
from provisioner.core.digest import Digest
from provisioner.core.plan import LockedFile, plan_fetch
from provisioner.workflow.progress import Quiet
from provisioner.workflow.pull import Pull

store = Store(Path(sys.argv[1]))
store.open()
files = []
for number in range(2, len(sys.argv), 2):
    digest = Digest.parse(sys.argv[number + 1])
    files.append(LockedFile(name="demo.whl", url=sys.argv[number], digest=digest, size=None))
print("ready", flush=True)
Pull(store, Http({}, connections=32), (), Quiet(), offline=False).fetch(plan_fetch(files, store))
"""


@dataclass
class Recorded(Quiet):
    """A progress that adds up, and remembers what was noted."""

    size: int | None = None
    shown: int = 0
    first: int | None = None
    came: int = 0
    others: int = 0
    notes: list[str] = field(default_factory=list)
    done: bool = False

    def started(self, key: str, name: str, size: int | None) -> None:
        """Remember the size."""
        del key, name
        self.size = size

    def awaited(self, key: str, name: str, size: int | None) -> None:
        """Remember it."""
        self.started(key, name, size)
        self.others += 1

    def has(self, key: str, count: int) -> None:
        """Begin there."""
        del key
        self.first = count if self.first is None else self.first
        self.shown = count

    def advanced(self, key: str, count: int) -> None:
        """Add up."""
        del key
        self.shown += count
        self.came += count

    def finished(self, key: str) -> None:
        """Remember it."""
        del key
        self.done = True

    def note(self, text: str) -> None:
        """Remember it."""
        self.notes.append(text)


@dataclass(kw_only=True)
class Bench:
    """A store, an index with one large file, and fetchers as new processes would have them."""

    store: Store
    index: IndexSimulator
    file: PublishedFile
    folder: Path
    progress: Recorded = field(default_factory=Recorded)
    stopped: threading.Event = field(default_factory=threading.Event)
    stall_seconds: float = 30.0
    slow_seconds: float = SLOW_SECONDS

    @property
    def digest(self) -> Digest:
        """The hash that the file has."""
        return Digest.parse(self.file.sha256)

    def fetch(self, *, size: int | None = None, digest: Digest | None = None) -> int:
        """Fetch it; the bytes that were received."""
        http = Http(
            {"NETRC": str(self.folder / "no-netrc")},
            connections=64,
            stall_seconds=self.stall_seconds,
        )
        wanted = Wanted(
            name=NAME, url=self.index.file_url(NAME), size=size, digest=digest or self.digest
        )
        self.progress = Recorded()
        try:
            fetcher = Fetcher(
                self.store, http, self.progress, self.stopped, slow_seconds=self.slow_seconds
            )
            with self.store.claim(wanted.claim, lambda _: None):
                return fetcher.fetch(wanted, {})[1]
        finally:
            http.close()

    def is_right(self) -> bool:
        """Whether the store has the file, and nothing that is left over."""
        left = [path.name for path in (self.store.root / "partial").iterdir() if path.is_dir()]
        blob = self.store.blob(self.digest)
        return not left and blob.read_bytes() == self.file.content.read_bytes()

    def part(self) -> Path:
        """The bytes of what has not arrived whole."""
        (part,) = (self.store.root / "partial").glob("*/part")
        return part

    def flushed(self) -> int:
        """How many bytes the journal names; 0 before there is one."""
        if not list((self.store.root / "partial").glob("*/journal.json")):
            return 0
        text = self.part().with_name("journal.json").read_text(encoding="utf-8")
        return sum(stop - start for start, stop in json.loads(text)["flushed"])

    def break_off(self) -> int:
        """Let a fetch end in the middle; how many bytes are kept."""
        self.index.break_at(NAME, LARGE // 2, times=None)
        with pytest.raises(NetworkError):
            self.fetch()
        self.index.heal()
        return self.flushed()


def several(bench: Bench, folder: Path, names: Iterable[str], *, size: int) -> list[LockedFile]:
    """More files on the index, as a lock names them."""
    made = [bench.index.publish(make_wheel(folder, name, "1.0", size=size)) for name in names]
    return [
        LockedFile(
            name=file.filename,
            url=bench.index.file_url(file.filename),
            digest=Digest.parse(file.sha256),
            size=file.size,
        )
        for file in made
    ]


@contextmanager
def fetching(bench: Bench, files: Iterable[LockedFile]) -> Iterator[tuple[Future[None], Pull]]:
    """Fetch files meanwhile."""
    http = Http({}, connections=64, stall_seconds=bench.stall_seconds)
    pull = Pull(bench.store, http, (), bench.progress, offline=False)
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(pull.fetch, plan_fetch(files, ())), pull
        finally:
            pull.close()
            http.close()


def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that happens soon."""
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of several parts."""
    return make_wheel(tmp_path_factory.mktemp("large"), "demo", "1.0", size=LARGE)


@pytest.fixture
def bench(wheel: Path, tmp_path: Path) -> Iterator[Bench]:
    """An empty store, and a server that is well."""
    store = Store(tmp_path / "store")
    store.open()
    with IndexSimulator() as index:
        yield Bench(store=store, index=index, file=index.publish(wheel), folder=tmp_path)


@pytest.mark.parametrize("sized", [False, True])
def test_a_large_file_comes_over_several_connections_and_every_byte_once(
    bench: Bench, *, sized: bool
) -> None:
    bench.index.throttle(SLOWLY)
    received = bench.fetch(size=bench.file.size if sized else None)
    assert bench.is_right()
    assert received == bench.index.file_bytes_served(NAME) == bench.file.size
    assert 2 < bench.index.most_bodies_seen <= MOST_CONNECTIONS
    assert all(request.status == 206 for request in bench.index.requests)


def test_a_small_file_is_one_request(bench: Bench, tmp_path: Path) -> None:
    bench.file = bench.index.publish(make_wheel(tmp_path, "demo", "1.0", size=3_000_000))
    bench.fetch(size=bench.file.size)
    assert [request.headers.get("range") for request in bench.index.requests] == [None]
    assert bench.is_right()


def test_a_small_file_of_unknown_size_is_one_request(bench: Bench, tmp_path: Path) -> None:
    bench.file = bench.index.publish(make_wheel(tmp_path, "demo", "1.0", size=3_000_000))
    bench.fetch()
    (request,) = bench.index.requests
    assert request.headers["range"] == f"bytes=0-{SMALL_BYTES - 1}"
    assert bench.is_right()


def test_progress_adds_up_to_the_size(bench: Bench) -> None:
    bench.fetch()
    assert (bench.progress.size, bench.progress.shown) == (bench.file.size, bench.file.size)
    assert bench.progress.done


# Servers without ranges, or with wrong ones


def test_a_server_without_ranges_is_asked_once(bench: Bench) -> None:
    bench.index.ignore_ranges(NAME)
    assert bench.fetch() == bench.file.size
    assert bench.index.gets(NAME) == 1
    assert bench.is_right()


def test_a_file_without_a_length_comes_as_one_stream(bench: Bench) -> None:
    bench.index.omit_length(NAME)
    bench.fetch()
    assert bench.index.gets(NAME) == 1
    assert bench.is_right()


def test_a_wheel_that_was_compressed_for_the_way_is_unpacked(bench: Bench) -> None:
    bench.index.encode(NAME)
    bench.fetch()
    assert bench.is_right()


@pytest.mark.parametrize("tags", ["weak", "none"])
def test_parts_are_not_put_together_where_versions_cannot_be_told_apart(
    bench: Bench, tags: Tags
) -> None:
    bench.index.change_tags(NAME, tags)
    bench.fetch()
    assert bench.is_right()
    assert [request.status for request in bench.index.requests] == [206, 200]
    # Nothing had arrived that it could have started over from.
    assert bench.progress.notes == []


@pytest.mark.parametrize("lie", ["start", "size", "bytes"])
def test_a_server_that_lies_about_ranges_is_asked_for_the_whole_and_it_is_told(
    bench: Bench, lie: Lie
) -> None:
    bench.index.lie_about_ranges(NAME, lie)
    bench.fetch()
    # Two of them in the first answer, before anything has arrived.
    told = "starts over" if lie == "size" else "is asked for anew"
    assert any(told in note for note in bench.progress.notes)
    assert bench.index.requests[-1].status == 200
    assert bench.is_right()
    assert bench.progress.shown == bench.file.size


def test_a_server_that_always_sends_less_than_it_says_is_an_error(bench: Bench) -> None:
    bench.index.lie_about_ranges(NAME, "length")
    with pytest.raises(NetworkError):
        bench.fetch()
    assert bench.digest not in bench.store


def test_a_version_that_changes_all_the_time_is_fetched_as_one_stream(bench: Bench) -> None:
    bench.index.change_tags(NAME, "changing")
    bench.fetch()
    assert bench.is_right()
    assert bench.progress.notes
    assert bench.index.requests[-1].status == 200


# Bodies that are not as large as they have to be


@contextmanager
def answering(
    head: bytes, blocks: Callable[[], Iterable[bytes]]
) -> Iterator[tuple[str, list[int]]]:
    """A server that gives everybody these bytes and hangs up; its URL, and who has asked."""
    asked: list[int] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked.append(len(self.request.recv(1 << 16)))
            with suppress(OSError):
                for block in chain([head], blocks()):
                    self.request.sendall(block)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/{NAME}", asked
        finally:
            server.shutdown()
            thread.join()


def fetch_from(bench: Bench, url: str, size: int | None) -> int:
    """Fetch a file of a size that somebody has named."""
    http = Http({}, connections=8)
    wanted = Wanted(name=NAME, url=url, size=size, digest=bench.digest)
    try:
        return Fetcher(bench.store, http, bench.progress, bench.stopped).fetch(wanted, {})[1]
    finally:
        http.close()


def endless() -> Iterator[bytes]:
    """A body without an end."""
    return repeat(b"x" * (1 << 16))


def test_a_body_without_an_end_is_given_up_where_the_file_would_end(bench: Bench) -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    with answering(head, endless) as (url, asked), pytest.raises(IntegrityError) as caught:
        fetch_from(bench, url, 1000)
    assert caught.value.code == "wrong-size"
    assert "expected 1000 bytes" in caught.value.causes[0]
    assert len(asked) == 1
    assert list((bench.store.root / "partial").glob("*/part")) == []


@pytest.mark.parametrize("size", [1000, None])
def test_a_size_that_cannot_be_right_is_refused_before_the_first_byte(
    bench: Bench, size: int | None
) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 100000000000000000\r\n\r\n"
    with answering(head, endless) as (url, _), pytest.raises(IntegrityError) as caught:
        fetch_from(bench, url, size)
    assert "100000000000000000" in caught.value.causes[0]
    assert bench.progress.shown == 0


@pytest.mark.parametrize("digits", [18, 30, 5000])
def test_a_part_of_a_file_of_an_impossible_size_is_taken_for_none(
    bench: Bench, digits: int
) -> None:
    total = b"9" * digits
    head = b'HTTP/1.1 206 Partial\r\netag: "a"\r\ncontent-length: 1000\r\ncontent-range: '
    head += b"bytes 0-999/" + total + b"\r\n\r\n"
    with answering(head, lambda: [b"x" * 1000]) as (url, _), pytest.raises(NetworkError):
        fetch_from(bench, url, None)
    assert bench.progress.shown == 0


def test_a_body_that_ends_before_the_file_does_is_asked_for_again(bench: Bench) -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    body = bench.file.content.read_bytes()
    ends = iter([1000, len(body)])
    with answering(head, lambda: [body[: next(ends)]]) as (url, asked):
        fetch_from(bench, url, len(body))
    assert len(asked) == 2
    assert bench.is_right()


def test_a_body_that_always_ends_too_early_is_a_network_error_with_both_sizes(
    bench: Bench,
) -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    with (
        answering(head, lambda: [b"x" * 500]) as (url, asked),
        pytest.raises(NetworkError) as caught,
    ):
        fetch_from(bench, url, 1000)
    assert caught.value.causes == ("expected 1000 bytes, the server sent 500",)
    assert len(asked) == TRIES


# Connections that break, stall, or are too many


def test_a_connection_that_breaks_costs_no_byte_twice(bench: Bench) -> None:
    bench.index.break_at(NAME, LARGE // 2)
    bench.fetch()
    assert bench.is_right()
    assert bench.index.file_bytes_served(NAME) == bench.file.size


def test_a_stream_that_always_begins_anew_is_given_up_after_a_few_tries(bench: Bench) -> None:
    bench.index.omit_length(NAME)
    bench.index.break_at(NAME, LARGE // 2, times=None)
    with pytest.raises(NetworkError):
        bench.fetch()
    assert bench.index.gets(NAME) == TRIES


def test_a_small_file_that_breaks_off_goes_on(bench: Bench, tmp_path: Path) -> None:
    bench.file = bench.index.publish(make_wheel(tmp_path, "demo", "1.0", size=3_000_000))
    bench.index.break_at(NAME, 1_000_000)
    bench.fetch()
    assert bench.is_right()
    assert bench.index.gets(NAME) == 2
    assert bench.index.file_bytes_served(NAME) == bench.file.size


def test_a_connection_that_stalls_is_given_up_and_the_rest_of_its_part_asked_for(
    bench: Bench,
) -> None:
    bench.stall_seconds = 0.5
    bench.index.stall_at(NAME, LARGE // 2)
    bench.fetch()
    assert bench.is_right()
    assert bench.index.file_bytes_served(NAME) == bench.file.size


@pytest.mark.parametrize("offset", [0, LARGE // 2, LARGE - 1])
def test_what_a_trickling_connection_was_to_bring_comes_over_another_one(
    bench: Bench, offset: int
) -> None:
    bench.slow_seconds = 0.5
    bench.index.throttle(SLOWLY)
    # All of it would take this connection a quarter of an hour.
    bench.index.trickle_at(NAME, offset, 1000.0)
    bench.fetch()
    assert bench.is_right()
    assert bench.progress.notes == []
    asked = [request.headers["range"].partition("-")[2] for request in bench.index.requests]
    assert len(asked) > len(set(asked))
    # What was on its way when it was given up is lost.
    assert bench.index.file_bytes_served(NAME) <= bench.file.size + (1 << 20)


def test_a_server_that_is_slow_on_every_connection_is_left_in_peace(bench: Bench) -> None:
    bench.slow_seconds = 0.2
    bench.index.throttle(SLOWLY / 2)
    bench.fetch()
    assert bench.index.file_bytes_served(NAME) == bench.file.size
    assert bench.is_right()


def test_a_connection_that_trickles_for_good_still_brings_the_file(
    bench: Bench, tmp_path: Path
) -> None:
    size = SMALL_BYTES + 100_000
    bench.file = bench.index.publish(make_wheel(tmp_path, "demo", "1.0", size=size))
    bench.slow_seconds = 0.2
    bench.index.trickle_at(NAME, bench.file.size - 1, 20_000.0, times=None)
    bench.fetch()
    assert bench.is_right()


def test_a_server_that_allows_few_connections_gets_few(bench: Bench) -> None:
    bench.index.throttle(SLOWLY)
    bench.index.limit_bodies(2, retry_after="1")
    bench.fetch()
    assert bench.is_right()
    assert bench.index.most_bodies_seen == 2
    statuses = [request.status for request in bench.index.requests]
    assert 0 < statuses.count(429) <= MOST_CONNECTIONS


def test_files_that_a_server_has_no_connections_for_wait_for_the_others(
    bench: Bench, tmp_path: Path
) -> None:
    files = several(bench, tmp_path, [f"part{number}" for number in range(5)], size=900_000)
    bench.index.throttle(1_000_000)
    bench.index.limit_bodies(2)
    with fetching(bench, files) as (fetch, _):
        fetch.result(60)
    assert all(file.digest in bench.store for file in files)
    assert bench.index.most_bodies_seen == 2


def test_a_busy_server_is_asked_again_when_it_says(bench: Bench) -> None:
    bench.index.fail(NAME, 503, retry_after="2")
    healed = threading.Timer(1.0, bench.index.heal)
    healed.start()
    bench.fetch()
    healed.join()
    # It was well again only after the shorter pauses that come without a word of it.
    assert [request.status for request in bench.index.requests].count(503) == 1
    assert bench.is_right()


def test_connections_that_run_ask_for_nothing_while_their_server_wants_a_pause(
    bench: Bench, tmp_path: Path
) -> None:
    (file,) = several(bench, tmp_path, ["huge"], size=4 * LARGE)
    bench.index.throttle(SLOWLY)
    with fetching(bench, [file]) as (fetch, pull):
        until(lambda: bench.index.most_bodies_seen > 0)
        bench.index.fail(file.name, 429, times=1, retry_after="30")
        until(lambda: 429 in [request.status for request in bench.index.requests])
        served = -1
        while served < (served := bench.index.file_bytes_served(file.name)):
            time.sleep(0.5)
        pull.close()
        with pytest.raises(NetworkError):
            fetch.result(60)
    assert [request.status for request in bench.index.requests].count(429) == 1


def parts_of(bench: Bench, size: int, connections: Connections, answer: Answer, part: Span) -> None:
    """Run `Parts` for a file of which nothing is there."""
    client = Http({}, connections=8)
    wanted = Wanted(name=NAME, url=answer.url, size=size, digest=bench.digest)
    told = Told(bench.progress, wanted, bench.stopped)
    tag = '"x"'
    try:
        with (
            bench.store.claim(wanted.claim, lambda _: None),
            bench.store.arriving(wanted.claim) as arrival,
        ):
            arrival.begin(validator=tag, size=size)
            Parts(
                wanted,
                arrival,
                http=client,
                connections=connections,
                headers={"if-range": tag},
                size=size,
                told=told,
            ).run(answer, part)
    finally:
        client.close()


def answer_with(url: str, blocks: Iterable[bytes]) -> Answer:
    """What a server that closes after these bytes gives."""
    return Answer(
        status=206,
        url=url,
        headers={},
        blocks=iter(blocks),
        decoded=iter(()),
        abort=lambda: None,
    )


def test_a_file_that_was_not_refused_itself_ends_with_its_host(bench: Bench) -> None:
    connections, url = Connections(), bench.index.file_url(NAME)
    for pause in (*repeat(0.0, TRIES - 1), 60.0):
        connections.refused(url, 429, pause)
    with pytest.raises(NetworkError) as caught:
        parts_of(bench, LARGE, connections, answer_with(url, ()), Span(0, 1000))
    assert caught.value.code == GIVEN_UP
    assert bench.index.requests == []


def test_a_server_that_brings_something_between_its_refusals_is_waited_for_no_longer_each_time(
    bench: Bench,
) -> None:
    size, step, seen = 400_000, 100_000, list[str]()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            start = int(self.headers["range"].removeprefix("bytes=").split("-")[0])
            seen.append("")
            if len(seen) % 2:
                self.send_response(429)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{start + step - 1}/{size}")
            self.send_header("Content-Length", str(step))
            self.send_header("ETag", '"x"')
            self.end_headers()
            self.wfile.write(bytes(step))

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Keep quiet."""

    notes: list[str] = []
    connections = Connections(note=notes.append)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/{NAME}"
        first = answer_with(url, [bytes(step)])
        parts_of(bench, size, connections, first, Span(0, step))
        server.shutdown()
    assert len(notes) == 3
    assert all("again in 1 s" in note for note in notes)


def test_a_server_that_is_busy_with_another_file_is_asked_as_often_as_it_says(
    bench: Bench, tmp_path: Path
) -> None:
    files = several(bench, tmp_path, ("one", "two"), size=12_000_000)
    bench.index.throttle(SLOWLY)
    with fetching(bench, files) as (fetch, _):
        until(lambda: len({request.path for request in bench.index.requests}) == 2)
        bench.index.limit_bodies(1, retry_after="1")
        fetch.result(60)
    statuses = [request.status for request in bench.index.requests]
    assert all(file.digest in bench.store for file in files)
    assert 0 < statuses.count(429) <= 2 * MOST_CONNECTIONS


def test_a_server_that_is_busy_for_good_is_given_up_for_all_files_at_once_and_it_is_told(
    bench: Bench, tmp_path: Path
) -> None:
    files = several(bench, tmp_path, [f"part{number}" for number in range(8)], size=9000)
    for file in files:
        bench.index.fail(file.name, 429, retry_after="1")
    with fetching(bench, files) as (fetch, _), pytest.raises(NetworkError) as caught:
        fetch.result(60)
    asked = len(bench.index.requests)
    assert TRIES <= asked <= len(files) + TRIES
    assert len(caught.value.causes) == len(files)
    assert any("answered with status 429" in note for note in bench.progress.notes)


def test_large_files_whose_server_is_busy_for_good_do_not_wait_for_each_other(
    bench: Bench, tmp_path: Path
) -> None:
    files = several(bench, tmp_path, ("one", "two"), size=12_000_000)
    bench.index.throttle(SLOWLY)
    with fetching(bench, files) as (fetch, _):
        until(lambda: len({request.path for request in bench.index.requests}) == 2)
        for file in files:
            bench.index.fail(file.name, 429)
        with pytest.raises(NetworkError):
            fetch.result(60)


def test_a_server_that_fails_for_good_is_a_network_error_and_keeps_what_came(
    bench: Bench,
) -> None:
    bench.index.throttle(SLOWLY / 4)
    thread = threading.Timer(1.0, lambda: bench.index.fail(NAME, 500))
    thread.start()
    with pytest.raises(RefusedError, match=NAME) as caught:
        bench.fetch()
    assert "status 500" in caught.value.causes[0]
    kept = bench.flushed()
    assert kept > 0
    bench.index.heal()
    bench.index.reset_log()
    assert bench.fetch() == bench.index.file_bytes_served(NAME) == bench.file.size - kept
    assert bench.is_right()


def test_every_part_finds_its_own_way_through_a_redirect_that_expires(bench: Bench) -> None:
    bench.index.redirect(NAME, uses=1)
    bench.fetch()
    assert bench.is_right()
    assert {request.status for request in bench.index.requests} == {302, 206}


def test_everything_stops_although_the_server_is_silent(bench: Bench) -> None:
    bench.stall_seconds = FOREVER
    bench.index.stall_at(NAME, 1_000_000, times=None)
    threading.Timer(0.5, bench.stopped.set).start()
    with pytest.raises(NetworkError) as caught:
        bench.fetch()
    assert caught.value.code == "stopped"


@pytest.mark.parametrize("silent", ["in its answer", "before it"])
def test_a_fetch_that_is_closed_ends_although_a_server_is_silent(
    bench: Bench, tmp_path: Path, silent: str
) -> None:
    bench.stall_seconds = FOREVER
    (file,) = several(bench, tmp_path, ["small"], size=500_000)
    if silent == "before it":
        bench.index.delay(file.name, FOREVER)
    else:
        bench.index.stall_at(file.name, 100_000, times=None)
    with fetching(bench, [file]) as (fetch, pull):
        until(lambda: bool(bench.index.requests))
        # With bytes to keep, or with its request sent.
        time.sleep(0.3)
        pull.close()
        with pytest.raises(NetworkError) as caught:
            fetch.result(60)
    assert caught.value.code == "stopped"


CLAIMS = """
import sys
from pathlib import Path
from provisioner.adapters.store import Store

with Store(Path(sys.argv[1])).claim(sys.argv[2], print):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_fetch_that_is_closed_ends_although_another_process_is_at_the_file(
    bench: Bench, tmp_path: Path
) -> None:
    (file,) = several(bench, tmp_path, ["small"], size=9000)
    with subprocess.Popen(
        [sys.executable, "-c", CLAIMS, str(bench.store.root), file.digest.hex],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with fetching(bench, [file]) as (fetch, pull):
            try:
                until(lambda: any("waiting for" in note for note in bench.progress.notes))
                pull.close()
                with pytest.raises(NetworkError) as caught:
                    fetch.result(20)
            finally:
                other.kill()
    assert caught.value.code == "stopped"


# What an earlier run left


def test_the_next_run_goes_on_and_shows_what_was_there(bench: Bench) -> None:
    kept = bench.break_off()
    assert kept >= LARGE // 4
    bench.index.reset_log()
    received = bench.fetch()
    assert bench.is_right()
    assert received == bench.index.file_bytes_served(NAME) == bench.file.size - kept
    assert bench.progress.first == kept
    assert bench.progress.came == received
    assert bench.progress.shown == bench.file.size


def test_what_is_gone_on_with_is_asked_for_only_if_it_is_still_the_same(bench: Bench) -> None:
    bench.break_off()
    bench.index.reset_log()
    bench.fetch()
    asked = [request.headers for request in bench.index.requests]
    assert {headers.get("if-range") for headers in asked} == {bench.file.etag}
    assert all("range" in headers for headers in asked)


def test_what_had_arrived_whole_needs_no_network(bench: Bench) -> None:
    content = bench.file.content.read_bytes()
    with bench.store.arriving(bench.digest.hex) as arrival:
        arrival.begin(validator=bench.file.etag, size=len(content))
        arrival.write(0, content)
    assert bench.fetch() == 0
    assert bench.index.requests == []
    assert bench.is_right()


def test_another_version_than_was_left_over_starts_over_and_it_is_told(
    bench: Bench, tmp_path: Path
) -> None:
    bench.break_off()
    old = bench.part().parent.name
    bench.file = bench.index.publish(make_wheel(tmp_path, "demo", "1.0", size=LARGE - 1000))
    # Two versions under one name and hash: only the server's word tells them apart.
    with bench.store.arriving(old.partition(".")[0]) as arrival:
        kept = arrival.done
    assert kept
    moved = bench.part().parent
    moved.rename(moved.with_name(f"{bench.digest.hex}.0"))
    bench.fetch()
    assert bench.is_right()
    (note,) = bench.progress.notes
    assert "starts over" in note
    assert bench.progress.shown == bench.file.size


class Contended(Store):
    """A store in which others take over what arrives, at first."""

    times = 2

    @contextmanager
    def arriving(self, key: str) -> Iterator[Arrival]:
        """Lose what arrives, or bring it."""
        if self.times:
            self.times -= 1
            message = "another process took over what had arrived"
            raise NetworkError(message, code=TAKEN)
        with super().arriving(key) as arrival:
            yield arrival


def test_what_others_take_over_at_first_is_fetched_all_the_same(bench: Bench) -> None:
    bench.store = Contended(bench.store.root)
    bench.fetch()
    assert bench.is_right()


def test_damage_in_what_was_left_over_costs_one_more_download(bench: Bench) -> None:
    bench.break_off()
    with bench.part().open("r+b") as part:
        part.seek(1000)
        part.write(b"\0damaged")
    bench.index.reset_log()
    bench.fetch()
    assert bench.is_right()
    assert bench.index.file_bytes_served(NAME) < 2 * bench.file.size


def test_a_file_that_stays_wrong_is_an_error_with_both_hashes_after_one_more_try(
    bench: Bench,
) -> None:
    bench.break_off()
    bench.index.corrupt(NAME)
    bench.index.reset_log()
    with pytest.raises(IntegrityError) as caught:
        bench.fetch()
    expected, got = caught.value.causes[0].split(", got ")
    assert bench.file.sha256 in expected
    assert bench.file.sha256 not in got
    assert [request.status for request in bench.index.requests].count(200) == 1
    assert bench.index.file_bytes_served(NAME) <= 2 * bench.file.size
    assert list((bench.store.root / "partial").glob("*/part")) == []


def test_a_file_without_a_hash_is_not_gone_on_with(bench: Bench) -> None:
    bench.index.break_at(NAME, LARGE // 2, times=None)
    wanted = Wanted(name=NAME, url=bench.index.file_url(NAME), size=None, digest=None)
    http = Http({}, connections=32)
    fetcher = Fetcher(bench.store, http, Quiet(), bench.stopped)
    with pytest.raises(NetworkError):
        fetcher.fetch(wanted, {})
    assert list((bench.store.root / "partial").glob("*/part")) == []
    bench.index.heal()
    digest, _ = fetcher.fetch(wanted, {})
    http.close()
    assert digest == bench.digest
    assert bench.is_right()


# Several failures


def test_all_that_failed_is_told_at_once(bench: Bench, tmp_path: Path) -> None:
    files = several(bench, tmp_path, ("one", "two", "three"), size=9000)
    bench.index.fail(files[0].name, 404)
    bench.index.fail(files[1].name, 403)
    bench.index.corrupt(files[2].name)
    for file in files:
        bench.index.delay(file.name, 0.2)
    with fetching(bench, files) as (fetch, _), pytest.raises(IntegrityError) as caught:
        fetch.result(60)
    causes = "\n".join(caught.value.causes)
    assert "three" in str(caught.value)
    assert "status 404" in causes
    assert "status 403" in causes


# Processes


def start(bench: Bench, *files: PublishedFile) -> subprocess.Popen[str]:
    """A process that fetches files, after it said that it is ready to."""
    words = [word for file in files for word in (bench.index.file_url(file.filename), file.sha256)]
    process = subprocess.Popen(
        [sys.executable, "-c", FETCHES, str(bench.store.root), *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("seed", range(3))
def test_wherever_a_process_is_killed_only_what_was_not_flushed_is_fetched_twice(
    bench: Bench, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    bench.index.throttle(SLOWLY / 8)
    kept = 0
    for _ in range(4):
        bench.index.reset_log()
        with start(bench, bench.file) as process:
            with suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0.1, 2.0))
                pytest.fail("it was not slow enough to be killed")
            process.kill()
        served, before = bench.index.file_bytes_served(NAME), kept
        kept = bench.flushed()
        assert kept >= before
        assert 0 <= served - (kept - before) <= LARGEST_PART
    bench.index.throttle(None)
    bench.index.reset_log()
    with start(bench, bench.file) as process:
        assert process.wait(60) == 0
    assert kept
    assert bench.is_right()
    # A request of the last one that was killed may have been read after its end.
    late = bench.index.file_bytes_served(NAME) - (bench.file.size - kept)
    assert 0 <= late <= MOST_CONNECTIONS * SERVED_AT_ONCE


def test_what_was_on_the_disk_before_a_kill_is_not_fetched_again(bench: Bench) -> None:
    bench.index.throttle(SLOWLY / 4)
    with start(bench, bench.file) as process:
        deadline = time.monotonic() + 60
        while not list((bench.store.root / "partial").glob("*/journal.json")) or (
            bench.flushed() < LARGE // 4
        ):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
    kept = bench.flushed()
    bench.index.heal()
    bench.index.reset_log()
    assert bench.fetch() == bench.file.size - kept
    assert bench.is_right()


def test_eight_processes_at_once_fetch_every_file_once(bench: Bench, tmp_path: Path) -> None:
    small = [make_wheel(tmp_path, f"small{number}", "1.0", size=500_000) for number in range(4)]
    files = [bench.file, *(bench.index.publish(path) for path in small)]
    bench.index.throttle(SLOWLY)
    processes = [start(bench, *files) for _ in range(8)]
    for process in processes:
        with process:
            assert process.wait(120) == 0
    for file in files:
        assert bench.index.file_bytes_served(file.filename) == file.size
        blob = bench.store.blob(Digest.parse(file.sha256))
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == file.sha256


def test_a_try_that_brings_nothing_is_repeated_a_few_times_only(bench: Bench) -> None:
    bench.index.break_at(NAME, LARGE // 2, times=None)
    with pytest.raises(NetworkError):
        bench.fetch()
    past = [
        request
        for request in bench.index.requests
        if request.headers["range"].startswith(f"bytes={LARGE // 2}-")
    ]
    assert TRIES <= len(past) < MOST_CONNECTIONS


def locked_file(bench: Bench) -> LockedFile:
    """The file as a lock names it."""
    url = bench.index.file_url(NAME)
    return LockedFile(name=NAME, url=url, digest=bench.digest, size=bench.file.size)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came so far"
        time.sleep(0.01)


def obtain(bench: Bench) -> threading.Thread:
    """Want the file of the bench in this process, too."""
    http = Http({"NETRC": str(bench.folder / "no-netrc")}, connections=64)
    pull = Pull(bench.store, http, (), bench.progress, offline=False)
    plan = plan_fetch([locked_file(bench)], ())

    def fetch() -> None:
        try:
            pull.fetch(plan)
        finally:
            http.close()

    thread = threading.Thread(target=fetch)
    thread.start()
    return thread


def test_whoever_waits_for_another_process_shows_how_far_that_is(bench: Bench) -> None:
    bench.index.throttle(SLOWLY / 4)
    with start(bench, bench.file) as process:
        wait_until(lambda: bench.flushed() > 0)
        waiting = obtain(bench)
        wait_until(lambda: bench.progress.came > 0)
        bench.index.heal()
        assert process.wait(60) == 0
    waiting.join(60)
    assert bench.progress.others == 1
    assert bench.progress.done
    assert bench.progress.first is not None
    assert 0 < bench.progress.first < bench.progress.shown <= bench.file.size
    (note,) = bench.progress.notes
    assert note.startswith(f"waiting for `{NAME}`, which process {process.pid} on ")
    assert bench.index.file_bytes_served(NAME) == bench.file.size


def test_whoever_waits_goes_on_from_what_is_there_when_the_other_is_killed(bench: Bench) -> None:
    bench.index.throttle(SLOWLY / 4)
    with start(bench, bench.file) as process:
        wait_until(lambda: bench.flushed() > 0)
        waiting = obtain(bench)
        wait_until(lambda: bench.progress.came > 0)
        process.kill()
    bench.index.heal()
    waiting.join(60)
    assert bench.is_right()
    assert bench.progress.done
    assert bench.progress.shown == bench.file.size
    assert bench.index.file_bytes_served(NAME) <= bench.file.size + LARGEST_PART


def test_a_process_that_waits_for_another_ends_when_it_is_told_to(bench: Bench) -> None:
    with (
        bench.store.claim(bench.digest.hex, lambda _: None),
        start(bench, bench.file) as process,
    ):
        # Waiting by then; where it is not, it is told even earlier.
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(60) != 0
        finally:
            process.kill()
    assert bench.index.requests == []


def test_a_process_whose_servers_are_silent_sleeps(bench: Bench, tmp_path: Path) -> None:
    names = [f"large{number}" for number in range(6)]
    paths = [make_wheel(tmp_path, name, "1.0", size=10_000_000) for name in names]
    files = [bench.index.publish(path) for path in paths]
    for file in files:
        bench.index.stall_at(file.filename, 1_000_000, times=None)
    with start(bench, *files) as process:
        try:
            until(lambda: len(bench.index.requests) >= len(files))
            time.sleep(2)
            before = wakeups(process.pid)
            time.sleep(1)
            woken = wakeups(process.pid) - before
        finally:
            process.kill()
    assert woken < 50 * len(files)


def wakeups(pid: int) -> int:
    """How often the threads of a process have waited for something."""
    found = 0
    for path in Path(f"/proc/{pid}/task").glob("*/status"):
        with suppress(OSError):
            lines = path.read_text(encoding="utf-8").splitlines()
            found += sum(int(x.split()[1]) for x in lines if x.startswith("voluntary_ctxt"))
    return found
