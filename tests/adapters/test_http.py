"""HTTP, against an index on a real socket."""

from __future__ import annotations

import base64
import gzip
import http.server
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from provisioner.adapters.http import TRIES, Answer, Http
from provisioner.core.urls import Login
from provisioner.errors import GpuenvError, NetworkError, PolicyError
from tests.simulators.index import IndexSimulator
from tests.simulators.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

WHEEL = "demo_pkg-1.0-py3-none-any.whl"
USER = ("someone", "pass:word/with@signs")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel of some blocks."""
    return make_wheel(tmp_path / "wheels", "demo-pkg", "1.0", size=300_000)


@pytest.fixture
def http_client(tmp_path: Path) -> Iterator[Http]:
    """A client without anything of the user's."""
    with client(tmp_path) as made:
        yield made


@contextmanager
def client(tmp_path: Path, allowed: Sequence[str] = (), **variables: str) -> Iterator[Http]:
    """A client with some variables and hosts that are allowed, and no netrc unless named."""
    made = Http(
        {"NETRC": str(tmp_path / "no-netrc"), **variables},
        connections=4,
        insecure_hosts=allowed,
    )
    try:
        yield made
    finally:
        made.close()


def body(answer: Answer) -> bytes:
    """All that arrives."""
    return b"".join(answer.blocks)


def netrc(tmp_path: Path, machine: str) -> str:
    """A netrc file that knows the credentials for one machine."""
    path = tmp_path / "netrc"
    path.write_text(f'machine {machine} login {USER[0]} password "{USER[1]}"\n', encoding="utf-8")
    path.chmod(0o600)
    return str(path)


def login(index: str, user: tuple[str, str] = USER) -> Login:
    """What an index asks for."""
    return Login(index=index, user=user[0], password=user[1])


