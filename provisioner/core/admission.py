"""What a client behind the gateway may ask for: indexes that count, and what they name."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from provisioner.core.pages import is_file
from provisioner.core.urls import is_remote, origin, plain, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable

_ODD: Final = re.compile(r"[\s\\\x00-\x1f\x7f]")
_URL: Final = re.compile(r"https?://[^\s\"'<>;]+", re.IGNORECASE)
# How often a segment may be encoded on top of itself before it is taken for a trick.
_DECODINGS: Final = 5
_METADATA: Final = ".metadata"


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """`places` are indexes, with all that lies below them; `urls` single pages and files."""

    places: frozenset[str] = frozenset()
    urls: frozenset[str] = frozenset()

    def with_places(self, indexes: Iterable[str]) -> Admission:
        """With further indexes."""
        more = frozenset(map(without_secrets, filter(is_remote, indexes)))
        return self if more <= self.places else replace(self, places=self.places | more)

    def with_urls(self, urls: Iterable[str]) -> Admission:
        """With further single pages or files."""
        more = frozenset(map(without_secrets, filter(is_remote, urls)))
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


def lies_below(url: str, place: str) -> bool:
    """Whether a URL is an index or lies below it, and no server can take it for another place.

    Scheme, host and port are the same; the path goes on after the index's own, byte by byte,
    with segments that are neither empty nor, however they are encoded, `.`, `..` or several.
    """
    if not is_clean(url) or origin(url) != origin(place):
        return False
    within, outer = urlsplit(url).path, urlsplit(plain(place)).path
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
