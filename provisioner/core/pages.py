"""Index pages: how long they may be reused, and the hashes of the files that they name."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urldefrag, urljoin, urlsplit

from provisioner.core.digest import Digest
from provisioner.core.first_seen import index_of_page
from provisioner.core.plan import LockedFile
from provisioner.core.project import normalise
from provisioner.core.urls import file_name, is_below

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from provisioner.core.profile import Index

JSON_PAGE: Final = "application/vnd.pypi.simple.v1+json"

PAGE_BYTES: Final = 64 << 20
"""What is larger is taken for no index page."""

_FILE_ENDINGS: Final = (".whl", ".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz", ".egg")
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d+)")
_FORBIDDEN = re.compile(r"(?:^|[\s,])no-(?:store|cache)(?:$|[\s,=])")


def is_file(url: str) -> bool:
    """Whether a URL names a wheel or source distribution."""
    return urlsplit(url).path.lower().endswith(_FILE_ENDINGS)


def lifetime(cache_control: str) -> int:
    """Seconds that an answer may be reused without asking (RFC 9111, section 5.2.2)."""
    if _FORBIDDEN.search(cache_control.lower()):
        return 0
    found = _MAX_AGE.search(cache_control.lower())
    return int(found[1]) if found else 0


def is_routed(url: str, indexes: Iterable[Index]) -> bool:
    """Whether an index page may be asked for, where packages are bound to indexes.

    A bound package has its page only below its index, and such an index has no others.
    """
    package = normalise(urlsplit(url).path.rstrip("/").rpartition("/")[2])
    if urlsplit(url).path.endswith(".metadata"):
        return True
    for index in indexes:
        below = is_below(url, index.url)
        if below != index.claims(package):
            return False
        if below:
            return True
    return True


def named_files(body: bytes, headers: Mapping[str, str], url: str) -> tuple[LockedFile, ...]:
    """The files with a SHA-256 that an index page names (PEP 503, PEP 691).

    What cannot be read names none: a client will say what is wrong with the page.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == JSON_PAGE:
        return _from_json(body, url)
    if kind in {"text/html", "application/vnd.pypi.simple.v1+html"}:
        return _from_html(body, url)
    return ()


def _from_json(body: bytes, url: str) -> tuple[LockedFile, ...]:
    try:
        listed = json.loads(body)["files"]
        return tuple(
            made
            for item in listed
            if (made := _file(urljoin(url, item["url"]), item["hashes"].get("sha256"), item, url))
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()


def _from_html(body: bytes, url: str) -> tuple[LockedFile, ...]:
    parser = _Links()
    parser.feed(body.decode("utf-8", "replace"))
    files = []
    for link in parser.links:
        try:
            target, fragment = urldefrag(urljoin(urljoin(url, parser.base or ""), link))
        except ValueError:
            continue  # One link that is no URL does not hide the others.
        made = _file(target, dict(parse_qsl(fragment)).get("sha256"), {}, url)
        files += [made] if made else []
    return tuple(files)


def _file(url: str, sha256: str | None, item: Mapping[str, object], page: str) -> LockedFile | None:
    if sha256 is None:
        return None
    try:
        digest = Digest.parse(sha256)
    except ValueError:
        return None
    size = item.get("size")
    return LockedFile(
        name=file_name(url),
        url=url,
        digest=digest,
        size=size if isinstance(size, int) else None,
        index=index_of_page(page),
    )


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.base: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if tag == "a" and href:
            self.links.append(href)
        elif tag == "base" and href and self.base is None:
            self.base = href