class Redirector(http.server.BaseHTTPRequestHandler):
    """Answers every request with a redirect elsewhere, and keeps its headers."""

    server: RedirectingServer

    def do_GET(self) -> None:
        """Redirect."""
        self.server.seen.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(302)
        self.send_header("Location", self.server.target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Keep quiet."""


class RedirectingServer(http.server.ThreadingHTTPServer):
    """A server at another origin than the index."""

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), Redirector)
        self.target = target
        self.seen: list[Mapping[str, str]] = []


@contextmanager
def redirecting(target: str) -> Iterator[RedirectingServer]:
    """A server that redirects, while the context lasts."""
    with RedirectingServer(target) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def test_a_file_arrives_byte_for_byte(wheel: Path, http_client: Http) -> None:
    with IndexSimulator() as index:
        index.publish(wheel)
        with http_client.get(index.file_url(WHEEL)) as answer:
            assert answer.status == 200
            assert answer.headers["content-length"] == str(wheel.stat().st_size)
            assert body(answer) == wheel.read_bytes()


def test_a_missing_file_is_an_answer(http_client: Http) -> None:
    with IndexSimulator() as index, http_client.get(f"{index.url}/nothing/") as answer:
        assert answer.status == 404


def test_head_brings_headers_and_no_body(wheel: Path, http_client: Http) -> None:
    with IndexSimulator() as index:
        index.publish(wheel)
        with http_client.get(index.file_url(WHEEL), method="HEAD") as answer:
            assert answer.headers["content-length"] == str(wheel.stat().st_size)
            assert body(answer) == b""


def test_headers_are_passed_and_those_of_a_connection_are_not(
    wheel: Path, http_client: Http
) -> None:
    passed = {
        "range": "bytes=0-9",
        "accept-encoding": "gzip",
        "proxy-authorization": "Basic c2VjcmV0",
        "host": "elsewhere.test",
    }
    with IndexSimulator() as index:
        index.publish(wheel)
        with http_client.get(index.file_url(WHEEL), passed) as answer:
            assert (answer.status, body(answer)) == (206, wheel.read_bytes()[:10])
        (request,) = index.requests

    assert request.headers["accept-encoding"] == "identity"
    assert "proxy-authorization" not in request.headers
    assert request.headers["host"] == index.url.removeprefix("http://")
    assert request.headers["user-agent"].startswith("gpuenv/")


def test_redirects_are_followed_and_the_last_url_is_told(wheel: Path, http_client: Http) -> None:
    with IndexSimulator("pypi") as index:
        index.publish(wheel)
        with http_client.get(f"{index.url}/simple/Demo.Pkg") as answer:
            assert answer.status == 200
            assert answer.url == f"{index.url}/simple/demo-pkg/"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_that_is_busy_for_a_moment_is_asked_again(
    status: int, wheel: Path, http_client: Http
) -> None:
    with IndexSimulator() as index:
        index.publish(wheel)
        index.fail(WHEEL, status, times=1)
        with http_client.get(index.file_url(WHEEL)) as answer:
            assert answer.status == 200
            assert body(answer) == wheel.read_bytes()
        assert [request.status for request in index.requests] == [status, 200]


def test_a_server_that_stays_busy_is_asked_a_few_times_only(wheel: Path, http_client: Http) -> None:
    with IndexSimulator() as index:
        index.publish(wheel)
        index.fail(WHEEL, 503)
        with http_client.get(index.file_url(WHEEL)) as answer:
            assert answer.status == 503
        assert len(index.requests) == TRIES


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_refusal_is_not_asked_for_again(status: int, http_client: Http) -> None:
    with IndexSimulator() as index:
        index.fail("/demo/", status)
        with http_client.get(f"{index.url}/demo/") as answer:
            assert answer.status == status
        assert len(index.requests) == 1


def test_a_body_that_breaks_off_is_a_network_error(wheel: Path, http_client: Http) -> None:
    with IndexSimulator() as index:
        index.publish(wheel)
        index.truncate_after(WHEEL, 1000)
        with (
            http_client.get(index.file_url(WHEEL)) as answer,
            pytest.raises(NetworkError) as caught,
        ):
            body(answer)

    assert (caught.value.exit_code, caught.value.code) == (3, "unreachable")
    assert WHEEL in caught.value.message


def test_a_port_that_nobody_listens_on_is_a_network_error(http_client: Http) -> None:
    with (
        pytest.raises(NetworkError) as caught,
        http_client.get(f"http://someone:secret@127.0.0.1:{free_port()}/demo/"),
    ):
        pytest.fail("nobody can have answered")

    assert caught.value.code == "unreachable"
    assert caught.value.causes
    assert "secret" not in caught.value.message + "".join(caught.value.causes)


def test_a_private_authority_is_trusted_through_the_users_variable(
    wheel: Path, tmp_path: Path
) -> None:
    with IndexSimulator(tls=True) as index:
        index.publish(wheel)
        with (
            client(tmp_path, SSL_CERT_FILE=str(index.ca_path)) as trusting,
            trusting.get(index.file_url(WHEEL)) as answer,
        ):
            assert body(answer) == wheel.read_bytes()


def test_an_authority_that_nobody_named_is_not_trusted(wheel: Path, http_client: Http) -> None:
    with IndexSimulator(tls=True) as index:
        index.publish(wheel)
        with pytest.raises(NetworkError, match=WHEEL), http_client.get(index.file_url(WHEEL)):
            pytest.fail("the certificate must not be taken")
        assert index.requests == []


def test_a_file_of_certificates_that_is_missing_is_told_in_our_words(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    with (
        IndexSimulator() as index,
        client(tmp_path, SSL_CERT_FILE=str(missing)) as broken,
        pytest.raises(GpuenvError) as caught,
        broken.get(index.index_url),
    ):
        pytest.fail("the certificates cannot have been read")

    assert str(missing) in caught.value.message + "".join(caught.value.causes)


def test_the_proxy_of_the_given_variables_is_used(wheel: Path, tmp_path: Path) -> None:
    with IndexSimulator() as proxy:
        proxy.publish(wheel)
        with (
            client(tmp_path, ["index.test"], HTTP_PROXY=proxy.url, http_proxy=proxy.url) as behind,
            behind.get("http://index.test/demo-pkg/") as answer,
        ):
            body(answer)
        assert [request.path for request in proxy.requests] == ["http://index.test/demo-pkg/"]


def test_credentials_in_the_url_are_used(wheel: Path, http_client: Http) -> None:
    with IndexSimulator(credentials=USER) as index:
        index.publish(wheel)
        with http_client.get(f"{index.authenticated_index_url}demo-pkg/{WHEEL}") as answer:
            assert answer.status == 200
            assert body(answer) == wheel.read_bytes()


def test_credentials_of_netrc_are_used(wheel: Path, tmp_path: Path) -> None:
    with IndexSimulator(credentials=USER) as index:
        index.publish(wheel)
        with (
            client(tmp_path, NETRC=netrc(tmp_path, "127.0.0.1")) as known,
            known.get(index.file_url(WHEEL)) as answer,
        ):
            assert answer.status == 200
            assert body(answer) == wheel.read_bytes()


def test_credentials_of_netrc_for_another_machine_are_not_sent(tmp_path: Path) -> None:
    with (
        IndexSimulator(credentials=USER) as index,
        client(tmp_path, NETRC=netrc(tmp_path, "index.test")) as other,
        other.get(index.index_url) as answer,
    ):
        assert answer.status == 401
        assert "authorization" not in index.requests[0].headers


def test_what_a_client_passed_along_is_stronger_than_netrc(tmp_path: Path) -> None:
    with (
        IndexSimulator() as index,
        client(tmp_path, NETRC=netrc(tmp_path, "127.0.0.1")) as known,
        known.get(index.index_url, {"authorization": "Basic b3duOm93bg=="}),
    ):
        assert index.requests[0].headers["authorization"] == "Basic b3duOm93bg=="


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"this is no netrc\n", "line 1 is not of its form"),
        ("machine x login me password geheim\xe9".encode("latin-1"), "it is not UTF-8"),
    ],
)
def test_a_netrc_that_cannot_be_read_is_none_and_it_is_told(
    text: bytes, reason: str, tmp_path: Path
) -> None:
    broken = tmp_path / "netrc"
    broken.write_bytes(text)
    notes: list[str] = []
    with IndexSimulator() as index:
        made = Http({"NETRC": str(broken)}, connections=1, note=notes.append)
        with made.get(index.index_url) as answer:
            assert answer.status == 200
        made.close()
    assert notes == [f"the passwords in `{broken}` are not used: {reason}"]


def test_nothing_is_told_of_a_netrc_that_is_not_there(tmp_path: Path) -> None:
    notes: list[str] = []
    Http({"NETRC": str(tmp_path / "none")}, connections=1, note=notes.append).close()
    assert notes == []


@pytest.mark.parametrize(("user", "status"), [(USER[0], 200), ("another", 401)])
@pytest.mark.parametrize("source", ["url", "index"])
def test_netrc_has_the_password_of_a_user_whom_a_url_names(
    user: str, status: int, source: str, tmp_path: Path
) -> None:
    with IndexSimulator(credentials=USER) as index:
        made = Http(
            {"NETRC": netrc(tmp_path, "127.0.0.1")},
            connections=1,
            logins=[login(index.index_url, (user, ""))] if source == "index" else [],
        )
        url = index.index_url.replace("://", f"://{user}@") if source == "url" else index.index_url
        with made.get(url) as answer:
            assert answer.status == status
        made.close()


@pytest.mark.parametrize("source", ["url", "netrc", "client"])
def test_no_credentials_go_along_to_another_origin(source: str, tmp_path: Path) -> None:
    variables = {"NETRC": netrc(tmp_path, "localhost")} if source == "netrc" else {}
    headers = {"authorization": "Basic b3duOm93bg=="} if source == "client" else {}
    with (
        IndexSimulator() as index,
        redirecting(index.index_url) as server,
        client(tmp_path, **variables) as known,
    ):
        # Two names of one machine are two origins, as two ports are.
        user = "someone:secret@" if source == "url" else ""
        url = f"http://{user}localhost:{server.server_address[1]}/"
        with known.get(url, headers) as answer:
            assert answer.status == 200
        (request,) = index.requests

    assert "authorization" in server.seen[0]
    assert "authorization" not in request.headers


def test_many_threads_share_one_client(wheel: Path, http_client: Http) -> None:
    found: list[bytes] = []

    def fetch(url: str) -> None:
        with http_client.get(url) as answer:
            found.append(body(answer))

    with IndexSimulator() as index:
        index.publish(wheel)
        threads = [threading.Thread(target=fetch, args=(index.file_url(WHEEL),)) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert found == [wheel.read_bytes()] * 12


class Encoder(http.server.BaseHTTPRequestHandler):
    """Answers every request with one body, in an encoding that nobody asked for."""

    server: EncodingServer

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(self.server.sent)))
        self.end_headers()
        self.wfile.write(self.server.sent)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Keep quiet."""


class EncodingServer(http.server.ThreadingHTTPServer):
    """A server that compresses whatever it is asked."""

    def __init__(self, sent: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Encoder)
        self.sent = sent

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_address[1]}/"


