"""The address of a `gpuenv serve`: the socket that it listens on, and how others find it."""

from __future__ import annotations

import errno
import json
import socket
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from provisioner.adapters._files import read_json, unless_read_only, write_whole
from provisioner.core.urls import is_loopback, without_secrets
from provisioner.errors import GpuenvError, said

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_LOOK_SECONDS: Final = 2.0
_OWN: Final = "gpuenv/"
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked for, not bound


@dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """A socket that clients can connect to already."""

    socket: socket.socket
    host: str
    address: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.address)

    @property
    def is_everywhere(self) -> bool:
        """Whether every address of this machine reaches it."""
        return self.address in _WILDCARDS

    @property
    def names(self) -> frozenset[str]:
        """By which names clients may know it."""
        own = (
            set() if self.is_loopback else {socket.gethostname().lower(), socket.getfqdn().lower()}
        )
        return frozenset({"localhost", self.host.lower(), self.address, *own} - _WILDCARDS.keys())

    @property
    def origin(self) -> str:
        """The scheme, host and port for clients of this machine."""
        host = _WILDCARDS.get(self.address, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def is_own(self, url: str, names: Iterable[str] = ()) -> bool:
        """Whether a URL leads to this socket; `names` are further ones that clients use."""
        try:
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            return False
        host = (parts.hostname or "").rstrip(".")
        if port != self.port:
            return False
        return host in {*self.names, *names} or (self.is_everywhere and _is_here(host))


def _is_here(host: str) -> bool:
    """Whether a name or address is one of this machine's: only those can be bound."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
        for family, kind, *_, address in found:
            with socket.socket(family, kind) as made:
                made.bind(address)
    except OSError:
        return False
    return True


@contextmanager
def listening(host: str, port: int) -> Iterator[Listener]:
    """Listen on a port, any free one for 0.

    Raises:
        GpuenvError: that is not possible.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.create_server(address[:2], family=family, backlog=512)
    except (OSError, OverflowError) as error:
        words = said(error) if isinstance(error, OSError) else str(error)
        words = words.partition(" (while ")[0]  # The address, which is told already.
        message = f"cannot listen on `{host}`, port {port}"
        raise GpuenvError(
            message,
            causes=(words,),
            hint="`--host` has to be an address of this machine"
            if not isinstance(error, OSError) or error.errno != errno.EADDRINUSE
            else "another program, or another `gpuenv serve`, may have the port; `--port 0` takes "
            "a free one",
            code="cannot-listen",
        ) from error
    with made:
        # Connections have it from here: asyncio sets it only where a socket names its protocol,
        # and without it each answer waits 40 ms for the client's acknowledgement.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        found = made.getsockname()
        yield Listener(socket=made, host=host, address=found[0], port=found[1])


@contextmanager
def announced(root: Path, url: str, indexes: Iterable[str] = ()) -> Iterator[None]:
    """Let others find the server of a store, and what it asks for any package, while it runs."""
    words = {"url": url, "indexes": [without_secrets(index) for index in indexes]}
    path = _path(root)
    with unless_read_only():
        write_whole(path, json.dumps(words))
    try:
        yield
    finally:
        # Another one of the same store may have taken its place.
        with unless_read_only(), suppress(ValueError):
            if read_json(path) == words:
                path.unlink(missing_ok=True)


def find_server(root: Path) -> str | None:
    """The URL of the index that a server of a store has now; None where none answers."""
    try:
        url = str(read_json(_path(root))["url"])
        return url if (_server_at(url) or "").startswith(_OWN) else None
    except (OSError, KeyError, TypeError, ValueError):
        return None


def indexes_of_server(root: Path) -> tuple[str, ...]:
    """The indexes that the server of a store asks for any package, in their order."""
    try:
        return tuple(map(str, read_json(_path(root))["indexes"]))
    except (OSError, KeyError, TypeError, ValueError):
        return ()


def is_of_others(url: str) -> bool:
    """Whether another program than one of ours answers there."""
    found = _server_at(url)
    return found is not None and not found.startswith(_OWN)


def _server_at(url: str) -> str | None:
    """The name by which a server goes: a port may be another program's; None where none answers."""
    import http.client

    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_LOOK_SECONDS)
    try:
        connection.request("HEAD", "/")
        return connection.getresponse().headers.get("Server", "")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _path(root: Path) -> Path:
    return root / "serve.json"
