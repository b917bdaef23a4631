"""The long-lived server, over real sockets."""

from __future__ import annotations

import base64
import http.client
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters._origin import ArrivingAnswer, BodyAnswer, FileAnswer, RelayAnswer
from tests.simulators.asgi import SECONDS, Client, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from provisioner.adapters._origin import Reply, Request

TAG = "ab" * 32
SIZE = 5_000_000


@dataclass
class Shelf:
    """An origin that answers each path with what it was given for it."""

    replies: dict[str, Callable[[], Reply]] = field(default_factory=dict)
    asked: list[Request] = field(default_factory=list)
    under_way: int = 0

    @contextmanager
    def answer(self, request: Request) -> Iterator[Reply]:
        """Answer, and count what is under way."""
        self.asked.append(request)
        self.under_way += 1
        try:
            yield self.replies[request.url]()
        finally:
            self.under_way -= 1

    def is_idle(self, but: int = 0) -> bool:
        """Whether all that was opened was closed but for so many, within a while."""
        end = time.monotonic() + SECONDS
        while self.under_way != but and time.monotonic() < end:
            time.sleep(0.01)
        return self.under_way == but


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """One with a file and a page."""
    path = tmp_path / "blob"
    path.write_bytes(bytes(range(250)) * (SIZE // 250))
    return Shelf(
        {
            "/file": lambda: FileAnswer(path=path, tag=TAG),
            "/page": lambda: BodyAnswer(status=200, headers={"etag": '"x"'}, body=b"page"),
        }
    )


@pytest.fixture
def content(tmp_path: Path, shelf: Shelf) -> bytes:
    """What the file holds."""
    assert shelf.replies
    return (tmp_path / "blob").read_bytes()


@pytest.fixture
def client(shelf: Shelf) -> Iterator[Client]:
    """A client of a server of the shelf."""
    with serving(shelf) as made:
        yield made
        assert made.faults == []


def broken_off(answer: http.client.HTTPResponse) -> int:
    """How many bytes came before the connection was broken off."""
    with pytest.raises(http.client.IncompleteRead) as raised:
        answer.read()
    return len(raised.value.partial)


def test_a_file_arrives_whole_and_for_good(client: Client, content: bytes) -> None:
    answer = client.ask("/file")
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(SIZE))
    assert answer.headers["ETag"] == f'"{TAG}"'
    assert answer.headers["Cache-Control"] == "max-age=365000000, immutable, public"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Server"].startswith("gpuenv/")
    assert answer.read() == content


@pytest.mark.parametrize(
    ("asked", "part"), [("bytes=0-9", slice(0, 10)), ("bytes=-7", slice(-7, None))]
)
def test_a_range_brings_that_part(client: Client, content: bytes, asked: str, part: slice) -> None:
    answer = client.ask("/file", Range=asked)
    assert (answer.status, answer.read()) == (206, content[part])


def test_who_has_a_file_or_page_gets_no_body(client: Client) -> None:
    answer = client.ask("/file", If_None_Match=f'"{TAG}"')
    assert (answer.status, answer.read()) == (304, b"")
    assert client.ask("/file", Range=f"bytes={SIZE}-").status == 416


@pytest.mark.parametrize(("path", "length"), [("/file", SIZE), ("/page", 4)])
def test_head_has_the_length_and_no_body(client: Client, path: str, length: int) -> None:
    answer = client.ask(path, "HEAD")
    assert (answer.headers["Content-Length"], answer.read()) == (str(length), b"")


def test_one_connection_serves_many_requests(client: Client, content: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=SECONDS)
    for path, expected in [("/page", b"page"), ("/file", content)] * 3:
        connection.request("GET", path)
        assert connection.getresponse().read() == expected
    connection.close()


def test_an_answer_that_needs_no_thread_never_reaches_the_origin(shelf: Shelf) -> None:
    known = BodyAnswer(status=200, headers={}, body=b"known")
    with serving(shelf, quick=lambda _: known) as client:
        assert client.ask("/page").read() == b"known"
    assert shelf.asked == []


def test_what_is_held_is_sent_however_many_wait_for_something_else(
    shelf: Shelf, content: bytes
) -> None:
    gate = threading.Event()
    page = shelf.replies["/page"]

    def waiting() -> Reply:
        gate.wait(SECONDS)
        return page()

    shelf.replies["/page"] = waiting
    with serving(shelf, is_held=lambda request: request.url == "/file") as client:
        with ExitStack() as stack:
            for _ in range(260):
                made = stack.enter_context(socket.create_connection(("127.0.0.1", client.port)))
                made.sendall(b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert shelf.is_idle(but=256)  # As many as there are threads.
            assert client.ask("/file").read() == content
            gate.set()
        assert shelf.is_idle()


def test_headers_of_several_lines_count_together(shelf: Shelf, client: Client) -> None:
    with socket.create_connection(("127.0.0.1", client.port), timeout=SECONDS) as connection:
        lines = b"Via: 1.1 one\r\nAccept: a/b\r\nvia: 1.1 two\r\nAccept: c/d\r\n"
        connection.sendall(b"GET /page HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    headers = shelf.asked[0].headers
    assert (headers["via"], headers["accept"]) == ("1.1 one, 1.1 two", "a/b, c/d")


@pytest.mark.parametrize(("host", "status"), [("localhost:1", 200), ("evil.test", 421)])
def test_the_host_of_a_whole_url_counts_instead_of_the_header(
    client: Client, host: str, status: int
) -> None:
    assert client.ask(f"http://{host}/page").status == status


# A file that arrives


def test_a_file_that_arrives_is_sent_as_far_as_it_may_be(
    shelf: Shelf, client: Client, content: bytes, tmp_path: Path
) -> None:
    gate = threading.Event()

    def stops() -> Iterator[int]:
        yield SIZE // 2
        assert gate.wait(SECONDS)
        yield SIZE

    with (tmp_path / "blob").open("rb") as file:
        shelf.replies["/new"] = lambda: ArrivingAnswer(file=file, size=SIZE, stops=stops(), tag=TAG)
        answer = client.ask("/new")
        assert answer.read(SIZE // 2) == content[: SIZE // 2]
        gate.set()
        assert answer.read() == content[SIZE // 2 :]
        assert shelf.is_idle()


@pytest.mark.parametrize("error", [OSError("gone"), None])
def test_a_file_that_does_not_arrive_to_its_end_is_broken_off(
    shelf: Shelf, client: Client, tmp_path: Path, error: OSError | None
) -> None:
    def stops() -> Iterator[int]:
        yield 1000
        if error:
            raise error

    with (tmp_path / "blob").open("rb") as file:
        shelf.replies["/new"] = lambda: ArrivingAnswer(file=file, size=SIZE, stops=stops(), tag=TAG)
        assert broken_off(client.ask("/new")) == 1000
        assert shelf.is_idle()


def test_a_file_that_was_cut_off_is_broken_off(
    shelf: Shelf, client: Client, tmp_path: Path
) -> None:
    with (tmp_path / "blob").open("rb") as file:
        shelf.replies["/new"] = lambda: ArrivingAnswer(
            file=file, size=2 * SIZE, stops=iter([2 * SIZE]), tag=TAG
        )
        assert broken_off(client.ask("/new")) == SIZE


@pytest.mark.parametrize("headers", [{"content-length": "6"}, {}])
def test_an_answer_is_passed_on_with_a_length_or_without(
    shelf: Shelf, client: Client, headers: dict[str, str]
) -> None:
    shelf.replies["/far"] = lambda: RelayAnswer(
        status=206, headers={**headers, "server": "x"}, blocks=iter([b"abc", b"def"])
    )
    answer = client.ask("/far")
    assert (answer.status, answer.read()) == (206, b"abcdef")
    assert client.ask("/far", "HEAD").read() == b""


def test_an_answer_that_breaks_off_breaks_off_for_the_client(shelf: Shelf, client: Client) -> None:
    def blocks() -> Iterator[bytes]:
        yield b"abc"
        message = "reset"
        raise OSError(message)

    shelf.replies["/far"] = lambda: RelayAnswer(
        status=200, headers={"content-length": "6"}, blocks=blocks()
    )
    assert broken_off(client.ask("/far")) == 3


# Clients that do not behave


def test_a_client_that_goes_away_in_the_middle_frees_all(shelf: Shelf, client: Client) -> None:
    def stops() -> Iterator[int]:
        while True:  # Nothing more comes.
            yield 1000
            time.sleep(0.01)

    file = (shelf.replies["/file"]().path).open("rb")  # type: ignore[union-attr]
    shelf.replies["/new"] = lambda: ArrivingAnswer(file=file, size=SIZE, stops=stops(), tag=TAG)
    with file:
        assert client.ask("/new").read(1000)
        client.open.pop().close()
        assert shelf.is_idle()
    assert client.ask("/page").read() == b"page"


def test_a_client_that_reads_nothing_holds_no_more_than_a_little_of_a_file(
    shelf: Shelf, client: Client
) -> None:
    with socket.create_connection(("127.0.0.1", client.port)) as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.sendall(b"GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert lazy.recv(100)
        assert client.ask("/page").read() == b"page"
        assert shelf.is_idle(but=1)  # It waits, and nobody else does.
    assert shelf.is_idle()


def test_many_clients_are_answered_at_once(client: Client, content: bytes) -> None:
    answers = [client.ask("/file") for _ in range(20)]
    assert all(answer.read() == content for answer in answers)


def test_headers_that_are_too_large_are_refused(shelf: Shelf, client: Client) -> None:
    answer = client.ask("/page", X="x" * 40_000)
    assert answer.status == 431
    assert shelf.asked == []


def test_headers_without_an_end_are_not_collected(client: Client) -> None:
    with socket.create_connection(("127.0.0.1", client.port), timeout=SECONDS) as endless:
        endless.sendall(b"GET /page HTTP/1.1\r\n")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            endless.sendall(b"X: xxxxxx\r\n" * 10_000_000)


@pytest.mark.parametrize("line", [b"nonsense\r\n\r\n", b"GET /page HTTP/1.1\r\n\r\n"])
def test_what_is_no_request_is_refused(client: Client, line: bytes) -> None:
    with socket.create_connection(("127.0.0.1", client.port), timeout=SECONDS) as connection:
        connection.sendall(line)
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("headers", "status"), [({"Host": "evil.test"}, 421), ({"Host": "localhost:1"}, 401)]
)
def test_who_may_not_ask_does_not_reach_the_origin(
    shelf: Shelf, headers: dict[str, str], status: int
) -> None:
    with serving(shelf, "secret") as client:
        assert client.ask("/page", **headers).status == status
        right = base64.b64encode(b"anybody:secret").decode()
        assert client.ask("/page", Authorization=f"Basic {right}").status == 200
        assert not any("secret" in line or right in line for line in client.told)
    assert len(shelf.asked) == 1


def test_a_method_that_changes_things_is_refused(client: Client) -> None:
    assert client.ask("/page", "POST").status == 405


def test_a_fault_of_the_origin_is_told_and_answered(shelf: Shelf) -> None:
    with serving(shelf) as client:
        assert client.ask("/absent").status == 500
        assert client.ask("/page").status == 200
    assert client.faults == ["KeyError: '/absent'"]