@contextmanager
def encoding(sent: bytes) -> Iterator[EncodingServer]:
    """A server that compresses, while the context lasts."""
    with EncodingServer(sent) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def test_an_encoding_that_nobody_asked_for_is_undone_on_request(http_client: Http) -> None:
    content = b"a page of an index\n" * 5000
    with encoding(gzip.compress(content)) as server:
        with http_client.get(server.url) as answer:
            assert b"".join(answer.decoded) == content
        with http_client.get(server.url) as answer:
            assert body(answer) == server.sent


def test_an_encoding_that_is_not_what_it_says_is_a_network_error(http_client: Http) -> None:
    with (
        encoding(b"this is not gzip") as server,
        http_client.get(server.url) as answer,
        pytest.raises(NetworkError, match=server.url),
    ):
        b"".join(answer.decoded)


@pytest.mark.parametrize(
    "url",
    [
        "http://me:secret@index.test:port/",
        "http://me:secret@in\x00dex.test/",
        "http://me:secret@[::1/demo/",
        "http://me:secret@index.test:99999999/",
    ],
)
def test_a_url_that_is_none_is_a_network_error(url: str, http_client: Http) -> None:
    with pytest.raises(NetworkError) as caught, http_client.get(url):
        pytest.fail("nobody can have answered")

    assert caught.value.causes
    assert "secret" not in caught.value.message + "".join(caught.value.causes)


