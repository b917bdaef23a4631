"""A forward proxy on loopback, for one child process, that answers from the store.

`http` requests arrive in absolute form; for `https` CONNECT is ended here by TLS with a
certificate of our own authority, so that the child's requests can be answered at their
original URLs. What the answers are is for the `Origin` to say.
"""

from __future__ import annotations

import base64
import hmac
import http.server
import os
import re
import secrets
import socket
import socketserver
import ssl
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol, Self

from provisioner import __version__
from provisioner.adapters._origin import (
    FAILED,
    ArrivingAnswer,
    BodyAnswer,
    FileAnswer,
    Origin,
    RelayAnswer,
    Reply,
    Request,
)
from provisioner.core.entity import file_head, file_headers
from provisioner.core.urls import without_secrets
from provisioner.errors import GpuenvError, said

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

_BLOCK_BYTES: Final = 1 << 18
_USER: Final = "gpuenv"
# How long leaving the context may take.
_POLL_SECONDS: Final = 0.02
_LOOPBACK_SECONDS: Final = 5.0
_AUTHORITY: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


class CutOff:
    """An origin that has nothing, and remembers what it was asked for: no network at all."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    @contextmanager
    def answer(self, request: Request) -> Iterator[Reply]:
        """Refuse, with a status that no client retries or takes for "no such package"."""
        self.asked.append(without_secrets(request.url))
        body = b"the network is cut off\n"
        yield BodyAnswer(status=FAILED, headers={"content-type": "text/plain"}, body=body)


class Authority(Protocol):
    """Whoever vouches for the hosts that the gateway speaks for."""

    @property
    def certificate(self) -> bytes:
        """What a client has to trust, PEM."""

    def context(self, host: str) -> ssl.SSLContext:
        """A server's TLS settings for a host."""


