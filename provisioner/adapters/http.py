"""Files and pages over HTTP, with the proxies, certificates and credentials of the user."""

from __future__ import annotations

import netrc
import random
import re
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from weakref import WeakSet

import httpx

from provisioner import __version__
from provisioner.core.answers import BUSY, pause_wished
from provisioner.core.urls import Login, is_open, login_for, origin, without_secrets
from provisioner.errors import GpuenvError, NetworkError, PolicyError, said

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

TRIES: Final = 3

CONNECT_SECONDS: Final = 15.0
_STALL_SECONDS: Final = 30.0
_LONGEST_PAUSE: Final = 60.0
# Until it is said that a host is waited for that has not answered yet.
_SILENT_SECONDS: Final = 1.0
RETRY_STATUS: Final = BUSY | {500, 502, 504}
_MOST_REDIRECTS: Final = 20
# To read so little costs less than another connection does.
_SMALL_BODY: Final = 64 << 10
_LENGTH: Final = re.compile(r"\d{1,18}", re.ASCII)
_BUNDLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")
"""Where requests, curl and pip look, the first that is set; a file or a folder."""
_SYSTEM_FILES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # Alpine, macOS
)
_SILENT: Final = (
    httpx.TimeoutException,
    httpx.NetworkError,
    httpx.ProxyError,
    httpx.RemoteProtocolError,
    ssl.SSLError,
)
"""What says that a server cannot be reached; other errors are of what it answered."""
_HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-authorization", "te", "transfer-encoding", "host"}
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The status and headers of an answer, and its body as blocks that arrive.

    `decoded` is the body without a `Content-Encoding` that the server used unasked. Only one
    of both can be read. `abort` ends the connection, also while another thread reads.
    """

    status: int
    url: str
    headers: Mapping[str, str]
    blocks: Iterator[bytes]
    decoded: Iterator[bytes]
    abort: Callable[[], None]


class Http:
    """One pool of connections for a whole command; usable from many threads."""

    def __init__(  # noqa: PLR0913 - whose settings count, and four limits
        self,
        variables: Mapping[str, str],
        *,
        connections: int,
        logins: Iterable[Login] = (),
        insecure_hosts: Iterable[str] = (),
        note: Callable[[str], None] = lambda _: None,
        system_certificates: bool = False,
        tries: int = TRIES,
        connect_seconds: float = CONNECT_SECONDS,
        stall_seconds: float = _STALL_SECONDS,
        silent_seconds: float = _SILENT_SECONDS,
        via: str = "",
    ) -> None:
        """`connections` are how many at once; `tries` and `connect_seconds` are per request.

        `logins` are those of indexes, the strongest first.
        `insecure_hosts` may be asked without encryption. `note` is told, in words for people,
        what they wait for, and what of theirs cannot be used. `system_certificates` are trusted
        instead of Mozilla's, where no variable names any.
        `stall_seconds` is how long a connection may be silent; there is no limit to the whole.
        After `silent_seconds` it is told that a host is waited for, once for each.
        `via` is what a server calls itself by which all this is asked (RFC 9110, section 7.6.3).
        """
        self._via = {"via": f"1.1 {via}"} if via else {}
        self._stall_seconds = stall_seconds
        self._tries = tries
        self._connect_seconds = connect_seconds
        self._variables = variables
        self._insecure_hosts = tuple(insecure_hosts)
        self._system_certificates = system_certificates
        self._logins = tuple(logins)
        self._netrc = _netrc(variables, note)
        self._connections = connections
        self._client: httpx.Client | None = None
        self._making = threading.Lock()
        self._streams: WeakSet[Any] = WeakSet()
        self._closed = threading.Event()
        self._aborted = threading.Event()
        self._note = note
        self._told_until: dict[str, float] = {}
        self._known_hosts: set[str] = set()
        self._silent_seconds = silent_seconds

    @contextmanager
    def get(  # noqa: PLR0913 - what to ask, for which index, and how patiently
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        index: str | None = None,
        tries: int | None = None,
        seconds: float | None = None,
    ) -> Iterator[Answer]:
        """Ask for a URL; any status is an answer. Redirects are followed each time anew.

        `index` is the one that the file at the URL comes from, where that is known: credentials
        are those of its index, and go to the origin that they belong to, and to no other one
        that it redirects to. `tries` is how often to ask where a server is busy or cannot be
        reached, `seconds` how long it may be silent.

        Raises:
            NetworkError: no answer came, or it broke off.
            PolicyError: it would go over a network without encryption.
        """
        aborted = self._aborted  # Before the look at `_closed`, so that no `close` is missed.
        if self._closed.is_set():
            message = f"could not fetch `{without_secrets(url)}`"
            raise NetworkError(message, causes=("it was stopped",), code="unreachable")
        client = self._open()
        passed = {name: value for name, value in (headers or {}).items() if name not in _HOP_BY_HOP}
        passed["accept-encoding"] = "identity"
        shown = without_secrets(url)
        try:
            request = client.build_request(
                method,
                url,
                headers=passed,
                timeout=httpx.USE_CLIENT_DEFAULT if seconds is None else seconds,
                extensions={"trace": self._trace},
            )
            with self._telling_of(origin(url)):
                response = self._send(client, request, index, tries or self._tries, aborted)
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            raise unreachable(shown, error) from error
        try:
            yield Answer(
                status=response.status_code,
                url=str(response.url),
                headers={name.lower(): value for name, value in response.headers.items()},
                blocks=_blocks(response, shown, decoded=False),
                decoded=_blocks(response, shown, decoded=True),
                abort=lambda: _abort(response.extensions.get("network_stream")),
            )
        finally:
            response.close()

    def abort(self) -> None:
        """End every request that is there now, also one whose thread waits for its server."""
        with self._making:
            streams = tuple(self._streams)
            aborted, self._aborted = self._aborted, threading.Event()
        aborted.set()
        for stream in streams:
            _abort(stream)

    def close(self) -> None:
        """Close every connection."""
        self._closed.set()
        self.abort()
        if self._client is not None:
            self._client.close()

    def _trace(self, event: str, facts: Mapping[str, Any]) -> None:
        """Remember the streams of new connections: an answer that never came has none to end."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            stream = facts["return_value"]
            with self._making:
                self._streams.add(stream)
            if self._closed.is_set():
                # It came too late for `close`, and nobody else knows of it.
                stream.close()

    def _send(
        self,
        client: httpx.Client,
        request: httpx.Request,
        index: str | None,
        tries: int,
        aborted: threading.Event,
    ) -> httpx.Response:
        """Send until an answer comes that is worth keeping, with growing pauses."""
        for attempt in range(1, tries + 1):
            last = attempt == tries
            wished, busy = None, 0
            try:
                response = self._follow(client, request, index)
            except (httpx.TransportError, ssl.SSLError):
                if last:
                    raise
            else:
                self._known_hosts.add(origin(str(request.url)))
                if response.status_code not in RETRY_STATUS or last:
                    return response
                wished = pause_wished(response.headers, time.time())
                _leave(response)
                busy = response.status_code if response.status_code in BUSY else 0
            pause = pause_seconds(attempt, wished)
            if busy:
                self._tell_pause(origin(str(request.url)), busy, pause)
            if aborted.wait(pause):
                message = "it was stopped"
                raise httpx.ReadError(message, request=request)
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    @contextmanager
    def _telling_of(self, host: str) -> Iterator[None]:
        """Say that a host is waited for, unless it has answered by then, or ever before."""
        if host in self._known_hosts:
            yield
            return

        def tell() -> None:
            with self._making:
                is_new = host not in self._known_hosts
                self._known_hosts.add(host)
            if is_new:
                self._note(f"waiting for `{host}`")

        timer = threading.Timer(self._silent_seconds, tell)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _tell_pause(self, host: str, status: int, pause: float) -> None:
        """Say that a host is waited for, once for all who wait for it."""
        with self._making:
            now = time.monotonic()
            if now < self._told_until.get(host, 0.0):
                return
            self._told_until[host] = now + pause
        self._note(
            f"`{host}` answered with status {status}, "
            f"and is asked again in {max(1, round(pause))} s"
        )

    def _follow(
        self, client: httpx.Client, request: httpx.Request, index: str | None
    ) -> httpx.Response:
        """Send a request, and go where its answers lead."""
        first = here = origin(str(request.url))
        led = ""
        for _ in range(_MOST_REDIRECTS):
            self._refuse_open(str(request.url), led)
            # netrc knows hosts and no origins, so that it does not count where a server leads to.
            auth = _Credentials(self._logins, index, self._netrc if here == first else None)
            response = client.send(request, stream=True, auth=auth)
            following = response.next_request
            if following is None:
                return response
            _leave(response)
            led, here = str(request.url), origin(str(following.url))
            if here != origin(led):
                # httpx leaves them in place where only the scheme changes.
                following.headers.pop("authorization", None)
            request = following
        message = f"more than {_MOST_REDIRECTS} redirects"
        raise httpx.TooManyRedirects(message, request=request)

    def _refuse_open(self, url: str, led: str) -> None:
        if not is_open(url, self._insecure_hosts):
            return
        host = urlsplit(url).hostname
        message = f"`{host}` may not be asked without encryption"
        cause = f"`{without_secrets(url)}` is plain http"
        if led:
            cause = (
                f"`{without_secrets(led)}` leads to `{without_secrets(url)}`, which is plain http"
            )
        raise PolicyError(
            message,
            causes=(cause,),
            hint=f"use `https`, or allow the host by `UV_INSECURE_HOST={host}` or "
            f'`allow-insecure-host = ["{host}"]` in `uv.toml`',
            code="insecure-host",
        )

    def _open(self) -> httpx.Client:
        with self._making:
            if self._client is None:
                context = _certificates(self._variables, system=self._system_certificates)
                limits = httpx.Limits(max_connections=self._connections)
                self._client = httpx.Client(
                    verify=context,
                    mounts=_mounts(self._variables, context, limits),
                    trust_env=False,
                    timeout=httpx.Timeout(
                        self._stall_seconds, connect=self._connect_seconds, pool=None
                    ),
                    limits=limits,
                    headers={"user-agent": f"gpuenv/{__version__}", **self._via},
                )
            return self._client