@contextmanager
def behind_proxy(tmp_path: Path, no_proxy: str) -> Iterator[tuple[Http, IndexSimulator]]:
    """A client with a proxy, but for some hosts; and that proxy."""
    with (
        IndexSimulator() as proxy,
        client(tmp_path, ["*"], http_proxy=proxy.url, NO_PROXY=no_proxy) as made,
    ):
        yield made, proxy


@pytest.mark.parametrize(
    ("no_proxy", "host"),
    [
        ("::1", "[::1]"),
        ("[::1]", "[::1]"),
        ("a.test, ::1", "[::1]"),
        (".example.test", "a.example.test"),
        ("example.test", "a.example.test"),
        ("example.test", "example.test"),
        ("*", "a.example.test"),
    ],
)
def test_a_host_of_no_proxy_is_asked_without_the_proxy(
    no_proxy: str, host: str, tmp_path: Path
) -> None:
    with behind_proxy(tmp_path, no_proxy) as (direct, proxy):
        with pytest.raises(NetworkError), direct.get(f"http://{host}:{free_port()}/demo/"):
            pytest.fail("nobody can have answered")
        assert proxy.requests == []


@pytest.mark.parametrize("no_proxy", ["*", "127.0.0.1", "a.test,127.0.0.1", " 127.0.0.1 ,a.test"])
def test_a_server_that_no_proxy_names_answers_itself(
    no_proxy: str, wheel: Path, tmp_path: Path
) -> None:
    with IndexSimulator() as index, behind_proxy(tmp_path, no_proxy) as (direct, proxy):
        index.publish(wheel)
        with direct.get(index.file_url(WHEEL)) as answer:
            assert body(answer) == wheel.read_bytes()
        assert proxy.requests == []


@pytest.mark.parametrize(
    "no_proxy",
    [
        "::1",
        "[::1]",
        "[::1]:8080",
        "fe80::/10",
        "10.0.0.0/8",
        ".example.test",
        ",",
        "a.test:80",
        ".",
    ],
)
def test_whatever_no_proxy_names_other_hosts_are_asked_through_the_proxy(
    no_proxy: str, tmp_path: Path
) -> None:
    with behind_proxy(tmp_path, no_proxy) as (behind, proxy):
        with behind.get("http://index.test/demo/") as answer:
            body(answer)
        assert [request.path for request in proxy.requests] == ["http://index.test/demo/"]