class Gateway:
    """The proxy, from entering to leaving the context.

    `folder` is private, lives as long, and may hold what else the child process needs.
    """

    def __init__(self, origin: Origin, authority: Authority) -> None:
        self._authority = authority
        self._secret = secrets.token_urlsafe(24)
        self._server = _Server(origin, self._authority, self._secret)
        self._temporary = tempfile.TemporaryDirectory(prefix="gpuenv-")
        self.folder = Path(self._temporary.name)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), daemon=True
        )

    def __enter__(self) -> Self:
        """Begin to answer.

        Raises:
            GpuenvError: this machine cannot reach itself.
        """
        try:
            # Else uv would fail, and say of each host that it is that one which is not reached.
            here = ("127.0.0.1", self._server.server_address[1])
            socket.create_connection(here, _LOOPBACK_SECONDS).close()
        except OSError as error:
            self._server.server_close()
            self._temporary.cleanup()
            message = "this machine cannot reach itself at `127.0.0.1`, where uv is to ask gpuenv"
            raise GpuenvError(
                message,
                causes=(said(error),),
                hint="`ip link set lo up` brings the loopback interface up",
                code="no-loopback",
            ) from error
        certificate = self.folder / "authority.pem"
        certificate.write_bytes(self._authority.certificate)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._temporary.cleanup()

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that send a child process through the gateway.

        Only our authority is trusted in the child, so that nothing gets past us. uv's own
        settings `no-cache` and `offline` would defeat the purpose, and a file may take long
        to arrive. Retrying is for whoever asks upstream, which is us.
        """
        port = self._server.server_address[1]
        proxy = f"http://{_USER}:{self._secret}@127.0.0.1:{port}"
        certificate = str(self.folder / "authority.pem")
        return {
            "HTTP_PROXY": proxy,
            "HTTPS_PROXY": proxy,
            "http_proxy": proxy,
            "https_proxy": proxy,
            "PIP_PROXY": proxy,  # pip's own setting counts for more than the others.
            "NO_PROXY": "",
            "SSL_CERT_FILE": certificate,
            "REQUESTS_CA_BUNDLE": certificate,
            "PIP_CERT": certificate,
            "UV_HTTP_TIMEOUT": "3600",
            "UV_HTTP_RETRIES": "1",
            "UV_NO_CACHE": "0",
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_OFFLINE": "0",
        }


BYPASSES: Final = frozenset(
    {"no_proxy", "ALL_PROXY", "all_proxy", "SSL_CERT_DIR", "SSL_CLIENT_CERT"}
)
"""Variables of the user that must not reach a child behind the gateway."""


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, origin: Origin, authority: Authority, secret: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.origin = origin
        self.authority = authority
        token = base64.b64encode(f"{_USER}:{secret}".encode()).decode()
        self.authorization = f"Basic {token}"

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """A client that went away is no error of ours."""


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    # What cannot be read gets an answer with a status too, which HTTP/0.9 has not.
    default_request_version = "HTTP/1.1"
    server: _Server
    server_version = f"gpuenv/{__version__}"
    timeout = 3600
    wbufsize = -1
    _inside: str | None = None

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().setup()

    def do_CONNECT(self) -> None:
        """End the tunnel here and speak TLS in it as the host that was asked for."""
        if not self._allowed():
            return
        authority = self.path
        if not _AUTHORITY.fullmatch(authority):
            self._body(BodyAnswer(status=400, headers={}, body=b"no host and port\n"))
            return
        host = authority.rpartition(":")[0].strip("[]")
        self.send_response_only(200, "Connection established")
        self.end_headers()
        self.wfile.flush()
        try:
            self.connection = self.server.authority.context(host).wrap_socket(
                self.connection, server_side=True
            )
        except (OSError, ValueError):
            self.close_connection = True
            return
        self.rfile = self.connection.makefile("rb", -1)
        self.wfile = self.connection.makefile("wb", -1)
        self._inside = authority.removesuffix(":443")
        self.close_connection = False

    def do_GET(self) -> None:
        """Answer from the origin."""
        if self._inside is None and not self._allowed():
            return
        if self._inside is not None and self.path.startswith("/"):
            url = f"https://{self._inside}{self.path}"
        elif self._inside is None and self.path.startswith("http://"):
            url = self.path
        else:
            self._body(BodyAnswer(status=400, headers={}, body=b"this is a proxy\n"))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(method=self.command, url=url, headers=headers)
        with self.server.origin.answer(request) as answer:
            if isinstance(answer, FileAnswer):
                self._file(answer)
            elif isinstance(answer, ArrivingAnswer):
                self._arriving(answer)
            elif isinstance(answer, BodyAnswer):
                self._body(answer)
            else:
                self._relay(answer)

    do_HEAD = do_GET  # noqa: N815

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            return
        finally:
            if isinstance(self.connection, ssl.SSLSocket):
                self.connection.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing: the origin knows what was asked."""

    def _allowed(self) -> bool:
        given = self.headers.get("Proxy-Authorization", "")
        if hmac.compare_digest(given.encode(), self.server.authorization.encode()):
            return True
        self.send_response(407)
        self.send_header("Proxy-Authenticate", 'Basic realm="gpuenv"')
        self.send_header("Content-Length", "0")
        self.end_headers()
        return False

    def _file(self, answer: FileAnswer) -> None:
        asked = {name.lower(): value for name, value in self.headers.items()}
        with answer.path.open("rb") as file:
            head = file_head(
                self.command,
                asked,
                tag=answer.tag,
                size=os.fstat(file.fileno()).st_size,
                cache_control=answer.cache_control,
            )
            self._head(head.status, head.headers)
            if head.count:
                self._copy(file, head.first, head.count)

    def _arriving(self, answer: ArrivingAnswer) -> None:
        # The length is promised: until all has been sent, only breaking off tells.
        ends_anyway, self.close_connection = self.close_connection, True
        self._head(
            200,
            {**file_headers(answer.tag, answer.cache_control), "Content-Length": str(answer.size)},
        )
        at = 0
        try:
            for stop in answer.stops:
                self._copy(answer.file, at, stop - at)
                at = stop
        except Exception:  # noqa: BLE001 - it is the origin's to tell, or the client is gone
            return
        self.close_connection = ends_anyway or at < answer.size

    def _copy(self, file: BinaryIO, offset: int, count: int) -> None:
        """Send bytes of a file, from the page cache."""
        if count and not isinstance(self.connection, ssl.SSLSocket):
            count -= self.connection.sendfile(file, offset, count)
            if count:
                raise _cut_off(file)
        while count:
            block = os.pread(file.fileno(), min(count, _BLOCK_BYTES), offset)
            if not block:
                raise _cut_off(file)
            self.connection.sendall(block)
            offset, count = offset + len(block), count - len(block)

    def _body(self, answer: BodyAnswer) -> None:
        self._head(answer.status, {**answer.headers, "Content-Length": str(len(answer.body))})
        if self.command != "HEAD":
            self.wfile.write(answer.body)
            self.wfile.flush()

    def _relay(self, answer: RelayAnswer) -> None:
        headers = {
            name: value for name, value in answer.headers.items() if name not in _NOT_RELAYED
        }
        if "content-length" not in headers:
            headers["connection"] = "close"
            self.close_connection = True
        self._head(answer.status, headers)
        if self.command != "GET":
            return
        try:
            for block in answer.blocks:
                self.wfile.write(block)
            self.wfile.flush()
        except Exception:  # noqa: BLE001 - the length was promised: only breaking off tells
            self.close_connection = True

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()


def _cut_off(file: BinaryIO) -> OSError:
    message = f"`{file.name}` was cut off while it was sent"
    return OSError(message)


_NOT_RELAYED: Final = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "date", "server", "proxy-authenticate"}
)