class _Credentials(httpx.Auth):
    """What a client passed along, else the URL's own, else its index's, else netrc's."""

    def __init__(
        self, logins: Iterable[Login], index: str | None, known: netrc.netrc | None
    ) -> None:
        self._logins = logins
        self._index = index
        self._netrc = known

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add basic authentication, where there is none."""
        if "authorization" not in request.headers:
            user, password = request.url.username, request.url.password
            if not user and (login := login_for(str(request.url), self._logins, self._index)):
                user, password = login.user, login.password
            if not password and self._netrc:
                found = self._netrc.authenticators(request.url.host)
                # A password counts for its own user only.
                if found and user in {"", found[0]}:
                    user, password = found[0], found[2] or ""
            if user or password:
                yield from httpx.BasicAuth(user, password).auth_flow(request)
                return
        yield request


def _netrc(variables: Mapping[str, str], note: Callable[[str], None]) -> netrc.netrc | None:
    """The user's netrc, if there is one that can be read."""
    file = variables.get("NETRC") or f"{variables.get('HOME', '')}/.netrc"
    try:
        return netrc.netrc(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = said(error)
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except netrc.NetrcParseError as error:
        # Not the error's text, which may have a password in it.
        reason = f"line {error.lineno} is not of its form"
    note(f"the passwords in `{file}` are not used: {reason}")
    return None


def _certificates(variables: Mapping[str, str], *, system: bool) -> ssl.SSLContext:
    """The certificates that the user's other tools trust too, and the user's own."""
    file, folder = variables.get("SSL_CERT_FILE"), variables.get("SSL_CERT_DIR")
    names = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
    if not (file or folder):
        names = [name for name in _BUNDLES if variables.get(name)][:1]
        bundle = variables[names[0]] if names else None
        file, folder = (None, bundle) if bundle and Path(bundle).is_dir() else (bundle, None)
    try:
        if file or folder:
            context = ssl.create_default_context(cafile=file or None, capath=folder or None)
        else:
            context = _system_context() if system else httpx.create_ssl_context(trust_env=False)
        if own := variables.get("SSL_CLIENT_CERT"):
            names = ["SSL_CLIENT_CERT"]
            context.load_cert_chain(own)
    except OSError as error:
        message = "the certificates to trust, or to show, cannot be read"
        shown = " and ".join(
            f"`{name}` is `{variables[name]}`" for name in names if variables.get(name)
        )
        raise GpuenvError(
            message, causes=(f"{shown}: {said(error)}",), code="certificates-unreadable"
        ) from error
    return context


def _system_context() -> ssl.SSLContext:
    """What this system trusts."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        # A Python that was built for another system looks in the wrong place.
        found = next((path for path in _SYSTEM_FILES if Path(path).is_file()), None)
        if found:
            context.load_verify_locations(found)
    return context


def _mounts(
    variables: Mapping[str, str], context: ssl.SSLContext, limits: httpx.Limits
) -> dict[str, httpx.BaseTransport | None]:
    """The user's proxies, as curl and uv read them from the environment."""

    def value(name: str) -> str:
        return variables.get(name) or variables.get(name.upper()) or ""

    mounts: dict[str, httpx.BaseTransport | None] = {}
    for scheme in ("http", "https"):
        if proxy := value(f"{scheme}_proxy") or value("all_proxy"):
            url = proxy if "://" in proxy else f"http://{proxy}"
            try:
                transport = httpx.HTTPTransport(proxy=url, verify=context, limits=limits)
            except (ValueError, ImportError) as error:
                message = f"the proxy `{without_secrets(url)}` cannot be used"
                raise GpuenvError(message, causes=(str(error),), code="proxy-unusable") from error
            mounts[f"{scheme}://"] = transport
    for part in value("no_proxy").split(","):
        host = part.strip().lstrip(".")
        if host == "*":
            return {}
        if not host or "/" in host:
            continue  # httpx knows no networks such as 10.0.0.0/8.
        if host.count(":") > 1:  # An IPv6 address.
            mounts[f"all://{host}" if host.startswith("[") else f"all://[{host}]"] = None
        else:
            mounts[f"all://{host}"] = None
            mounts[f"all://*.{host}"] = None
    return mounts


def pause_seconds(attempt: int, wished: float | None) -> float:
    """How long to wait after an attempt, the first being 1; `wished` is what the server said.

    Chance keeps many clients from coming back all at once.
    """
    own = 0.25 * 2.0**attempt
    least = own if wished is None else max(wished, own)
    return min(least, _LONGEST_PAUSE) * random.uniform(1.0, 1.25)  # noqa: S311 - no secret


def _leave(response: httpx.Response) -> None:
    """Be done with an answer, and keep its connection where little of the body is left."""
    length = response.headers.get("content-length", "")
    with suppress(httpx.HTTPError, httpx.StreamError):
        if _LENGTH.fullmatch(length) and int(length) <= _SMALL_BODY:
            for _ in response.iter_raw():
                pass
    response.close()


def _abort(stream: Any) -> None:  # noqa: ANN401 - of httpcore, which names no type for it
    """End a connection: closing it would not wake a thread that waits for bytes."""
    found = stream.get_extra_info("socket") if stream is not None else None
    if isinstance(found, socket.socket):
        with suppress(OSError):
            # Past the one of TLS, which is not made for two threads.
            socket.socket.shutdown(found, socket.SHUT_RDWR)


def unreachable(shown: str, error: Exception) -> NetworkError:
    """The user's words for an answer that never came, broke off or cannot be used."""
    words = str(error) or type(error).__name__
    untrusted = "CERTIFICATE_VERIFY_FAILED" in words
    return NetworkError(
        f"could not fetch `{shown}`",
        causes=(words,),
        hint="set `SSL_CERT_FILE` to the certificates that your network needs"
        if untrusted
        else "check the network, or the index that the lock, the configuration or a stub names",
        code="unreachable" if isinstance(error, _SILENT) else "unusable-answer",
    )


def _blocks(response: httpx.Response, shown: str, *, decoded: bool) -> Iterator[bytes]:
    try:
        # In the pieces that arrive: a chunker would lose what it holds when a connection breaks.
        yield from response.iter_bytes() if decoded else response.iter_raw()
    except (httpx.HTTPError, httpx.StreamError) as error:
        raise unreachable(shown, error) from error
