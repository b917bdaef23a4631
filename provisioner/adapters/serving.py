"""The address of a `gpuenv serve`: the socket that it listens on, and how others find it."""

from __future__ import annotations

import errno
import json
import socket
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from provisioner.adapters._files import read_json, unless_read_only, write_whole
from provisioner.core.urls import PORTS, is_loopback, origin, without_secrets
from provisioner.errors import GpuenvError, said

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_LOOK_SECONDS: Final = 2.0
_OWN: Final = "gpuenv/"
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked for, not bound
# Addresses for documentation (RFC 5737, RFC 3849), to which the way leads out.
_ELSEWHERE: Final[dict[int, tuple[str, int]]] = {
    socket.AF_INET: ("192.0.2.1", 9),
    socket.AF_INET6: ("2001:db8::1", 9),
}


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

    @property
    def origins(self) -> tuple[str, ...]:
        """By which clients can reach it: those of other machines first, if it is everywhere."""
        outward = _outward(self.socket.family) if self.is_everywhere else None
        others = () if outward is None else (replace(self, host=outward, address=outward).origin,)
        return (*others, self.origin)

    def server(self, names: Iterable[str] = ()) -> Server:
        """What others know it by; `names` are further ones that clients use."""
        return Server(
            url=f"{self.origin}/simple/",
            names=self.names.union(names),
            is_everywhere=self.is_everywhere,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A server of a store: the URL of its index, and the indexes that it asks for any package.

    `names` are those by which clients may know it; every address of its machine is one too
    where it `is_everywhere`. `has_token`: only who knows it may ask. `looks_up`: what address a
    name stands for may be asked.
    """

    url: str
    indexes: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    is_everywhere: bool = False
    has_token: bool = False
    looks_up: bool = True

    def is_own(self, url: str) -> bool:
        """Whether a URL leads to it."""
        try:
            here, there = urlsplit(self.url), urlsplit(url)
            ports = {parts.port or PORTS.get(parts.scheme) for parts in (here, there)}
        except ValueError:
            return False
        host = (there.hostname or "").rstrip(".")
        if len(ports) > 1:
            return False
        known = {*self.names, here.hostname}
        return host in known or (self.is_everywhere and _is_here(host, looks_up=self.looks_up))

    def to_json(self) -> dict[str, Any]:
        """The written form."""
        return {
            "url": self.url,
            "indexes": [without_secrets(index) for index in self.indexes],
            "names": sorted(self.names),
            "is_everywhere": self.is_everywhere,
            "has_token": self.has_token,
        }


def _outward(family: int) -> str | None:
    """The address that others know this machine by; nothing is sent for that."""
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as made:
        made.connect(_ELSEWHERE[family])
        return str(made.getsockname()[0])
    return None


def _is_here(host: str, *, looks_up: bool) -> bool:
    """Whether a name or address is one of this machine's: only those can be bound."""
    flags = 0 if looks_up else socket.AI_NUMERICHOST
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM, flags=flags)
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
def announced(root: Path, server: Server) -> Iterator[None]:
    """Let others find the server of a store while it runs."""
    words = server.to_json()
    path = _path(root)
    before = None
    with suppress(OSError, ValueError):
        before = read_json(path)
    with unless_read_only():
        write_whole(path, json.dumps(words))
    try:
        yield
    finally:
        # Another one of the same store may have taken its place.
        with unless_read_only(), suppress(ValueError):
            if read_json(path) == words:
                path.unlink(missing_ok=True)
                # One that was there before, and still is, can be found again.
                url = str(before["url"]) if isinstance(before, dict) and "url" in before else ""
                if url not in {"", words["url"]} and (_server_at(url) or "").startswith(_OWN):
                    write_whole(path, json.dumps(before))


def find_server(root: Path) -> Server | None:
    """The server that a store has now; None where none answers."""
    found = _announced(root)
    return found if found and _is_ours(found.url) else None


def server_behind(root: Path, urls: Iterable[str], *, offline: bool) -> Server | None:
    """The server of a store, if it runs and one of these URLs leads to it.

    Nobody else is asked whether it runs, since what was announced may be left over, or of
    another machine; offline nobody is, and it counts as running.
    """
    found = _announced(root)
    if found is None:
        return None
    found = replace(found, looks_up=not offline)
    own = dict.fromkeys(filter(found.is_own, urls))
    return found if (own if offline else any(map(_is_ours, own))) else None


def _announced(root: Path) -> Server | None:
    """What the file of a store says of its server."""
    try:
        told = read_json(_path(root))
        found = Server(
            url=str(told["url"]),
            indexes=tuple(map(str, told.get("indexes", ()))),
            names=frozenset(map(str, told.get("names", ()))),
            is_everywhere=told.get("is_everywhere") is True,
            has_token=told.get("has_token") is True,
        )
        return found if origin(found.url) else None
    except (OSError, AttributeError, KeyError, TypeError, ValueError):
        return None


def _is_ours(url: str) -> bool:
    """Whether one of our servers answers there."""
    return (_server_at(url) or "").startswith(_OWN)


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
