"""The gateway, over real sockets: what a client sends and what it gets."""

from __future__ import annotations

import base64
import ensurepip
import hashlib
import http.client
import os
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from provisioner.adapters._origin import (
    ArrivingAnswer,
    BodyAnswer,
    FileAnswer,
    RelayAnswer,
    Reply,
    Request,
)
from provisioner.adapters.certificates import CertificateAuthority
from provisioner.adapters.gateway import Gateway
from provisioner.core.index_policy import IMMUTABLE
from tests.cli.machine import without_network

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONTENT = bytes(range(256)) * 8
LARGE_BYTES = 48 << 20
SECONDS = 30.0


class Shelf:
    """An origin that has one answer for each URL, and remembers what it was asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._replies: dict[str, Reply] = {}
        self.asked: list[Request] = []

    def put(self, url: str, reply: Reply) -> None:
        """Answer a URL so."""
        self._replies[url] = reply

    def put_file(self, url: str, content: bytes) -> str:
        """Answer a URL with a file; its entity tag."""
        digest = hashlib.sha256(content).hexdigest()
        path = self._folder / digest
        path.write_bytes(content)
        self.put(url, FileAnswer(path=path, tag=digest))
        return f'"{digest}"'

    @contextmanager
    def answer(self, request: Request) -> Iterator[Reply]:
        """Answer."""
        self.asked.append(request)
        yield self._replies.get(request.url) or BodyAnswer(status=404, headers={}, body=b"")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """An origin without answers."""
    return Shelf(tmp_path)


@pytest.fixture
def gateway(shelf: Shelf) -> Iterator[Gateway]:
    """A gateway that is open."""
    with Gateway(shelf, CertificateAuthority()) as opened:
        yield opened


def address(gateway: Gateway) -> tuple[str, int]:
    """Where the gateway listens."""
    proxy = urlsplit(gateway.variables["HTTP_PROXY"])
    assert proxy.hostname is not None
    assert proxy.port is not None
    return proxy.hostname, proxy.port


def authorization(gateway: Gateway) -> dict[str, str]:
    """The header that a child of ours sends."""
    proxy = urlsplit(gateway.variables["HTTP_PROXY"])
    token = base64.b64encode(f"{proxy.username}:{proxy.password}".encode()).decode()
    return {"Proxy-Authorization": f"Basic {token}"}


def trusting(gateway: Gateway) -> ssl.SSLContext:
    """A client's settings that trust the gateway's authority alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=gateway.variables["SSL_CERT_FILE"])
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@contextmanager
def plain(gateway: Gateway) -> Iterator[http.client.HTTPConnection]:
    """A connection to the gateway itself."""
    connection = http.client.HTTPConnection(*address(gateway), timeout=SECONDS)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def tunnel(gateway: Gateway, host: str) -> Iterator[http.client.HTTPSConnection]:
    """A connection through CONNECT and TLS, as Python's own client makes it."""
    connection = http.client.HTTPSConnection(
        *address(gateway), timeout=SECONDS, context=trusting(gateway)
    )
    connection.set_tunnel(host, headers=authorization(gateway))
    try:
        yield connection
    finally:
        connection.close()


