"""URLs as they are compared and shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from provisioner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

PORTS: Final = {"http": 80, "https": 443}


def without_secrets(url: str) -> str:
    """A URL without user name, password and fragment, fit for logs and for comparing."""
    try:
        parts = urlsplit(url)
    except ValueError:
        # Not a URL at all, but what stands before the host may be a secret even so.
        return url.rpartition("@")[2]
    host, path = parts.netloc.rpartition("@")[2], parts.path
    if not host and parts.scheme != "file":
        # Or else what is no host now would be one for whoever reads the answer.
        path = re.sub(r"^/{2,}", "/", path)
    return urlunsplit((parts.scheme, host, path, parts.query, ""))


def without_query(url: str) -> str:
    """A URL fit to be kept: what stands behind the `?` may be a signature."""
    return without_secrets(url).partition("?")[0]


def file_name(url: str) -> str:
    """The last segment of a URL, decoded; only ever shown, never used as a path."""
    return unquote(urlsplit(url).path.rpartition("/")[2])


def is_remote(url: str | None) -> bool:
    """Whether a URL is one to fetch; uv itself reads files of this machine."""
    return url is not None and url.lower().startswith(("http://", "https://"))


def require_web(url: str, hint: str) -> None:
    """Refuse what no index can be asked by.

    Raises:
        UsageError: it is no http or https URL of a host.
    """
    if not (is_remote(url) and origin(url) and urlsplit(url).hostname):
        message = f"`{without_secrets(url)}` is not an http or https URL"
        raise UsageError(message, hint=hint)


def origin(url: str) -> str:
    """Scheme, host and port, which credentials belong to; empty for what is no URL."""
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}:{port}"


def with_port(host: str, scheme: str, port: int | None) -> str:
    """A host as it stands in a URL, with its port unless that is the scheme's own."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None or port == PORTS.get(scheme) else f"{shown}:{port}"


def plain(url: str) -> str:
    """A URL by which places are compared.

    Without what is a secret, asks for something or only spells it otherwise: user, password,
    query, fragment, the scheme's own port, upper case in scheme and host, a slash at the end.
    """
    shown = without_query(url)
    try:
        parts = urlsplit(shown)
        port = parts.port
    except ValueError:
        return shown
    host = with_port(parts.hostname or "", parts.scheme, port)
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


def is_below(url: str, place: str) -> bool:
    """Whether a URL is a place, such as an index, or lies below it."""
    inner, outer = plain(url), plain(place)
    return inner == outer or inner.startswith(f"{outer}/")


def is_same_index(one: str, other: str) -> bool:
    """Whether two URLs mean one index; `…/simple` is where most have their pages."""
    return _around(one) == _around(other)


def is_same_server(one: str, other: str) -> bool:
    """Whether two URLs have one port of one host; on loopback, all names mean this machine."""
    try:
        here, there = urlsplit(one), urlsplit(other)
        ports = {parts.port or PORTS.get(parts.scheme) for parts in (here, there)}
    except ValueError:
        return False
    hosts = {here.hostname or "", there.hostname or ""}
    return len(ports) == 1 and (len(hosts) == 1 or all(map(is_loopback, hosts)))


def is_open(url: str, allowed: Iterable[str]) -> bool:
    """Whether a URL would go over a network without encryption, to a host that nobody allowed.

    `allowed` are hosts as uv's `allow-insecure-host` has them: `host`, `host:port`,
    `scheme://host:port`, or `*`. What is no URL goes nowhere.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS["http"]
    except ValueError:
        return False
    host = parts.hostname or ""
    if parts.scheme != "http" or is_loopback(host):
        return False
    return not any(_means(text.strip(), host, port) for text in allowed)


def _means(allowed: str, host: str, port: int) -> bool:
    if allowed == "*":
        return True
    try:
        parts = urlsplit(allowed if "://" in allowed else f"//{allowed}", scheme="http")
        only = parts.port
    except ValueError:
        return False
    return parts.scheme == "http" and parts.hostname == host and only in {None, port}


def is_address(host: str) -> bool:
    """Whether a host is given as an IP address, and not by a name."""
    import ipaddress

    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Addresses that never leave the machine (RFC 6890), and the name that stands for them."""
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """The user and password of an index, either of which may be empty."""

    index: str
    user: str
    password: str = field(repr=False)


def login_in(url: str) -> Login | None:
    """The user and password that stand in the URL of an index."""
    if not origin(url):
        return None
    parts = urlsplit(url)
    if not (parts.username or parts.password):
        return None
    return Login(
        index=without_secrets(url),
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )


def login_for(url: str, logins: Iterable[Login], index: str | None = None) -> Login | None:
    """The login to ask for a URL with; `logins` has the strongest first.

    Only those of the URL's own origin count. One host may have many indexes, each with a
    password of its own, so that of the index goes first that the URL lies below, and then
    that of `index`, which something has recorded for the file at the URL. Many indexes have
    their pages below `…/simple` and their files beside it.
    """
    there = [login for login in logins if origin(login.index) == origin(url)]
    for place in (url, index or ""):
        if found := [login for login in there if is_below(place, login.index)]:
            return max(found, key=lambda login: len(plain(login.index)))
    if found := [login for login in there if is_below(url, _around(login.index))]:
        return max(found, key=lambda login: len(_around(login.index)))
    alike = {(login.user, login.password) for login in there}
    indexes = {plain(login.index) for login in there}
    return there[0] if len(alike) == 1 or len(indexes) == 1 else None


def _around(index: str) -> str:
    return plain(index).removesuffix("/simple")
