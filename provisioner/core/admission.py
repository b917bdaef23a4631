"""What a client behind the gateway may ask for: indexes that count, and what they name."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from provisioner.core.pages import is_file
from provisioner.core.urls import is_remote, origin, with_port, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable

_ODD: Final = re.compile(r"[\s\\\x00-\x1f\x7f]")
_URL: Final = re.compile(r"https?://[^\s\"'<>;]+", re.IGNORECASE)
# How often a segment may be encoded on top of itself before it is taken for a trick.
_DECODINGS: Final = 5
_METADATA: Final = ".metadata"
_DOT: Final = re.compile(r"[.\u3002]")
_GITHUB: Final = re.compile(
    r"https://(?:api\.github\.com/repos/[^/]+/[^/]+/commits/[^?#]+"
    r"|raw\.githubusercontent\.com/[^/]+/[^/]+/[^/]+/(?:[^?#]+/)?pyproject\.toml)"
)
# The rest is encoded in a path (WHATWG's URL standard, "path percent-encode set").
_UNENCODED: Final = "".join(map(chr, range(0x21, 0x7F))).translate(
    dict.fromkeys(map(ord, '"#<>?`{}'))
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """`places` are indexes, with all that lies below them; `urls` single pages and files."""

    places: frozenset[str] = frozenset()
    urls: frozenset[str] = frozenset()

    def with_places(self, indexes: Iterable[str]) -> Admission:
        """With further indexes."""
        more = frozenset(map(as_asked, filter(is_remote, indexes)))
        return self if more <= self.places else replace(self, places=self.places | more)

    def with_urls(self, urls: Iterable[str]) -> Admission:
        """With further single pages or files."""
        more = frozenset(map(as_asked, filter(is_remote, urls)))
        return self if more <= self.urls else replace(self, urls=self.urls | more)

    def admits(self, url: str) -> bool:
        """Whether a URL is one of these, the metadata of one, or lies below an index."""
        if not is_clean(url):
            return False
        named = without_secrets(url).removesuffix(_METADATA)
        return named in self.urls or any(lies_below(url, place) for place in self.places)


def is_clean(url: str) -> bool:
    """Whether everyone reads a URL in the same way: no user, and nothing odd in it."""
    if _ODD.search(url) or not is_remote(url):
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        return False


def is_look_at_github(url: str) -> bool:
    """Whether uv may be sparing itself git there; without an answer it runs git (its `fast_path`).

    That is which commit a branch or tag is, and the `pyproject.toml` of a commit.
    """
    return _GITHUB.fullmatch(url) is not None


def as_asked(url: str) -> str:
    """A URL that somebody wrote, without secrets, as clients ask for it (WHATWG's URL standard).

    Host in small letters and ASCII, without the scheme's own port; the path without dot
    segments, and encoded where it has to be. What has no host nobody asks for, and stays.
    """
    shown = without_secrets(url)
    try:
        parts = urlsplit(shown)
        port = parts.port
    except ValueError:
        return shown
    if not parts.hostname:
        return shown
    host = ".".join(map(_ascii, _DOT.split(unicodedata.normalize("NFKC", parts.hostname or ""))))
    host = with_port(host, parts.scheme, port)
    return urlunsplit((parts.scheme, host, _encoded(parts.path), parts.query, ""))


def _ascii(label: str) -> str:
    """A label of a host, as a browser encodes it: `ß` stays what it is."""
    return label if label.isascii() else f"xn--{label.lower().encode('punycode').decode()}"


def _encoded(path: str) -> str:
    found: list[str] = []
    segments = path.replace("\\", "/").split("/")[1:]
    for count, segment in enumerate(segments, 1):
        dots = segment.lower().replace("%2e", ".")
        if dots == "..":
            found = found[:-1]
        if dots not in {".", ".."}:
            found.append(segment)
        elif count == len(segments):
            found.append("")
    return quote("".join(f"/{segment}" for segment in found), safe=_UNENCODED)


def lies_below(url: str, place: str) -> bool:
    """Whether a URL is an index or lies below it, and no server can take it for another place.

    Scheme, host and port are the same; the path goes on after the index's own, byte by byte,
    with segments that are neither empty nor, however they are encoded, `.`, `..` or several.
    Of slashes at the index's end a client drops one or all.
    """
    if not is_clean(url) or origin(url) != origin(place):
        return False
    within, outer = urlsplit(url).path, urlsplit(place).path
    return any(_goes_on(within, path) for path in {outer.removesuffix("/"), outer.rstrip("/")})


def _goes_on(within: str, outer: str) -> bool:
    if not (within == outer or within.startswith(f"{outer}/")):
        return False
    inside = within[len(outer) + 1 :].removesuffix("/")
    return not inside or all(map(_is_plain, inside.split("/")))


def _is_plain(segment: str) -> bool:
    """Whether a segment of a path is a name, however often it is decoded."""
    for _ in range(_DECODINGS):
        if segment in {"", ".", ".."} or "/" in segment or _ODD.search(segment):
            return False
        decoded = unquote(segment)
        if decoded == segment:
            return True
        segment = decoded
    return False


def direct_urls(value: object) -> frozenset[str]:
    """The wheels and source distributions that a parsed `pyproject.toml` names by their URL."""
    if isinstance(value, dict):
        return frozenset().union(*map(direct_urls, value.values()))
    if isinstance(value, list):
        return frozenset().union(*map(direct_urls, value))
    found = _URL.findall(value) if isinstance(value, str) else ()
    return frozenset(without_secrets(url) for url in found if is_file(url))