def ask(
    connection: http.client.HTTPConnection,
    url: str,
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one request."""
    connection.request(method, url, headers=dict(headers or {}))
    response = connection.getresponse()
    found = {name.lower(): value for name, value in response.getheaders()}
    return response.status, found, response.read()


def get(
    gateway: Gateway, url: str, headers: Mapping[str, str] | None = None, method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    """One request in absolute form, with the secret."""
    with plain(gateway) as connection:
        return ask(connection, url, {**authorization(gateway), **(headers or {})}, method)


@contextmanager
def through_httpx(gateway: Gateway) -> Iterator[httpx.Client]:
    """A client like pip's or ours, set up by the gateway's variables alone."""
    with httpx.Client(
        proxy=gateway.variables["HTTPS_PROXY"], verify=trusting(gateway), trust_env=False
    ) as client:
        yield client


def test_a_request_in_absolute_form_is_answered_from_the_origin(
    shelf: Shelf, gateway: Gateway
) -> None:
    shelf.put("http://index.test/demo/", BodyAnswer(status=200, headers={"x-a": "b"}, body=b"page"))

    status, headers, body = get(gateway, "http://index.test/demo/", {"Accept": "text/html"})

    assert (status, headers["x-a"], body) == (200, "b", b"page")
    assert headers["content-length"] == "4"
    (request,) = shelf.asked
    assert (request.method, request.url) == ("GET", "http://index.test/demo/")
    assert request.headers["accept"] == "text/html"


def test_a_tunnel_is_ended_here_and_its_urls_are_the_original_ones(
    shelf: Shelf, gateway: Gateway
) -> None:
    shelf.put("https://index.test/demo/?q=1", BodyAnswer(status=200, headers={}, body=b"page"))

    with tunnel(gateway, "index.test") as connection:
        status, _, body = ask(connection, "/demo/?q=1")

    assert (status, body) == (200, b"page")


def test_another_port_stays_in_the_url(shelf: Shelf, gateway: Gateway) -> None:
    with tunnel(gateway, "index.test:8443") as connection:
        ask(connection, "/demo/")

    assert [request.url for request in shelf.asked] == ["https://index.test:8443/demo/"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8443"])
def test_a_host_that_is_an_address_gets_a_certificate_for_it(
    host: str, shelf: Shelf, gateway: Gateway
) -> None:
    shelf.put(f"https://{host}/demo/", BodyAnswer(status=200, headers={}, body=b"page"))

    with tunnel(gateway, host) as connection:
        assert ask(connection, "/demo/")[2] == b"page"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_httpx_goes_through_with_the_variables_alone(
    scheme: str, shelf: Shelf, gateway: Gateway
) -> None:
    url = f"{scheme}://index.test/demo/"
    shelf.put(url, BodyAnswer(status=200, headers={}, body=b"page"))

    with through_httpx(gateway) as client:
        assert client.get(url).content == b"page"


def test_http_2_is_not_agreed_on_in_a_tunnel(gateway: Gateway) -> None:
    with tunnel(gateway, "index.test") as connection:
        ask(connection, "/demo/")
        assert isinstance(connection.sock, ssl.SSLSocket)
        assert connection.sock.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize(
    "given", [{}, {"Proxy-Authorization": "Basic Z3B1ZW52Ond"}, {"Proxy-Authorization": "\xe4"}]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "CONNECT"])
def test_without_the_secret_nothing_is_answered(
    method: str, given: dict[str, str], shelf: Shelf, gateway: Gateway
) -> None:
    url = "index.test:443" if method == "CONNECT" else "http://index.test/demo/"

    with plain(gateway) as connection:
        status, headers, body = ask(connection, url, given, method)

    assert (status, body) == (407, b"")
    assert headers["proxy-authenticate"].startswith("Basic")
    assert shelf.asked == []


def test_a_request_that_is_for_no_proxy_is_refused(shelf: Shelf, gateway: Gateway) -> None:
    assert get(gateway, "/demo/")[0] == 400
    assert shelf.asked == []


@pytest.mark.parametrize(
    "authority",
    [
        "index.test",
        "index.test:",
        ":443",
        "index.test:https",
        "user@index.test:443",
        "index.test/../evil:443",
        "[::1:443",
        "https://index.test:443",
    ],
)
def test_a_tunnel_to_what_is_no_host_and_port_is_refused(
    authority: str, shelf: Shelf, gateway: Gateway
) -> None:
    with plain(gateway) as connection:
        assert ask(connection, authority, authorization(gateway), "CONNECT")[0] == 400
    assert shelf.asked == []


@pytest.mark.parametrize("path", ["@evil.test/demo/", "http://evil.test/demo/", ":8443/demo/"])
def test_a_request_in_a_tunnel_stays_with_its_host(
    path: str, shelf: Shelf, gateway: Gateway
) -> None:
    with tunnel(gateway, "index.test") as connection:
        assert ask(connection, path)[0] == 400
    assert shelf.asked == []


MANY_HEADERS = "X-A: 1\r\n" * 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (f"GET http://index.test/{'x' * (1 << 16)} HTTP/1.1\r\n\r\n", 414),
        (f"GET http://index.test/ HTTP/1.1\r\nX-A: {'x' * (1 << 16)}\r\n\r\n", 431),
        (f"GET http://index.test/ HTTP/1.1\r\n{MANY_HEADERS}\r\n", 431),
        ("GET http://index.test/ HTTP/x\r\n\r\n", 400),
        ("GET\r\n\r\n", 400),
        ("\x16\x03\x01 client hello\r\n\r\n", 400),
        ("POST http://index.test/ HTTP/1.1\r\n\r\n", 501),
    ],
)
def test_what_is_no_request_gets_a_clear_answer_and_nobody_else_is_harmed(
    sent: str, status: int, shelf: Shelf, gateway: Gateway
) -> None:
    with socket.create_connection(address(gateway), timeout=SECONDS) as connection:
        connection.sendall(sent.encode("latin-1"))
        answer = connection.makefile("rb").readline().decode("latin-1")

    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert shelf.asked == []
    shelf.put_file("http://index.test/a.whl", CONTENT)
    assert get(gateway, "http://index.test/a.whl")[2] == CONTENT


def test_the_gateway_listens_on_loopback_alone(gateway: Gateway) -> None:
    assert address(gateway)[0] == "127.0.0.1"


def test_a_file_has_its_hash_for_a_tag_and_never_changes(shelf: Shelf, gateway: Gateway) -> None:
    tag = shelf.put_file("http://index.test/a.whl", CONTENT)

    status, headers, body = get(gateway, "http://index.test/a.whl")

    assert (status, body) == (200, CONTENT)
    assert headers["etag"] == tag
    assert headers["cache-control"] == IMMUTABLE
    assert headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_head_has_the_length_and_no_body(scheme: str, shelf: Shelf, gateway: Gateway) -> None:
    url = f"{scheme}://index.test/a.whl"
    shelf.put_file(url, CONTENT)

    with through_httpx(gateway) as client:
        response = client.head(url)
        assert response.headers["content-length"] == str(len(CONTENT))
        assert response.content == b""
        # The connection is still in step.
        assert client.get(url).content == CONTENT


def test_head_of_a_page_has_no_body(shelf: Shelf, gateway: Gateway) -> None:
    shelf.put("http://index.test/demo/", BodyAnswer(status=200, headers={}, body=b"page"))

    status, headers, body = get(gateway, "http://index.test/demo/", method="HEAD")

    assert (status, headers["content-length"], body) == (200, "4", b"")
    assert shelf.asked[0].method == "HEAD"


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-99", 0, 99),
        ("bytes=100-", 100, 2047),
        ("bytes=2000-9999", 2000, 2047),
        ("bytes=-48", 2000, 2047),
        ("bytes=-9999", 0, 2047),
        (" bytes=5-6 ", 5, 6),
    ],
)
def test_a_range_brings_that_part(
    wanted: str, first: int, last: int, shelf: Shelf, gateway: Gateway
) -> None:
    shelf.put_file("http://index.test/a.whl", CONTENT)

    status, headers, body = get(gateway, "http://index.test/a.whl", {"Range": wanted})

    assert status == 206
    assert headers["content-range"] == f"bytes {first}-{last}/2048"
    assert body == CONTENT[first : last + 1]


@pytest.mark.parametrize("wanted", ["bytes=2048-", "bytes=5000-6000", "bytes=-0"])
def test_a_range_beyond_the_end_cannot_be_satisfied(
    wanted: str, shelf: Shelf, gateway: Gateway
) -> None:
    shelf.put_file("http://index.test/a.whl", CONTENT)

    status, headers, body = get(gateway, "http://index.test/a.whl", {"Range": wanted})

    assert (status, headers["content-range"], body) == (416, "bytes */2048", b"")


@pytest.mark.parametrize(
    "wanted", ["bytes=-", "bytes=a-b", "pages=1-2", "bytes=0-1,4-5", "nonsense", "bytes=7-3"]
)
def test_a_range_that_is_none_brings_the_whole(wanted: str, shelf: Shelf, gateway: Gateway) -> None:
    shelf.put_file("http://index.test/a.whl", CONTENT)

    status, _, body = get(gateway, "http://index.test/a.whl", {"Range": wanted})

    assert (status, body) == (200, CONTENT)


def test_a_range_of_an_empty_file_cannot_be_satisfied(shelf: Shelf, gateway: Gateway) -> None:
    shelf.put_file("http://index.test/a.whl", b"")

    assert get(gateway, "http://index.test/a.whl", {"Range": "bytes=0-"})[0] == 416
    assert get(gateway, "http://index.test/a.whl")[2] == b""


def test_who_has_the_file_gets_no_body_again(shelf: Shelf, gateway: Gateway) -> None:
    tag = shelf.put_file("http://index.test/a.whl", CONTENT)

    status, headers, body = get(gateway, "http://index.test/a.whl", {"If-None-Match": tag})

    assert (status, headers["etag"], body) == (304, tag, b"")
    assert headers["cache-control"] == IMMUTABLE


def test_who_has_another_file_gets_this_one(shelf: Shelf, gateway: Gateway) -> None:
    shelf.put_file("http://index.test/a.whl", CONTENT)

    status, _, body = get(gateway, "http://index.test/a.whl", {"If-None-Match": '"old"'})

    assert (status, body) == (200, CONTENT)


def test_a_download_goes_on_only_where_the_file_is_the_same(shelf: Shelf, gateway: Gateway) -> None:
    tag = shelf.put_file("http://index.test/a.whl", CONTENT)
    rest = {"Range": "bytes=2000-"}

    same = get(gateway, "http://index.test/a.whl", {**rest, "If-Range": tag})
    other = get(gateway, "http://index.test/a.whl", {**rest, "If-Range": '"old"'})

    assert (same[0], same[2]) == (206, CONTENT[2000:])
    assert (other[0], other[2]) == (200, CONTENT)


def test_one_tunnel_serves_many_requests(shelf: Shelf, gateway: Gateway) -> None:
    tag = shelf.put_file("https://index.test/a.whl", CONTENT)
    shelf.put("https://index.test/demo/", BodyAnswer(status=200, headers={}, body=b"page"))

    with tunnel(gateway, "index.test") as connection:
        ask(connection, "/demo/")
        opened = connection.sock
        assert ask(connection, "/a.whl")[2] == CONTENT
        assert ask(connection, "/a.whl", {"Range": "bytes=-8"})[2] == CONTENT[-8:]
        assert ask(connection, "/a.whl", {"If-None-Match": tag})[0] == 304
        assert ask(connection, "/a.whl", method="HEAD")[2] == b""
        assert ask(connection, "/a.whl", {"Range": "bytes=9999-"})[0] == 416
        assert ask(connection, "/missing/")[0] == 404
        assert ask(connection, "/demo/")[2] == b"page"
        assert connection.sock is opened


def test_one_plain_connection_serves_many_requests(shelf: Shelf, gateway: Gateway) -> None:
    shelf.put_file("http://index.test/a.whl", CONTENT)

    with plain(gateway) as connection:
        for _ in range(3):
            url = "http://index.test/a.whl"
            assert ask(connection, url, authorization(gateway))[2] == CONTENT
            opened = connection.sock
        assert connection.sock is opened


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_large_file_arrives_identical(scheme: str, shelf: Shelf, gateway: Gateway) -> None:
    url = f"{scheme}://index.test/large.whl"
    content = os.urandom(1 << 20) * (LARGE_BYTES >> 20)
    shelf.put_file(url, content)

    with through_httpx(gateway) as client:
        arrived = client.get(url).content

    assert len(arrived) == LARGE_BYTES
    assert arrived == content


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_client_that_reads_slowly_gets_the_whole_file(
    scheme: str, shelf: Shelf, gateway: Gateway
) -> None:
    url = f"{scheme}://index.test/large.whl"
    content = os.urandom(1 << 20) * (LARGE_BYTES >> 20)
    shelf.put_file(url, content)

    with through_httpx(gateway) as client, client.stream("GET", url) as response:
        # More than every buffer between us: the gateway has to wait.
        threading.Event().wait(0.5)
        arrived = response.read()

    assert hashlib.sha256(arrived).digest() == hashlib.sha256(content).digest()


def test_many_clients_are_answered_at_once(shelf: Shelf, gateway: Gateway) -> None:
    shelf.put_file("https://index.test/a.whl", CONTENT)
    together = threading.Barrier(16, timeout=SECONDS)
    found: list[bytes] = []

    def fetch() -> None:
        with tunnel(gateway, "index.test") as connection:
            connection.connect()
            together.wait()
            found.append(ask(connection, "/a.whl")[2])

    threads = [threading.Thread(target=fetch) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [CONTENT] * 16


def test_an_answer_with_a_length_is_passed_on_as_it_arrives(shelf: Shelf, gateway: Gateway) -> None:
    headers = {"content-length": "10", "etag": '"1"', "connection": "close", "server": "other"}
    shelf.put(
        "https://index.test/a.whl",
        RelayAnswer(status=206, headers=headers, blocks=iter([b"01234", b"56789"])),
    )

    with tunnel(gateway, "index.test") as connection:
        status, found, body = ask(connection, "/a.whl")
        # It was the upstream's connection that closes, not ours.
        assert ask(connection, "/missing/")[0] == 404

    assert (status, body, found["etag"]) == (206, b"0123456789", '"1"')
    assert found["server"].startswith("gpuenv/")


def test_an_answer_without_a_length_ends_with_its_connection(
    shelf: Shelf, gateway: Gateway
) -> None:
    shelf.put(
        "https://index.test/a/",
        RelayAnswer(
            status=200, headers={"transfer-encoding": "chunked"}, blocks=iter([b"abc", b"def"])
        ),
    )

    with tunnel(gateway, "index.test") as connection:
        status, headers, body = ask(connection, "/a/")

    assert (status, body) == (200, b"abcdef")
    assert "transfer-encoding" not in headers


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_answer_that_breaks_off_breaks_off_for_the_client(
    scheme: str, shelf: Shelf, gateway: Gateway
) -> None:
    def broken() -> Iterator[bytes]:
        yield b"01234"
        raise ConnectionError

    url = f"{scheme}://index.test/a.whl"
    shelf.put(url, RelayAnswer(status=200, headers={"content-length": "10"}, blocks=broken()))

    with through_httpx(gateway) as client, pytest.raises(httpx.RemoteProtocolError):
        client.get(url)


@contextmanager
def on_its_way(
    shelf: Shelf, url: str, folder: Path, stops: Iterator[int]
) -> Iterator[ArrivingAnswer]:
    """A file of which more and more may be sent."""
    path = folder / "arriving"
    path.write_bytes(CONTENT)
    with path.open("rb") as file:
        answer = ArrivingAnswer(file=file, size=len(CONTENT), stops=stops, tag="cafe")
        shelf.put(url, answer)
        yield answer


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_file_that_arrives_is_sent_as_far_as_it_may_be(
    scheme: str, shelf: Shelf, gateway: Gateway, tmp_path: Path
) -> None:
    sent = threading.Semaphore(0)

    def stops() -> Iterator[int]:
        for stop in (1, 700, 701, len(CONTENT)):
            assert sent.acquire(timeout=SECONDS)
            yield stop

    url = f"{scheme}://index.test/a.whl"
    with (
        on_its_way(shelf, url, tmp_path, stops()),
        through_httpx(gateway) as client,
        client.stream("GET", url) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["etag"] == '"cafe"'
        assert answer.headers["cache-control"] == IMMUTABLE
        assert answer.headers["content-length"] == str(len(CONTENT))
        assert b"".join(answer_blocks(answer, sent)) == CONTENT


def answer_blocks(answer: httpx.Response, more: threading.Semaphore) -> Iterator[bytes]:
    """The blocks of an answer; whoever sends it may go on after each one has come."""
    more.release()
    for block in answer.iter_raw():
        yield block
        more.release()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("fails", [True, False], ids=["raises", "ends"])
def test_a_file_that_does_not_arrive_to_its_end_is_broken_off(
    scheme: str,
    fails: bool,  # noqa: FBT001 - pytest gives it by name
    shelf: Shelf,
    gateway: Gateway,
    tmp_path: Path,
) -> None:
    def stops() -> Iterator[int]:
        yield 700
        if fails:
            message = "the wrong hash"
            raise ValueError(message)

    url = f"{scheme}://index.test/a.whl"
    with on_its_way(shelf, url, tmp_path, stops()), through_httpx(gateway) as client:
        with client.stream("GET", url) as answer:
            blocks = answer.iter_raw()
            got = next(blocks)
            with pytest.raises(httpx.RemoteProtocolError):
                next(blocks)
        assert got == CONTENT[:700]


def test_a_connection_goes_on_after_a_file_that_arrived_to_its_end(
    shelf: Shelf, gateway: Gateway, tmp_path: Path
) -> None:
    one, other = "http://index.test/a.whl", "http://index.test/b.whl"
    with (
        on_its_way(shelf, one, tmp_path, iter([len(CONTENT)])),
        on_its_way(shelf, other, tmp_path, iter([len(CONTENT)])),
        plain(gateway) as connection,
    ):
        assert ask(connection, one, authorization(gateway))[2] == CONTENT
        opened = connection.sock
        closing = {**authorization(gateway), "Connection": "close"}
        assert ask(connection, other, closing)[2] == CONTENT
        assert connection.sock is opened
        assert opened.recv(1) == b""  # Closed, as it asked.


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_file_that_is_cut_off_while_it_is_sent_is_broken_off(
    scheme: str, shelf: Shelf, gateway: Gateway, tmp_path: Path
) -> None:
    def stops() -> Iterator[int]:
        os.truncate(tmp_path / "arriving", 700)
        yield len(CONTENT)

    url = f"{scheme}://index.test/a.whl"
    with (
        on_its_way(shelf, url, tmp_path, stops()),
        through_httpx(gateway) as client,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        client.get(url)


def test_a_client_that_goes_away_harms_no_other(shelf: Shelf, gateway: Gateway) -> None:
    shelf.put_file("http://index.test/large.whl", bytes(8 << 20))
    shelf.put_file("http://index.test/a.whl", CONTENT)
    secret = authorization(gateway)["Proxy-Authorization"]

    with socket.create_connection(address(gateway), timeout=SECONDS) as leaving:
        wanted = "GET http://index.test/large.whl HTTP/1.1"
        leaving.sendall(f"{wanted}\r\nProxy-Authorization: {secret}\r\n\r\n".encode())
        leaving.recv(10)

    assert get(gateway, "http://index.test/a.whl")[2] == CONTENT


def test_a_client_that_distrusts_us_harms_no_other(shelf: Shelf, gateway: Gateway) -> None:
    shelf.put_file("https://index.test/a.whl", CONTENT)
    distrusting = ssl.create_default_context()
    connection = http.client.HTTPSConnection(
        *address(gateway), timeout=SECONDS, context=distrusting
    )
    connection.set_tunnel("index.test", headers=authorization(gateway))

    with pytest.raises(ssl.SSLCertVerificationError):
        connection.request("GET", "/a.whl")
    connection.close()

    with tunnel(gateway, "index.test") as trusted:
        assert ask(trusted, "/a.whl")[2] == CONTENT


def test_the_folder_holds_the_public_certificate_and_nothing_else(gateway: Gateway) -> None:
    certificate = Path(gateway.variables["SSL_CERT_FILE"])

    assert [path.name for path in certificate.parent.iterdir()] == [certificate.name]
    assert certificate.parent.stat().st_mode & 0o777 == 0o700
    text = certificate.read_text(encoding="ascii")
    assert text.count("BEGIN CERTIFICATE") == 1
    assert "PRIVATE" not in text


def test_every_gateway_has_a_secret_of_its_own(shelf: Shelf) -> None:
    with (
        Gateway(shelf, CertificateAuthority()) as first,
        Gateway(shelf, CertificateAuthority()) as second,
    ):
        assert authorization(first) != authorization(second)
        with plain(second) as connection:
            status, _, _ = ask(connection, "http://index.test/", authorization(first))

    assert status == 407


def test_the_port_and_the_folder_are_gone_afterwards(shelf: Shelf) -> None:
    with Gateway(shelf, CertificateAuthority()) as gateway:
        where = address(gateway)
        folder = Path(gateway.variables["SSL_CERT_FILE"]).parent
        assert folder.is_dir()

    assert not folder.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(where, timeout=SECONDS)


def test_the_port_and_the_folder_are_gone_after_an_error_too(shelf: Shelf) -> None:
    opened: list[Gateway] = []

    def fail() -> None:
        with Gateway(shelf, CertificateAuthority()) as gateway:
            opened.append(gateway)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()

    assert not Path(opened[0].variables["SSL_CERT_FILE"]).parent.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address(opened[0]), timeout=SECONDS)


def test_the_variables_leave_no_way_around_the_gateway(gateway: Gateway) -> None:
    variables = gateway.variables

    assert variables["NO_PROXY"] == ""
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    assert len({variables[name] for name in proxies}) == 1
    trusted = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT")
    assert len({variables[name] for name in trusted}) == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_pip_is_set_to_is_not_asked(
    gateway: Gateway, shelf: Shelf, tmp_path: Path, scheme: str
) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nproxy = http://127.0.0.1:9\n", encoding="utf-8")
    own = {"PIP_CONFIG_FILE": str(file), "HOME": str(tmp_path), "PIP_RETRIES": "0"}
    (pip,) = Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl")
    index = f"{scheme}://index.test"
    words = ("download", "--no-cache-dir", "--trusted-host=index.test", "-i", index, "thing")
    subprocess.run(
        [sys.executable, pip / "pip", *words],
        env={**own, **gateway.variables},
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert f"{scheme}://index.test/thing/" in {request.url for request in shelf.asked}


_ENTER = """
import sys
from provisioner.adapters.certificates import CertificateAuthority
from provisioner.adapters.gateway import CutOff, Gateway
from provisioner.errors import GpuenvError

try:
    with Gateway(CutOff(), CertificateAuthority()):
        print("entered")
except GpuenvError as error:
    print(error.code, error.causes)
"""


def test_a_machine_that_cannot_reach_itself_is_told_so() -> None:
    words = without_network()
    alone = words[: words.index(sys.executable)]
    done = subprocess.run(
        [*alone, sys.executable, "-c", _ENTER], capture_output=True, text=True, check=False
    )
    assert done.stdout == "no-loopback ('network is unreachable',)\n", done.stderr