# Credentials along a chain of redirects


@pytest.mark.parametrize("source", ["url", "netrc", "client", "index"])
def test_credentials_go_along_within_their_origin(source: str, tmp_path: Path) -> None:
    with IndexSimulator("pypi", credentials=USER) as index:
        index.publish(make_wheel(tmp_path / "wheels", "demo-pkg", "1.0"))
        headers = {"authorization": f"Basic {encoded()}"} if source == "client" else {}
        variables = {"NETRC": netrc(tmp_path, "127.0.0.1")} if source == "netrc" else {}
        made = Http(
            {"NETRC": str(tmp_path / "none"), **variables},
            connections=1,
            logins=[login(index.index_url)] if source == "index" else [],
        )
        url = index.authenticated_index_url if source == "url" else index.index_url
        with made.get(f"{url}Demo.Pkg", headers) as answer:
            assert (answer.status, answer.url.rpartition("@")[2].endswith("/demo-pkg/")) == (
                200,
                True,
            )
        made.close()
        assert [request.status for request in index.requests] == [301, 200]


def test_what_a_client_passed_along_is_not_for_another_scheme(tmp_path: Path) -> None:
    """A proxy lets both schemes have their own ports, where httpx sees one origin."""

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["authorization"])
            self.send_response(302)
            self.send_header("Location", there)
            self.end_headers()

        def do_CONNECT(self) -> None:
            self.send_response(200)
            self.end_headers()
            port = int(index.url.rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port)) as inner:
                ways = [(self.connection, inner), (inner, self.connection)]
                threads = [threading.Thread(target=hand_on, args=way) for way in ways]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Keep quiet."""

    seen: list[str | None] = []
    there = "https://localhost/nothing/"
    with IndexSimulator(tls=True) as index, served_by(Proxy) as url:
        variables = {"http_proxy": url, "https_proxy": url, "SSL_CERT_FILE": str(index.ca_path)}
        with (
            client(tmp_path, **variables) as behind,
            behind.get("http://localhost/", {"authorization": f"Basic {encoded()}"}) as answer,
        ):
            assert (answer.status, answer.url) == (404, there)
        assert seen == [f"Basic {encoded()}"]
        assert ["authorization" in item.headers for item in index.requests] == [False]


def hand_on(source: socket.socket, into: socket.socket) -> None:
    """Hand on what comes, until its end."""
    with suppress(OSError):
        while block := source.recv(1 << 16):
            into.sendall(block)
        into.shutdown(socket.SHUT_WR)


@contextmanager
def served_by(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server, while the context lasts; its URL."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_another_port_of_a_host_that_netrc_knows_gets_nothing(tmp_path: Path) -> None:
    with (
        IndexSimulator() as index,
        redirecting(index.index_url) as server,
        client(tmp_path, NETRC=netrc(tmp_path, "127.0.0.1")) as known,
        known.get(f"http://127.0.0.1:{server.server_address[1]}/") as answer,
    ):
        assert answer.status == 200
        assert "authorization" in server.seen[0]
        assert "authorization" not in index.requests[0].headers


def test_an_origin_that_is_led_to_gets_the_credentials_of_its_own(
    wheel: Path, tmp_path: Path
) -> None:
    with IndexSimulator(credentials=USER) as index:
        index.publish(wheel)
        with redirecting(index.file_url(WHEEL)) as server:
            here = f"http://127.0.0.1:{server.server_address[1]}/"
            made = Http(
                {"NETRC": str(tmp_path / "none")},
                connections=1,
                logins=[login(index.index_url), login(here, ("other", "word"))],
            )
            with made.get(here) as answer:
                assert body(answer) == wheel.read_bytes()
            made.close()
            assert server.seen[0]["authorization"] != index.requests[0].headers["authorization"]


def test_redirects_and_refusals_cost_no_connection(http_client: Http) -> None:
    seen: list[object] = []
    text = b"elsewhere"

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            seen.append(self.client_address)
            self.send_response([302, 503, 200][len(seen) - 1])
            self.send_header("Location", "/there")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Keep quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        with http_client.get(f"http://127.0.0.1:{server.server_address[1]}/") as answer:
            assert (answer.status, body(answer)) == (200, text)
        http_client.close()
        server.shutdown()
    assert (len(seen), len(set(seen))) == (3, 1)


def test_two_indexes_of_one_host_get_a_password_each(tmp_path: Path) -> None:
    with redirecting("/again") as server:
        host = f"http://127.0.0.1:{server.server_address[1]}"
        logins = [login(f"{host}/{name}/simple", (name, "word")) for name in ("one", "two")]
        made = Http({"NETRC": str(tmp_path / "none")}, connections=1, logins=logins)
        sent = []
        for path, index in [
            ("one/simple/demo/", None),
            ("two/simple/demo/", None),
            ("two/files/demo.whl", None),
            ("files/demo.whl", logins[0].index),
            ("files/demo.whl", logins[1].index),
        ]:
            with pytest.raises(NetworkError), made.get(f"{host}/{path}", index=index, tries=1):
                pass
            sent.append(base64.b64decode(server.seen[0]["authorization"].split()[1]).decode())
            server.seen.clear()
        made.close()
    assert sent == ["one:word", "two:word", "two:word", "one:word", "two:word"]


def test_a_server_that_leads_in_circles_is_a_network_error(http_client: Http) -> None:
    with redirecting("/again") as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        with pytest.raises(NetworkError, match="could not fetch"), http_client.get(url):
            pytest.fail("there is no end to it")


# Servers that are busy


def test_a_pause_that_a_server_wishes_is_told_once_to_all_who_wait(tmp_path: Path) -> None:
    notes: list[str] = []
    with IndexSimulator() as index:
        index.fail("/simple/", 429, retry_after="2")
        made = Http({"NETRC": str(tmp_path / "none")}, connections=4, note=notes.append)

        def ask() -> None:
            with made.get(f"{index.url}/simple/", tries=2) as answer:
                assert answer.status == 429

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        made.close()
        host = f"http://127.0.0.1:{index.url.rpartition(':')[2]}"
    assert notes == [f"`{host}` answered with status 429, and is asked again in 2 s"]


# Plain http


def encoded() -> str:
    """The credentials as basic authentication has them."""
    return base64.b64encode(":".join(USER).encode()).decode()


def test_plain_http_over_a_network_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with IndexSimulator() as proxy, client(tmp_path, http_proxy=proxy.url) as behind:
        with (
            pytest.raises(PolicyError) as caught,
            behind.get("http://me:secret@index.test:8080/demo/"),
        ):
            pytest.fail("nobody can have been asked")
        assert proxy.requests == []

    error = caught.value
    assert (error.exit_code, error.code) == (8, "insecure-host")
    assert "`index.test`" in error.message
    assert error.hint is not None
    assert "UV_INSECURE_HOST=index.test" in error.hint
    assert "secret" not in error.message + "".join(error.causes)


def test_plain_http_to_an_allowed_host_is_not_refused(tmp_path: Path) -> None:
    with (
        IndexSimulator() as proxy,
        client(tmp_path, ["index.test"], http_proxy=proxy.url) as behind,
        behind.get("http://index.test/demo/") as answer,
    ):
        assert answer.status == 404
        assert len(proxy.requests) == 1


def test_a_redirect_to_plain_http_is_refused_and_names_both(http_client: Http) -> None:
    with redirecting("http://evil.test/demo.whl") as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/demo.whl"
        with pytest.raises(PolicyError) as caught, http_client.get(url):
            pytest.fail("nobody can have been asked")

    assert caught.value.causes == (
        f"`{url}` leads to `http://evil.test/demo.whl`, which is plain http",
    )


# Certificates


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"])
def test_a_private_authority_is_trusted_through_the_variables_of_other_tools(
    name: str, wheel: Path, tmp_path: Path
) -> None:
    with IndexSimulator(tls=True) as index:
        index.publish(wheel)
        with (
            client(tmp_path, (), **{name: str(index.ca_path)}) as trusting,
            trusting.get(index.file_url(WHEEL)) as answer,
        ):
            assert body(answer) == wheel.read_bytes()


@pytest.mark.parametrize("name", ["SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
def test_an_authority_in_a_folder_is_trusted(name: str, wheel: Path, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("there is no `openssl` to hash the authority's name with")
    with IndexSimulator(tls=True) as index:
        index.publish(wheel)
        words = ["openssl", "x509", "-hash", "-noout", "-in", str(index.ca_path)]
        hashed = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
        (tmp_path / "trusted").mkdir()
        (tmp_path / "trusted" / f"{hashed}.0").symlink_to(index.ca_path)
        with (
            client(tmp_path, (), **{name: str(tmp_path / "trusted")}) as trusting,
            trusting.get(index.file_url(WHEEL)) as answer,
        ):
            assert body(answer) == wheel.read_bytes()


def test_what_uv_trusts_is_stronger_than_what_other_tools_do(wheel: Path, tmp_path: Path) -> None:
    with IndexSimulator(tls=True) as index, IndexSimulator(tls=True) as other:
        index.publish(wheel)
        variables = {"SSL_CERT_FILE": str(index.ca_path), "PIP_CERT": str(other.ca_path)}
        with (
            client(tmp_path, (), **variables) as trusting,
            trusting.get(index.file_url(WHEEL)) as answer,
        ):
            assert answer.status == 200


def test_a_server_that_demands_a_certificate_is_shown_the_users(
    wheel: Path, tmp_path: Path
) -> None:
    with IndexSimulator(tls=True, demands_certificate=True) as index:
        index.publish(wheel)
        trusting = {"SSL_CERT_FILE": str(index.ca_path)}
        with (
            client(tmp_path, (), **trusting) as stranger,
            pytest.raises(NetworkError),
            stranger.get(index.file_url(WHEEL)) as answer,
        ):
            body(answer)
        with (
            client(tmp_path, (), **trusting, SSL_CLIENT_CERT=str(index.client_path)) as known,
            known.get(index.file_url(WHEEL)) as answer,
        ):
            assert body(answer) == wheel.read_bytes()


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "SSL_CLIENT_CERT"])
def test_a_file_that_holds_no_certificate_is_named_with_its_variable(
    name: str, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n", encoding="utf-8")
    with (
        client(tmp_path, (), **{name: str(empty)}) as broken,
        pytest.raises(GpuenvError) as caught,
        broken.get("http://127.0.0.1:9/"),
    ):
        pytest.fail("the certificates cannot have been read")

    assert caught.value.code == "certificates-unreadable"
    assert f"`{name}` is `{empty}`" in caught.value.causes[0]


def test_the_systems_certificates_count_where_the_user_says_so(wheel: Path) -> None:
    """A mount of its own puts the authority where this system looks."""
    store = ssl.get_default_verify_paths().cafile
    if store is None:
        pytest.skip("this Python knows no file of the system's certificates")
    code = (
        "import sys; from provisioner.adapters.http import Http\n"
        "made = Http({}, connections=1, system_certificates=sys.argv[2] == 'system', tries=1)\n"
        "with made.get(sys.argv[1]) as answer: print(answer.status)\n"
    )
    mounted = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
    with IndexSimulator(tls=True) as index:
        index.publish(wheel)
        cut = ["unshare", "-m", "sh", "-c", mounted, "sh", str(index.ca_path), store]
        if subprocess.run([*cut, "true"], capture_output=True, check=False).returncode:
            pytest.skip("this user may not mount anything")
        asked = [*cut, sys.executable, "-c", code, index.file_url(WHEEL)]
        system = subprocess.run([*asked, "system"], capture_output=True, text=True, check=False)
        own = subprocess.run([*asked, "own"], capture_output=True, text=True, check=False)

    assert (system.stdout.strip(), own.stdout) == ("200", ""), system.stderr
    assert "CERTIFICATE_VERIFY_FAILED" in own.stderr


def test_a_host_that_does_not_answer_is_told_once_while_it_is_waited_for() -> None:
    notes: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        made = Http(
            {}, connections=4, note=notes.append, tries=1, stall_seconds=0.5, silent_seconds=0.05
        )
        for name in ("a", "b"):
            with pytest.raises(NetworkError), made.get(f"{host}/{name}/"):
                pass
        made.close()
    assert notes == [f"waiting for `{host}`"]


def test_nothing_is_told_of_a_host_that_answers() -> None:
    notes: list[str] = []
    with IndexSimulator() as index:
        made = Http({}, connections=4, note=notes.append)
        with made.get(index.index_url):
            pass
        made.close()
    assert notes == []
