"""Index pages: how long they may be reused, and the files that they list."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, urldefrag, urljoin, urlsplit

from provisioner.core.digest import Digest
from provisioner.core.first_seen import index_of_page
from provisioner.core.plan import LockedFile
from provisioner.core.project import normalise
from provisioner.core.simple_index import HTML_PAGE, ListedFile
from provisioner.core.urls import file_name, is_below

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from provisioner.core.profile import Index

JSON_PAGE: Final = "application/vnd.pypi.simple.v1+json"
ACCEPT: Final = f"{JSON_PAGE}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
"""As uv asks for pages, so that those that it was given do for us too."""

PAGE_BYTES: Final = 64 << 20
"""What is larger is taken for no index page."""

_HTML: Final = frozenset({"text/html", HTML_PAGE})
_FILE_ENDINGS: Final = (".whl", ".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz", ".egg")
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d{1,18})")
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
    """The files with a SHA-256 that an index page names; those of `listed_files`."""
    index = index_of_page(url)
    return tuple(
        LockedFile(name=file.name, url=file.url, digest=file.digest, size=file.size, index=index)
        for file in listed_files(body, headers, url)
        if file.digest
    )


def listed_files(body: bytes, headers: Mapping[str, str], url: str) -> tuple[ListedFile, ...]:
    """All files that a project's page lists, with absolute URLs (PEP 503, PEP 691).

    What cannot be read lists none: a client will say what is wrong with the page.
    """
    kind = _kind(headers)
    if kind == JSON_PAGE:
        return tuple(_from_json(body, url))
    if kind in _HTML:
        return tuple(_from_html(body, url))
    return ()


def has_form_of_page(headers: Mapping[str, str]) -> bool:
    """Whether an answer is of a content type that pages have."""
    return _kind(headers) in {JSON_PAGE, *_HTML}


def _kind(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _from_json(body: bytes, url: str) -> Iterator[ListedFile]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):  # The latter by brackets within brackets.
        return
    items = data.get("files") if isinstance(data, dict) else None
    for item in items if isinstance(items, list) else []:
        # One that cannot be read does not hide the others.
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            target = urldefrag(urljoin(url, item["url"])).url
            yield _listed(target, item["hashes"].get("sha256"), _Told(item), item.get("filename"))


def _from_html(body: bytes, url: str) -> Iterator[ListedFile]:
    parser = _Links()
    parser.feed(body.decode("utf-8", "replace"))
    for link in parser.links:
        with suppress(ValueError):
            target, fragment = urldefrag(
                urljoin(urljoin(url, parser.base or ""), link.get("href") or "")
            )
            yield _listed(target, dict(parse_qsl(fragment)).get("sha256"), _told_by(link))


class _Told(NamedTuple):
    """What a page says of a file, under the keys of PEP 691."""

    item: Mapping[str, object]

    def text(self, key: str) -> str | None:
        """A text; None for what is none."""
        value = self.item.get(key)
        return value if isinstance(value, str) else None

    @property
    def size(self) -> int | None:
        """The size in bytes."""
        value = self.item.get("size")
        return value if type(value) is int and value >= 0 else None

    @property
    def yanked(self) -> str | None:
        """Why it is yanked, empty where no reason is given."""
        value = self.item.get("yanked")
        return value if isinstance(value, str) and value else "" if value else None

    @property
    def metadata(self) -> Digest | None:
        """The hash of its metadata, by either name (PEP 714)."""
        for key in ("core-metadata", "data-dist-info-metadata"):
            value = self.item.get(key)
            if isinstance(value, dict) and (digest := _digest(value.get("sha256"))):
                return digest
        return None


def _told_by(link: Mapping[str, str | None]) -> _Told:
    """What the attributes of a link say (PEP 503, 592, 714)."""
    item: dict[str, object] = {"requires-python": link.get("data-requires-python")}
    if "data-yanked" in link:
        item["yanked"] = link["data-yanked"] or True
    for key in ("core-metadata", "dist-info-metadata"):
        name, _, digits = (link.get(f"data-{key}") or "").partition("=")
        if name == "sha256":
            item.setdefault("core-metadata", {"sha256": digits})
    return _Told(item)


def _listed(url: str, sha256: object, told: _Told, name: object = None) -> ListedFile:
    """A file; a `name` that is told counts, for a URL need not end with it (PEP 691)."""
    is_name = isinstance(name, str) and name and not set(name) & set("/\\\0")
    return ListedFile(
        name=str(name) if is_name else file_name(url),
        url=url,
        digest=_digest(sha256),
        size=told.size,
        uploaded=told.text("upload-time"),
        requires_python=told.text("requires-python"),
        yanked=told.yanked,
        metadata=told.metadata,
    )


def _digest(text: object) -> Digest | None:
    try:
        return Digest.parse(text) if isinstance(text, str) else None
    except ValueError:
        return None


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[dict[str, str | None]] = []
        self.base: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        href = found.get("href")
        if tag == "a" and href:
            self.links.append(found)
        elif tag == "base" and href and self.base is None:
            self.base = href
